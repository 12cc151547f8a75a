"""Models that are folders: pulled file by file, from their publisher or a mirror, or cached."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.file_server import Shelf
from tests.workers.registry.shelves import WEIGHTS, shelf
from workers.registry import names
from workers.registry.files import RegistryError
from workers.registry.models import Entry, Registry
from workers.registry.transfer import Source

__all__ = ["shelf"]

FILES = ("config.json", "model.safetensors", "processor_config.json?")
CONFIG = b'{"model_type": "sam2"}'


def registry(
    folder: Path, shelf: Shelf, source: Source | None = None, kind: str = "sam"
) -> Registry:
    entry = Entry("m", "sam", "transformers", f"{shelf.url}/repo/resolve/main", FILES)
    return Registry(folder, {"m": entry}, source or Source())


def pull(models: Registry, seen: list[Path] | None = None) -> Path:
    def check(path: Path, *_: str) -> None:
        if seen is not None:
            seen.extend(path.iterdir())

    return models.pull("m", lambda _done, _total: None, check)


def shelve(shelf: Shelf, below: str = "/repo/resolve/main") -> None:
    shelf.files[f"{below}/config.json"] = CONFIG
    shelf.files[f"{below}/model.safetensors"] = WEIGHTS


def test_a_folder_is_pulled_checked_and_locked(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf)
    models, seen = registry(tmp_path, shelf), []
    path = pull(models, seen)
    assert path == tmp_path / "m"
    assert {each.name for each in path.iterdir()} == {"config.json", "model.safetensors"}
    assert {each.name for each in seen} == {"config.json", "model.safetensors"}
    locked = json.loads((tmp_path / "models.lock.json").read_text())["m"]
    assert locked["bytes"] == len(WEIGHTS) + len(CONFIG)
    assert models.verify() == {"m": ""}
    assert names.resolve_sam(str(path), tmp_path) == ("transformers", path)


def test_what_changed_is_seen_and_pulled_as_it_was(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf)
    models = registry(tmp_path, shelf)
    path = pull(models)
    (path / "config.json").write_bytes(CONFIG.replace(b"sam2", b"sam3"))
    assert "has changed" in models.verify()["m"]
    (path / "config.json").unlink()
    assert "m" not in models.installed()
    assert pull(models) == path
    assert models.verify() == {"m": ""}


def test_another_folder_than_the_first_is_refused(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf)
    models = registry(tmp_path, shelf)
    (pull(models) / "config.json").unlink()
    shelf.files["/repo/resolve/main/model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(RegistryError, match="not the expected"):
        pull(models)
    assert not (tmp_path / ".m.part").exists()


def test_the_weights_of_a_folder_are_the_published_ones(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf)
    url, digest = f"{shelf.url}/repo/resolve/main", hashlib.sha256(WEIGHTS).hexdigest()
    wrong = Entry("m", "clip", "ViT-B-16-SigLIP2-256", url, FILES, sha256="0" * 64)
    models = Registry(tmp_path, {"m": wrong}, Source())
    with pytest.raises(RegistryError, match=r"model\.safetensors has the SHA-256 "):
        pull(models)
    assert not (tmp_path / "m").exists()
    right = replace(wrong, sha256=digest)
    models = Registry(tmp_path, {"m": right}, Source())
    path = pull(models)
    assert models.verify() == {"m": ""}
    assert names.resolve_clip("m", tmp_path) == str(path)


def test_a_later_command_continues(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf)
    models = registry(tmp_path, shelf)

    def interrupt(done: int, total: int) -> None:
        if total == len(WEIGHTS) and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull("m", interrupt, lambda *_: None)
    assert (tmp_path / ".m.part" / "config.json").read_bytes() == CONFIG
    begun = (tmp_path / ".m.part" / "model.safetensors.part").stat().st_size
    assert 0 < begun < len(WEIGHTS)
    came: list[int] = []
    models.pull("m", lambda done, _total: came.append(done), lambda *_: None)
    assert min(came) > begun  # and nothing of what was there
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_is_needed_and_absent(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/repo/resolve/main/config.json"] = CONFIG
    with pytest.raises(RegistryError, match=r"model\.safetensors answered HTTP 404"):
        pull(registry(tmp_path, shelf))
    assert not (tmp_path / "m").exists()


def test_a_mirror_shows_a_models_folder(tmp_path: Path, shelf: Shelf) -> None:
    shelve(shelf, "/models/m")
    models = registry(tmp_path, shelf, Source(mirror=f"{shelf.url}/models/"))
    assert (pull(models) / "model.safetensors").read_bytes() == WEIGHTS
    file = Entry("c", "clip", "ViT-B-32", f"{shelf.url}/gone/epoch.zip", member="epoch_20.pt")
    mirrored = Registry(tmp_path, {"c": file}, Source(mirror=f"{shelf.url}/models"))
    shelf.files["/models/c.pt"] = WEIGHTS
    assert mirrored.pull("c", lambda *_: None, lambda *_: None).read_bytes() == WEIGHTS


def test_a_token_goes_to_its_host_alone() -> None:
    source = Source(token="secret")
    assert source.headers("https://huggingface.co/facebook/sam3/resolve/main/config.json") == {
        "Authorization": "Bearer secret"
    }
    for url in (
        "http://huggingface.co/a",
        "https://huggingface.co.evil.org/a",
        "https://huggingface.co@evil.org/a",
        "https://huggingface.co:8443/a",
        "https://mirror.lan/huggingface.co",
    ):
        assert source.headers(url) == {}


def test_a_cached_repository_is_read_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--facebook--sam2.1-hiera-tiny"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    (snapshot / "config.json").write_bytes(CONFIG)
    asked = "facebook/sam2.1-hiera-tiny"
    assert names.resolve_sam(asked, tmp_path / "none") == ("transformers", snapshot)
    assert names.resolve_concepts(asked, tmp_path / "none") == snapshot
    with pytest.raises(RegistryError, match="no model 'facebook/other' is registered"):
        names.resolve_sam("facebook/other", tmp_path / "none")
