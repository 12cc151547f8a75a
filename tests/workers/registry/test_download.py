"""Pulling models over HTTP."""

import contextlib
import hashlib
import io
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.file_server import Shelf, file_server
from tests.workers.registry.shelves import SHA256, WEIGHTS, Opened, kept, pull, registry
from workers.registry import download
from workers.registry.files import RegistryError, locking


def test_a_model_is_pulled_checked_and_locked(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path / "models", shelf)
    steps: list[tuple[int, int]] = []
    check = Opened()
    path = models.pull("m", lambda done, total: steps.append((done, total)), check)
    assert path.read_bytes() == WEIGHTS
    assert check.seen == [(WEIGHTS, "clip", "ViT-B-32")]
    assert steps[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert sorted(steps) == steps
    assert len(steps) > 10
    assert models.resolve("m").sha256 == SHA256
    assert models.verify() == {"m": ""}
    assert kept(models.folder) == {"m.pt", "models.lock.json"}


def test_what_is_here_is_not_fetched_again(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    assert pull(models) == pull(models)
    assert len(shelf.seen) == 1


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(
    tmp_path: Path, shelf: Shelf, sha256: str
) -> None:
    shelf.cuts = [300_000, 200_000]
    assert pull(registry(tmp_path, shelf, sha256=sha256)).read_bytes() == WEIGHTS
    assert shelf.seen == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_command_continues(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    shelf.cuts = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(RegistryError, match=r"broke off at 300,000 bytes.*again to continue"):
        pull(models)
    assert models.installed() == {}
    shelf.cuts, shelf.seen = [], []
    assert pull(models).read_bytes() == WEIGHTS
    assert shelf.seen == ["bytes=300000-"]


def test_an_interrupted_command_leaves_its_part(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)

    def interrupt(done: int, _total: int) -> None:
        if done >= 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull("m", interrupt, Opened())
    shelf.seen = []
    assert pull(models).read_bytes() == WEIGHTS
    assert re.fullmatch(r"bytes=5\d{5}-", shelf.seen[0] or "")


@settings(max_examples=25, deadline=None)
@given(
    st.binary(min_size=1, max_size=3000),
    st.integers(0, 3000),
    st.lists(st.integers(1, 3000), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_whatever_breaks_where_the_file_comes_whole(
    content: bytes, start: int, cuts: list[int], ranges: bool, tags: bool
) -> None:
    with TemporaryDirectory() as folder, file_server() as shelf:
        shelf.files["/m.pt"] = content
        shelf.cuts, shelf.ranges, shelf.tags = cuts, ranges, tags
        part = Path(folder) / "part"
        part.write_bytes(content[:start])
        for _ in range(len(cuts) + 1):  # as a user who does not give up
            with contextlib.suppress(RegistryError):
                download.download(
                    f"{shelf.url}/m.pt", part, 0, lambda _done, _total: None, pinned=True
                )
                break
        assert part.read_bytes() == content
        assert not part.with_name("part.etag").exists()


def test_a_complete_part_needs_no_transfer(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / ".m.part").write_bytes(WEIGHTS)
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS
    assert shelf.seen == [f"bytes={len(WEIGHTS)}-"]


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / ".m.part").write_bytes(WEIGHTS + b"more")
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS


def test_a_server_without_ranges_starts_anew(tmp_path: Path, shelf: Shelf) -> None:
    shelf.ranges, shelf.cuts = False, [300_000]
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS
    assert shelf.seen == [None, "bytes=300000-"]


def test_without_a_known_hash_a_changed_file_starts_anew(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf, sha256="", bytes=0)
    shelf.cuts = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(RegistryError, match="broke off"):
        pull(models)
    shelf.cuts, shelf.files["/m.pt"] = [], WEIGHTS[::-1]
    assert pull(models).read_bytes() == WEIGHTS[::-1]


def test_without_hash_and_tag_nothing_is_continued(tmp_path: Path, shelf: Shelf) -> None:
    shelf.tags, shelf.cuts = False, [300_000]
    assert pull(registry(tmp_path, shelf, sha256="")).read_bytes() == WEIGHTS
    assert shelf.seen == [None, None]


def test_a_busy_server_is_asked_again(tmp_path: Path, shelf: Shelf) -> None:
    shelf.statuses = [503, 429]
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS


def test_redirects_are_followed(tmp_path: Path, shelf: Shelf) -> None:
    shelf.moves["/here"] = "/m.pt"
    assert pull(registry(tmp_path, shelf, url=f"{shelf.url}/here")).read_bytes() == WEIGHTS


def test_a_redirect_that_leaves_tls_is_refused(tmp_path: Path) -> None:
    answer = requests.Response()
    answer.url, answer.status_code = "http://elsewhere/m.pt", 200
    with pytest.raises(RegistryError, match="without TLS"):
        download._check_status("https://here/m.pt", answer)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "/gone.pt"}, "HTTP 404: the file may have moved"),
        ({"bytes": 5}, "has 1,024,000 bytes, not the expected 5"),
        ({"sha256": "ab" * 32}, f"has the SHA-256 {SHA256}, not the expected abab"),
        ({"member": "epoch_20.pt"}, "is no whole zip archive"),
    ],
)
def test_what_is_not_the_model_is_not_kept(
    tmp_path: Path, shelf: Shelf, changes: dict[str, str], words: str
) -> None:
    if "url" in changes:
        changes = {"url": shelf.url + changes["url"]}
    models = registry(tmp_path, shelf, **changes)
    with pytest.raises(RegistryError, match=words):
        pull(models)
    assert models.installed() == {}
    assert kept(tmp_path) == set()


def test_what_cannot_be_opened_is_not_kept(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    with pytest.raises(ValueError, match="another architecture"):
        pull(models, Opened("it is of another architecture"))
    assert kept(tmp_path) == set()


def test_no_server(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(RegistryError, match="broke off at 0 bytes"):
        pull(registry(tmp_path, shelf, url="http://127.0.0.1:9/m.pt"))


def test_no_room(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(RegistryError, match=r"needs 1,024,000 bytes more.*1,000 free"):
        pull(registry(tmp_path, shelf))


def test_the_first_pull_pins_an_unknown_hash(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf, sha256="", bytes=0)
    path = pull(models)
    path.unlink()
    shelf.files["/m.pt"] = b"other weights"
    with pytest.raises(RegistryError, match=f"not the expected {SHA256}"):
        pull(models)
    shelf.files["/m.pt"] = WEIGHTS
    assert pull(models) == path


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"SkyCLIP/{name}.pt", data)
    return content.getvalue()


def test_a_model_comes_out_of_its_archive(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/m.zip"] = archive = zipped(epoch_20=WEIGHTS, epoch_1=b"")
    changes = {"url": f"{shelf.url}/m.zip", "sha256": "", "bytes": 0, "member": "epoch_20.pt"}
    models = registry(tmp_path, shelf, **changes)
    assert pull(models).read_bytes() == WEIGHTS
    entry = models.resolve("m")
    assert (entry.file, entry.sha256) == ("m.pt", SHA256)
    assert entry.pulled == hashlib.sha256(archive).hexdigest()
    assert kept(tmp_path) == {"m.pt", "models.lock.json"}


def test_an_archive_without_the_model(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/m.pt"] = zipped(epoch_1=b"")
    with pytest.raises(RegistryError, match=r"holds 0 files epoch_20\.pt"):
        pull(registry(tmp_path, shelf, sha256="", bytes=0, member="epoch_20.pt"))
    assert kept(tmp_path) == set()


def test_a_damaged_archive(tmp_path: Path, shelf: Shelf) -> None:
    content = zipped(epoch_20=WEIGHTS)
    place = content.index(WEIGHTS[:500])
    shelf.files["/m.pt"] = content[:place] + b"x" * 500 + content[place + 500 :]
    with pytest.raises(RegistryError, match="no whole zip archive"):
        pull(registry(tmp_path, shelf, sha256="", bytes=0, member="epoch_20.pt"))
    assert kept(tmp_path) == set()


def test_one_process_brings_a_model(tmp_path: Path, shelf: Shelf) -> None:
    with locking(tmp_path / ".m.lock"), pytest.raises(RegistryError, match="another process"):
        pull(registry(tmp_path, shelf))
