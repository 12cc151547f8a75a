"""Paths in tasks, encoded as often as you like, lead to images below their folder alone."""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from workers.images.credentials import Credentials
from workers.images.download import Downloader, FetchError
from workers.images.fetch import Fetcher

STUDIO = "http://studio.example:8080"
SECRET = b"secret"


def often(text: str, times: int) -> str:
    for _ in range(times):
        text = quote(text, safe="").replace(".", "%2e")
    return text


OUT = ["../secret.png", "..\\secret.png", "a/../../secret.png", "/../secret.png",
       "....//secret.png", "a/..\\..\\secret.png", "link.png", "folder/secret.png",
       "../inside/../secret.png", "secret.png\0.png", "../secret.png\0", "\0",
       "a" * 5000, ".", "..", "", "fifo.png", "\ud800.png"]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(SECRET)
    inside = tmp_path / "inside"
    (inside / "a").mkdir(parents=True)
    (inside / "a" / "image.png").write_bytes(b"image")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "folder").symlink_to(tmp_path, target_is_directory=True)
    (inside / "loop.png").symlink_to(inside / "loop.png")
    os.mkfifo(inside / "fifo.png")
    return inside


@pytest.mark.parametrize("times", [0, 1, 2, 3])
@pytest.mark.parametrize("name", [*OUT, "loop.png"], ids=lambda name: ascii(name)[:20])
def test_local_files_are_read_below_their_folder_alone(root: Path, name: str, times: int) -> None:
    fetcher = Fetcher(Downloader(None, None, frozenset(), 1000, 1.0), root.resolve())
    for path in ("/data/local-files/?d=", "data/local-files?d=", "/data/local-files//?d="):
        with pytest.raises(FetchError):
            fetcher.fetch(path + (often(name, times) if name != "\ud800.png" else name))
    assert fetcher.fetch("/data/local-files/?d=a/image.png") == b"image"


@pytest.mark.parametrize("times", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("out", ["..", ".", "..\\", "\\..", "../"])
@pytest.mark.parametrize("folder", ["data/upload", "data", "tasks/5", "storage-data"])
def test_the_key_goes_to_no_path_that_somebody_may_read_as_another(
    out: str, folder: str, times: int
) -> None:
    studio = Downloader(STUDIO, Credentials(STUDIO, "key"), frozenset(), 1000, 1.0)
    step = often(out, times)
    for path in (f"/{folder}/{step}/{step}/{step}/api/users", f"/{step}/{folder}/../api"):
        assert not studio.serves_files(urlsplit(STUDIO + path))


@pytest.mark.parametrize("name", ["1/a%20b.png", "1/100%25.png", "1/a..b.png", "1/%E2%82%AC.png"])
def test_the_key_goes_to_uploads_whatever_they_are_called(name: str) -> None:
    studio = Downloader(STUDIO, Credentials(STUDIO, "key"), frozenset(), 1000, 1.0)
    assert studio.serves_files(urlsplit(f"{STUDIO}/data/upload/{name}"))
