"""`dgl-rsis connect` against a stand-in for Label Studio."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from backend.commands import connect as command
from backend.commands.main import app
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio

URL = "http://127.0.0.1:9"


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStudio]:
    monkeypatch.setattr(command, "START_SECONDS", -1.0)
    with fake_studio() as fake:
        monkeypatch.setenv("LABEL_STUDIO_URL", fake.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
        yield fake


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["connect", *arguments])
    return result.exit_code, result.output


def test_a_project_is_connected_once_with_clicks(studio: FakeStudio) -> None:
    for said in ("connected to", "is connected to"):
        assert run("1", "--backend", f"{URL}/") == (0, f"project 1: {said} {URL}\n")
    (backend,) = studio.backends
    assert (backend["url"], backend["is_interactive"], backend["title"]) == (URL, True, "DGL-RSIS")


def test_clicks_are_switched_on_and_the_title_is_kept(studio: FakeStudio) -> None:
    studio.connect("dgl-rsis-1-starter", "dgl-rsis-1-starter", URL)
    assert run("1", "--backend", URL)[0] == 0
    (backend,) = studio.backends
    assert (backend["title"], backend["is_interactive"]) == ("dgl-rsis-1-starter", True)


def test_the_login_is_given_along(studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH_USER", "me")
    monkeypatch.setenv("BASIC_AUTH_PASS", "secret-word")
    status, said = run("1", "--backend", URL)
    assert status == 0
    assert studio.backends[0]["basic_auth_pass"] == "secret-word"
    assert "secret-word" not in said


def test_what_cannot_be_connected_is_named_and_the_others_are(studio: FakeStudio) -> None:
    status, said = run("7", "1", "--backend", URL)
    assert status == 1
    assert "project 7: Label Studio answered 404" in said
    assert f"project 1: connected to {URL}" in said


def test_a_refused_address_has_its_way_out(studio: FakeStudio) -> None:
    studio.forbids = True
    status, said = run("1", "--backend", URL)
    assert status == 1
    assert "ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false" in said


def test_without_label_studio_or_a_scheme_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    status, said = run("1")
    assert status == 2
    assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in said
    status, said = run("1", "--backend", "localhost:9090")
    assert status == 2
    assert "without a scheme" in said
