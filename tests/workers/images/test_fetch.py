"""References that come from the task itself, the local disk, or nowhere. HTTP: test_download."""

import base64
import os
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.images.download import Downloader, FetchError
from workers.images.fetch import Fetcher
from workers.settings import WorkerSettings


def _fetcher(root: Path | None = None, url: str | None = None, most: int = 1000) -> Fetcher:
    downloader = Downloader(url, None, frozenset(), max_bytes=most, seconds=5.0)
    return Fetcher(downloader, root.resolve() if root is not None else None)


@given(st.binary(max_size=300))
def test_data_urls_give_their_bytes_back(data: bytes) -> None:
    packed = base64.b64encode(data).decode()
    for content in (f";base64,{packed}", f";base64,{quote(packed)}", f",{quote_from_bytes(data)}"):
        assert _fetcher().fetch(f"data:image/png{content}") == data


def test_odd_data_urls_are_read() -> None:
    fetcher = _fetcher()
    assert fetcher.fetch("data:,a%20b") == b"a b"
    assert fetcher.fetch("DATA:image/png;charset=x;BASE64,aGk") == b"hi"  # no padding
    assert fetcher.fetch("data:;base64,aG\nk=") == b"hi"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:;base64,a!", "not valid base64"),
        ("data:;base64," + "A" * 1400, "1,050 bytes or more, above the allowed 1,000"),
        ("data:," + "A" * 1001, "above the allowed"),
        ("data:," + "A" * 4000, "above the allowed"),
    ],
)
def test_bad_data_urls_are_refused(reference: str, message: str) -> None:
    with pytest.raises(FetchError, match=message):
        _fetcher().fetch(reference)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A served folder beside a secret."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "sub folder").mkdir(parents=True)
    (root / "tile.png").write_bytes(b"tile")
    (root / "sub folder" / "ü.JPG").write_bytes(b"deep")
    (root / "odd\\name.png").write_bytes(b"odd")
    (root / "notes.txt").write_bytes(b"text")
    (root / "big.tif").write_bytes(b"x" * 1001)
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "in.png").symlink_to(root / "tile.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    return root


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tile.png", b"tile"),
        ("/tile.png", b"tile"),
        ("sub%20folder/%C3%BC.JPG", b"deep"),
        ("sub+folder/../tile.png", b"tile"),
        ("in.png", b"tile"),
        ("sub folder\\ü.JPG", b"deep"),
        ("sub%20folder%5Cü.JPG", b"deep"),
        ("odd\\name.png", b"odd"),
    ],
)
def test_local_files_are_read(root: Path, name: str, data: bytes) -> None:
    fetcher = _fetcher(root, "http://studio:8080/label")
    assert fetcher.fetch(f"/data/local-files/?d={name}") == data
    assert fetcher.fetch(f"/data/local-files?d={name}") == data
    assert fetcher.fetch(f"/label/data/local-files/?d={name}") == data
    assert fetcher.fetch(f"http://studio:8080/label/data/local-files/?d={name}") == data
    assert fetcher.fetch(f"data\\local-files\\?d={name}") == data


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "..%2Fsecret.png",
        "%2e%2e/secret.png",
        "sub folder/../../secret.png",
        "....//secret.png",
        "..\\secret.png",
        "up\\secret.png",
        "/etc/passwd",
        "//etc/passwd",
        "out.png",
        "up/secret.png",
        "notes.txt",
        "loop.png",
        "folder.png",
        "pipe.png",
        "none.png",
        "tile.png%00.png",
        "a" * 5000 + ".png",
        "",
        ".",
    ],
)
def test_nothing_else_is_read(root: Path, name: str) -> None:
    with pytest.raises(FetchError, match="is not an image below LOCAL_FILES_DOCUMENT_ROOT"):
        _fetcher(root).fetch(f"/data/local-files/?d={name}")


def test_the_absolute_path_of_the_secret_is_refused(root: Path) -> None:
    secret = root.parent / "secret.png"
    for name in (str(secret), f"/{secret}", quote(str(secret), safe="")):
        with pytest.raises(FetchError, match="is not an image below"):
            _fetcher(root).fetch(f"/data/local-files/?d={name}")


@given(st.lists(st.sampled_from(["..", ".", "up", "sub folder", "", "%2e%2e", "~"]), max_size=6))
def test_no_mixture_of_dots_and_links_leads_out(parts: list[str]) -> None:
    root = _ROOTS[0]
    reference = "/data/local-files/?d=" + "/".join([*parts, "secret.png"])
    with pytest.raises(FetchError):
        _fetcher(root).fetch(reference)


_ROOTS: list[Path] = []


@pytest.fixture(autouse=True)
def _share_root(root: Path) -> None:
    _ROOTS[:] = [root]  # hypothesis takes no function-scoped fixture


def test_a_large_file_is_refused(root: Path) -> None:
    with pytest.raises(FetchError, match="1,001 bytes or more, above the allowed 1,000"):
        _fetcher(root).fetch("/data/local-files/?d=big.tif")


def test_without_a_root_and_a_label_studio_local_files_are_refused() -> None:
    with pytest.raises(FetchError, match="LOCAL_FILES_DOCUMENT_ROOT"):
        _fetcher().fetch("/data/local-files/?d=tile.png")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("", "image is empty"),
        ("  ", "image is empty"),
        ("/data/upload/1/a.png", "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        ("s3://bucket/a.png", "the task needs its id"),
        ("gs://bucket/a.png", "the task needs its id"),
        ("azure-blob://container/a.png", "the task needs its id"),
        ("C:\\images\\a.png", "a path on somebody's Windows machine"),
        ("\\\\server\\images\\a.png", "a path on somebody's Windows machine"),
        ("/tasks/5/resolve/?fileuri=czM6Ly9iL2EucG5n", "'s3://b/a.png' of task 5 is to be had"),
        ("file:///etc/passwd", "is no address that the worker can read"),
        ("ftp://host/a.png", "is no address"),
        ("gopher://127.0.0.1:6379/_x", "is no address"),
        ("//host/a.png", "is no address"),
        ("tile.png", "is no address"),
        ("javascript:alert(1)", "is no address"),
        ("http://", "is not a valid address"),
        ("http://[::1", "is not a valid address"),
        ("http://host:port/a.png", "is not a valid address"),
        ("http://user:word@host/a.png", "is not a valid address"),
        ("http://a\\@b/a.png", "is not a valid address"),
        ("http://exa mple/a.png", "is not a valid address"),
    ],
)
def test_other_references_are_refused_with_the_way_out(reference: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as raised:
        _fetcher().fetch(reference)
    assert not raised.value.transient
    assert "word" not in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=60))
def test_any_text_is_refused_and_never_crashes(reference: str) -> None:
    with pytest.raises(FetchError):
        _fetcher().fetch(reference)


def test_settings_make_a_fetcher(tmp_path: Path) -> None:
    settings = WorkerSettings(
        label_studio_url="http://studio:8080/",
        label_studio_api_key="sesame",  # type: ignore[arg-type]
        allowed_image_hosts=("tiles",),
        local_files_document_root=tmp_path,
        requests_ca_bundle=tmp_path / "ca.pem",
    )
    fetcher = Fetcher.from_settings(settings)
    assert fetcher.local_root == tmp_path.resolve()
    assert fetcher.downloader.credentials is not None
    assert fetcher.downloader.credentials.authorization() == "Token sesame"
    assert fetcher.downloader.allowed_hosts == {"tiles"}
    assert fetcher.downloader.verify == str(tmp_path / "ca.pem")
