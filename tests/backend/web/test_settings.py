import pytest
from pydantic import ValidationError

from backend.web.settings import Settings


def test_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 9090, None)
    assert (settings.single_task_seconds, settings.batch_seconds) == (20, 80)
    assert not settings.delivers


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "REDIS_URL": "redis://queue/1",
        "PORT": "0",
        "BATCH_SECONDS": "10",
        "LABEL_STUDIO_URL": "http://studio:8080",
        "LABEL_STUDIO_API_KEY": "0123456789",
        "LOG_LEVEL": "DEBUG",
        "BASIC_AUTH_USER": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.redis_url, settings.port) == ("redis://queue/1", 0)
    assert (settings.batch_seconds, settings.log_level) == (10, "DEBUG")
    assert settings.delivers
    assert settings.basic_auth_user is None


def test_an_address_without_a_scheme_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "localhost:8080")
    with pytest.raises(ValidationError, match="without a scheme"):
        Settings()


def test_a_slash_at_the_end_of_the_address_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://studio.example/labels/")
    assert Settings().label_studio_url == "https://studio.example/labels"


@pytest.mark.parametrize("only", ["label_studio_url", "label_studio_api_key"])
def test_half_a_label_studio_delivers_nothing(only: str) -> None:
    assert not Settings.model_validate({only: "http://studio"}).delivers


@pytest.mark.parametrize("only", ["basic_auth_user", "basic_auth_pass"])
def test_half_a_login_is_refused(only: str) -> None:
    with pytest.raises(ValidationError, match="or neither") as caught:
        Settings.model_validate({only: "secret"})
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    settings = Settings.model_validate(
        {
            "basic_auth_user": "u",
            "basic_auth_pass": "hunter22",
            "label_studio_api_key": "hunter23",
            "redis_url": "redis://:hunter24@queue/0",
        }
    )
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("threads", [2, 3, 8, 64, 1024])
def test_some_threads_never_wait(threads: int) -> None:
    waiting = Settings.model_validate({"threads": threads}).waiting_requests
    assert 1 <= waiting < threads
