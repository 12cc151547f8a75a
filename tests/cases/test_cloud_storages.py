"""Images: what Label Studio keeps in cloud storages, uploads and folders.

The stand-in answers as Label Studio 1.23.2 does: with the bytes, or with a redirect to an address
that the storage signs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from backend.commands.export import command as export_command
from backend.commands.labels import read_config
from backend.commands.prelabel.items import PrelabelItem
from backend.commands.prelabel.sources import Shown, read_sources
from backend.project.pictures import Pictures
from backend.studio.corrections import to_learn
from tests.backend.studio.exports import H, W, annotation, box, brushed, task, written
from tests.cases.studio_storages import IMAGE, KEY, Studio, label_studio
from workers.images.credentials import Credentials
from workers.images.download import Downloader, FetchError
from workers.images.fetch import Fetcher
from workers.images.storages import StorageLink, link, read_link

CONFIG = read_config("building,road", None)
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="building"/></BrushLabels></View>'
)
TASK: dict[str, Any] = {"id": 5, "data": {"image": "s3://my-bucket/scenes/a.jpg"}}


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as studio:
        yield studio


def _fetcher(studio: Studio, *allowed: str, key: str = KEY) -> Fetcher:
    credentials = Credentials(studio.url, key) if key else None
    return Fetcher(Downloader(studio.url, credentials, frozenset(allowed), 10_000, 5.0))


def _fetch(studio: Studio, uri: str, *allowed: str, task: int = 5) -> bytes:
    asked = CONFIG.to_request({"id": task, "data": {"image": uri}}, "v1")
    return _fetcher(studio, *allowed).fetch(asked.image)


@pytest.mark.parametrize("presign", [True, False], ids=["signed", "passed on"])
@pytest.mark.parametrize(
    "uri",
    [
        "s3://my-bucket/scenes/a.jpg",
        "gs://my-bucket/scenes/a.jpg",
        "azure-blob://my-bucket/scenes/a.jpg",
        "s3://my-bucket/Zürich 2024/a b%20c+d.png",
    ],
)
def test_storages(studio: Studio, uri: str, presign: bool) -> None:
    """Cloud storages of Label Studio: S3, Google Cloud Storage, Azure Blob; keys as they are."""
    studio.presign = presign
    assert _fetch(studio, uri, "127.0.0.1") == IMAGE
    path, authorization = studio.seen[0]
    assert authorization == f"Token {KEY}"
    assert read_link(path) == StorageLink(uri, "task 5")
    signed = [("/my-bucket/" + uri.split("/", 3)[3], None)]  # without the key of Label Studio
    assert studio.cloud.seen == (signed if presign else [])


def test_links(studio: Studio) -> None:
    """Links of Label Studio to its storages, and uploads that it keeps in a cloud."""
    path = link("s3://my-bucket/a.jpg", 5)
    for reference in (
        path,
        path.replace("resolve", "presign"),
        path.replace("resolve/", "resolve"),
        studio.url + path,
        path.replace("tasks/5", "projects/1"),
        "/storage-data/uploaded/?filepath=upload/1/a.png",
    ):
        assert _fetcher(studio, "127.0.0.1").fetch(reference) == IMAGE


@pytest.mark.parametrize(
    "reference",
    ["/data/upload/1/a.png", "upload/1/a.png", r"data\upload\1\a.png", r"upload\1\a.png"],
)
def test_uploads(studio: Studio, reference: str) -> None:
    """Uploads of Label Studio, also without the leading `/data/` and with backslashes."""
    assert _fetcher(studio).fetch(reference) == IMAGE
    assert studio.seen[0][0] == "/data/upload/1/a.png"


def test_one_task_does_not_answer_for_another() -> None:
    """The same address in two tasks is asked for twice: their storages may differ."""
    one, other = (CONFIG.to_request({**TASK, "id": number}, "v1") for number in (5, 6))
    assert one.image != other.image
    assert one.key != other.key
    assert CONFIG.to_request({**TASK, "id": "5"}, "v1").image == one.image
    written = link(TASK["data"]["image"], 777)  # as Label Studio's own API gives them
    for reference in (written, f"https://known.to.people/label{written}"):
        assert CONFIG.to_request({"id": 5, "data": {"image": reference}}, "v1").key == one.key


def test_corrections_of_images_in_a_cloud() -> None:
    """What people correct on images in a cloud is learnt from the same file."""
    marked = annotation(brushed(box(1, 1, 9, 9), "building"), updated_at="2026-11-23T07:46:22Z")
    learnt = to_learn(marked, TASK, {"id": 1, "label_config": XML}, None)
    assert learnt.image == CONFIG.to_request(TASK, "v1").image


@pytest.mark.parametrize(
    ("uri", "host", "signed"),
    [
        ("s3", "my-bucket.s3.amazonaws.com", True),
        ("s3", "s3.eu-central-1.amazonaws.com", True),
        ("s3", "my.bucket.s3.dualstack.us-west-2.amazonaws.com", True),
        ("s3", "my-bucket.s3-eu-west-1.amazonaws.com", True),
        ("s3", "s3.cn-north-1.amazonaws.com.cn", True),
        ("s3", "ec2-1-2-3-4.compute.amazonaws.com", False),
        ("s3", "s3.amazonaws.com.evil.example", False),
        ("s3", "evils3.amazonaws.com", False),
        ("s3", "storage.googleapis.com", False),
        ("gs", "storage.googleapis.com", True),
        ("gs", "my-bucket.storage.googleapis.com", True),
        ("gs", "compute.googleapis.com", False),
        ("azure-blob", "account1.blob.core.windows.net", True),
        ("azure-blob", "blob.core.windows.net.evil.example", False),
        ("minio", "my-bucket.s3.amazonaws.com", False),
    ],
)
def test_hosts_that_a_cloud_implies(uri: str, host: str, signed: bool) -> None:
    """Redirects lead to the cloud of the storage alone, by https."""
    opened = StorageLink(f"{uri}://my-bucket/a.jpg", "task 5")
    assert opened.leads_to(urlsplit(f"https://{host}/a.jpg?x=1")) is signed
    assert not opened.leads_to(urlsplit(f"http://{host}/a.jpg?x=1"))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", r"is at 127\.0\.0\.1:\d+, as Label Studio says: .* ALLOWED_IMAGE_HOSTS"),
        ("https://elsewhere.example/x", "is at elsewhere.example:443, as Label Studio says"),
        ("https://s3.amazonaws.com.evil.example/x", "is at s3.amazonaws.com.evil.example:443"),
        ("https://s3.amazonaws.com@evil.example/x", "is not a valid address"),
        ("file:///etc", "is not a valid address"),
    ],
)
def test_other_hosts_are_refused(studio: Studio, target: str, words: str) -> None:
    """A signed address at a host that no setting allows is not opened."""
    studio.target = target
    with pytest.raises(FetchError, match=words) as raised:
        _fetch(studio, "s3://my-bucket/a.jpg")
    assert "Signature" not in str(raised.value)
    assert studio.cloud.seen == []


def test_a_cloud_behind_the_same_proxy(studio: Studio) -> None:
    """Signed addresses on Label Studio's own host and port, as behind a proxy: without the key."""
    studio.target = f"{studio.url}/cloud"
    assert _fetch(studio, "s3://my-bucket/a.jpg") == IMAGE
    assert [authorization for _, authorization in studio.seen] == [f"Token {KEY}", None]


def test_another_address_of_label_studio(studio: Studio) -> None:
    """A redirect to Label Studio under another address: that is what LABEL_STUDIO_URL should be."""
    studio.moved = studio.url.replace("127.0.0.1", "localhost")
    with pytest.raises(FetchError, match=r"redirects .* to localhost:\d+: set LABEL_STUDIO_URL"):
        _fetch(studio, "s3://my-bucket/a.jpg", "localhost")
    assert len(studio.seen) == 1


@pytest.mark.parametrize(
    ("uri", "task", "words"),
    [
        ("s3://other/a.jpg", 5, "404: Label Studio has no such task, or"),
        ("s3://my-bucket/a.jpg", 7, "404: Label Studio has no such task, or"),
        ("s3://my-bucket/a.jpg", 6, "403: .* make them a member of the project"),
        ("s3://my-bucket/none", 5, "404: the storage has no such file"),
    ],
)
def test_what_cannot_be_had_is_said(studio: Studio, uri: str, task: int, words: str) -> None:
    """Missing tasks, storages, rights and files: the cause, and the way out."""
    with pytest.raises(FetchError, match=words):
        _fetch(studio, uri, "127.0.0.1", task=task)


def test_without_a_key(studio: Studio) -> None:
    """Without a key, Label Studio's refusal names the setting."""
    with pytest.raises(FetchError, match=r"'s3://my-bucket/scenes/a\.jpg' of task 5 .*API_KEY"):
        _fetcher(studio, key="").fetch(CONFIG.to_request(TASK, "v1").image)


def test_a_list_of_tasks_without_ids(tmp_path: Path) -> None:
    """Tasks of `tile --image-prefix s3://…` before their import: the tiles beside the list."""
    (tmp_path / "y").mkdir()
    for name in ("a b.png", "y/c.png", "d.png"):
        (tmp_path / name).write_bytes(IMAGE)
    keys = ["t/a b.png", "x/y/c.png", "t/none.png", "1/d.png", "2/d.png", "../../d.gif"]
    tasks = [{"data": {"image": f"s3://my-bucket/{key}"}} for key in keys]
    listed = _listed(tmp_path, [*tasks, TASK])
    files = [item.file and item.file.relative_to(tmp_path).as_posix() for item in listed]
    assert files == ["a b.png", "y/c.png", None, "d.png", None, None, None]
    assert "was taken for s3://my-bucket/1/d.png, too" in listed[4].problem
    assert CONFIG.to_request(listed[6].task, "v1").image == link(TASK["data"]["image"], 5)


def _listed(folder: Path, tasks: list[object]) -> list[PrelabelItem]:
    (folder / "import.json").write_text(json.dumps(tasks), "utf-8")
    return list(read_sources([str(folder / "import.json")], Shown(), Pictures("image")).items())


@pytest.mark.parametrize(
    "reference",
    [
        "s3://my-bucket/scenes/Zürich a%20b#1.png",
        "/tasks/5/resolve/?fileuri=" + "czM6Ly9teS1idWNrZXQvc2NlbmVzL1rDvHJpY2ggYSUyMGIjMS5wbmc=",
        "C:\\work\\scenes\\Zürich a%20b#1.png",
        "scenes\\Zürich a%20b#1.png",
        "/data/local-files/?d=scenes%5CZ%C3%BCrich%20a%2520b%231.png",
    ],
)
def test_exports_find_images_in_a_folder(
    tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports whose images lie in a cloud or on Windows: `--images` finds them by their path."""
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    folder = tmp_path / "images" / "scenes"
    folder.mkdir(parents=True)
    Image.new("RGB", (W, H), "red").save(folder / "Zürich a%20b#1.png")
    marked = annotation(brushed(box(1, 1, 9, 9), "building"))
    export = written(tmp_path / "export.json", {**task(5, marked), "data": {"image": reference}})
    options = (str(export), "--format", "semantic", "--split", "1,0,0", "--out")
    found = _exported(*options, str(tmp_path / "set"), "--images", str(tmp_path / "images"))
    assert found.exit_code == 0, found.output
    assert len(list((tmp_path / "set/semantic/train/images").iterdir())) == 1
    assert _exported(*options, str(tmp_path / "none")).exit_code == 2  # nothing is left to write


def _exported(*words: str) -> Result:
    app = typer.Typer()
    app.command()(export_command.export)
    return CliRunner().invoke(app, words)


def test_paths_of_windows(tmp_path: Path) -> None:
    """Lists of paths with the backslashes of Windows."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(IMAGE)
    (tmp_path / "list.txt").write_text("x\\a.png\n")
    (item,) = read_sources([str(tmp_path / "list.txt")], Shown("p/"), Pictures("image")).items()
    assert item.file == tmp_path / "x" / "a.png"
    (item,) = _listed(tmp_path, [{"data": {"image": "x\\a.png"}}])
    assert item.file == tmp_path / "x" / "a.png"


@given(st.sampled_from(["s3", "gs", "azure-blob"]), st.text(max_size=50), st.integers(1, 2**40))
def test_a_link_holds_its_address(scheme: str, key: str, task: int) -> None:
    uri = f"{scheme}://my-bucket/{key}"
    assert read_link(link(uri, task)) == StorageLink(uri, f"task {task}")
