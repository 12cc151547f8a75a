from pathlib import Path

import pytest
from pydantic import ValidationError

from workers.settings import SharedSettings, WorkerSettings, variables


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables(WorkerSettings):
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    settings = WorkerSettings()
    assert (settings.redis_url, settings.reply_days) == (None, 7)
    assert (settings.model, settings.device) == ("starter", "cpu")
    assert (settings.max_image_bytes, settings.max_image_pixels) == (268435456, 100_000_000)
    assert (settings.local_files_document_root, settings.allowed_image_hosts) == (None, ())
    assert (settings.fetch_seconds, settings.log_level) == (60, "INFO")


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://studio.example/labels/")
    monkeypatch.setenv("ALLOWED_IMAGE_HOSTS", "Tiles.example, store:9000,")
    monkeypatch.setenv("LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path))
    monkeypatch.setenv("DEVICE", "cuda:1")
    settings = WorkerSettings()
    assert settings.label_studio_url == "https://studio.example/labels"
    assert settings.allowed_image_hosts == ("tiles.example", "store:9000")
    assert settings.local_files_document_root == tmp_path.resolve()
    assert settings.device == "cuda:1"


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "REDIS_URL", "REPLY_DAYS"):
        monkeypatch.setenv(name, "")
    settings = WorkerSettings()
    assert settings == WorkerSettings.model_construct(**WorkerSettings().model_dump())
    assert settings.label_studio_api_key is None


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:password@host/0")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "sesame")
    shown = repr(WorkerSettings()) + repr(SharedSettings())
    assert "password" not in shown
    assert "sesame" not in shown


def test_the_models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    assert SharedSettings().models_dir == tmp_path
    monkeypatch.setenv("MODELS_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert SharedSettings().models_dir == Path("/data/dgl-rsis/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert SharedSettings().models_dir == Path("/somewhere/.local/share/dgl-rsis/models")


BAD = {
    "LABEL_STUDIO_URL": ("localhost:8080", "without a scheme"),
    "LOCAL_FILES_DOCUMENT_ROOT": ("/", "root of the file system"),
    "DEVICE": ("gpu", "write cpu, cuda or"),
    "REDIS_URL": ("host:6379", "without a scheme"),
    "MODELS_DIR": (__file__, "is not a folder"),
    "REPLY_DAYS": ("0", "greater than or equal to 1"),
    "MAX_IMAGE_BYTES": ("-1", "greater than or equal to 1"),
    "LOG_LEVEL": ("LOUD", "INFO"),
    "CACHE_MB": ("-1", "greater than or equal to 0"),
    "PREFETCH": ("-1", "greater than or equal to 0"),
    "CACHE_DISK_MB": ("0", "greater than or equal to 1"),
    "METRES_PER_PIXEL": ("30 in", "are no metres a pixel"),
}


@pytest.mark.parametrize(("name", "value", "message"), [(n, *v) for n, v in BAD.items()])
def test_a_wrong_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=message):
        WorkerSettings()


def test_a_root_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path / "none"))
    with pytest.raises(ValidationError, match="is not a folder"):
        WorkerSettings()


def test_the_provider_and_the_cache_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = WorkerSettings()
    assert (plain.proposals, plain.cache_mb, plain.cache_dir) == ("regions", 256, None)
    for name, value in {"PROPOSALS": "sam-vit-b", "CACHE_MB": "0", "CACHE_DIR": "/cache"}.items():
        monkeypatch.setenv(name, value)
    given = WorkerSettings()
    assert (given.proposals, given.cache_mb, given.cache_dir) == ("sam-vit-b", 0, Path("/cache"))


def test_metres_may_have_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRES_PER_PIXEL", "30 cm")
    assert WorkerSettings().metres_per_pixel == pytest.approx(0.3)
    monkeypatch.setenv("METRES_PER_PIXEL", "")
    assert WorkerSettings().metres_per_pixel is None


def test_what_label_studio_mls_servers_know_is_read_where_ours_is_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = {
        "LABEL_STUDIO_HOST": "http://theirs:8080",
        "LABEL_STUDIO_ACCESS_TOKEN": "theirs",
        "MODEL_DIR": str(tmp_path / "theirs"),
    }
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings()
    assert settings.label_studio_url == "http://theirs:8080"
    assert settings.label_studio_api_key is not None
    assert settings.label_studio_api_key.get_secret_value() == "theirs"
    assert settings.models_dir == tmp_path / "theirs"
    assert "theirs" in settings.secrets
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://ours:8080")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "")  # as Compose passes what is not set
    assert WorkerSettings().label_studio_url == "http://ours:8080"
    assert WorkerSettings().label_studio_api_key == settings.label_studio_api_key


def test_all_names_of_a_setting_are_known() -> None:
    names = variables(WorkerSettings)
    assert {"LABEL_STUDIO_URL", "LABEL_STUDIO_HOST", "MODELS_DIR", "MODEL_DIR", "DEVICE"} <= names
