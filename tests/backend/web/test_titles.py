import shutil
import subprocess
import time
from pathlib import Path

import pytest

from backend.web.settings import Settings
from backend.web.titles import Titles
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio


def titles(url: str) -> Titles:
    return Titles(
        Settings.model_validate({"label_studio_url": url, "label_studio_api_key": LEGACY_TOKEN})
    )


def until_known(titles: Titles, project: str) -> str:
    deadline = time.monotonic() + 20
    while not (title := titles.of(project)):
        assert time.monotonic() < deadline, "the title never came"
        time.sleep(0.02)
    return title


def test_a_title_comes_from_label_studio_and_nobody_waits_for_it(studio: FakeStudio) -> None:
    studio.delay = 0.3
    known, started = titles(studio.url), time.monotonic()
    assert known.of("1") == ""
    assert time.monotonic() - started < 0.3
    assert until_known(known, "1")
    calls = len(studio.calls)
    assert known.of("1")
    assert len(studio.calls) == calls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_title_comes_from_behind_a_private_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = str(tmp_path / "own.pem"), str(tmp_path / "own.key")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with fake_studio(certificate=(certificate, key)) as studio:
        assert until_known(titles(studio.url), "1")


def test_a_project_that_is_gone_and_a_label_studio_that_is_away_have_no_titles(
    studio: FakeStudio,
) -> None:
    assert titles(studio.url).of("99") == titles("http://127.0.0.1:1").of("1") == ""
    assert Titles(Settings()).of("1") == ""
