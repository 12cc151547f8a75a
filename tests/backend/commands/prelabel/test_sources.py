import json
import logging
import os
from pathlib import Path

import pytest

from backend.commands.labels import read_config
from backend.commands.prelabel.items import ItemError, PrelabelError, PrelabelItem
from backend.commands.prelabel.requests import Requests
from backend.commands.prelabel.sources import Shown, read_sources
from backend.project.pictures import Pictures
from dgl_rsis.resolution import tile_address

CONFIG = read_config("ship,water", None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "all images"
    for name in ("b.png", "a.jpg", "deep/er/c d.PNG", "notes.txt", "deep/table.csv"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return folder


def items(*given: str | Path, prefix: str = "", root: Path | None = None) -> list[PrelabelItem]:
    shown = Shown(prefix, root.resolve() if root else None)
    source = read_sources([str(each) for each in given], shown, Pictures("image"))
    listed = list(source.items())
    assert source.total == len(listed)
    assert len({each.name for each in listed}) == len(listed)
    assert listed == list(source.items())  # a rerun sees the same names
    return listed


def references(listed: list[PrelabelItem]) -> list[str]:
    return [item.task["data"]["image"] for item in listed]


def test_a_folder_is_all_images_below_it(images: Path) -> None:
    assert references(items(images, root=images.parent)) == [
        "/data/local-files/?d=all%20images/a.jpg",
        "/data/local-files/?d=all%20images/b.png",
        "/data/local-files/?d=all%20images/deep/er/c%20d.PNG",
    ]


def test_a_prefix_goes_before_paths_within_the_source(images: Path) -> None:
    assert references(items(images, prefix="https://host/x/"))[2] == (
        "https://host/x/deep/er/c%20d.PNG"
    )
    assert references(items(images / "deep" / "**" / "*.PNG", prefix="p/")) == ["p/er/c%20d.PNG"]
    several = items(images / "deep/er/c d.PNG", images / "b.png", prefix="p/")
    assert references(several) == ["p/deep/er/c%20d.PNG", "p/b.png"]


def test_a_list_has_paths_from_its_folder_and_addresses(images: Path) -> None:
    lines = [
        "# mine",
        "b.png",
        "",
        "https://host/y.png",
        "/data/upload/1/z.png",
        "b.png",
        "../e.png",
    ]
    (images / "notes.txt").write_text("\n".join(lines), "utf-8")
    listed = items(images / "notes.txt", prefix="p/")
    assert references(listed)[:4] == [
        "p/b.png",
        "https://host/y.png",
        "/data/upload/1/z.png",
        "p/b.png",
    ]
    assert listed[3].name == "p/b.png#2"
    assert "outside" in listed[4].problem


def test_tasks_come_with_their_data(images: Path) -> None:
    tasks = [
        {"id": 7, "data": {"image": "/data/upload/1/a.png", "crs": "EPSG:32633"}},
        {"image": "b.png"},
        {"image": "b.png"},
        "nonsense",
        {"data": {"photo": "b.png"}},
    ]
    (images / "tasks.json").write_text(json.dumps(tasks))
    listed = items(images / "tasks.json")
    assert listed[0].task == tasks[0]
    assert (listed[0].name, listed[0].file) == ("7", None)
    assert listed[1].file == images / "b.png"
    assert listed[2].name == f"{listed[1].name}#2"
    assert "must be an object" in listed[3].problem
    with pytest.raises(ItemError, match="has no 'image'"):
        Requests(CONFIG, "v1", None, 100).of(listed[4])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere", "does not exist"),
        ("empty", "no images in"),
        ("*.webp", "no images in"),
        ("deep/table.csv", "could not show"),
        ("none.json", "none.json"),
        ("empty.json", "holds no tasks"),
        ("dict.json", "dict.json"),
        ("binary.lst", "neither an image of a known suffix nor a text"),
    ],
)
def test_what_is_no_source_is_refused(images: Path, given: str, words: str) -> None:
    (images / "empty").mkdir()
    (images / "empty.json").write_text("[]")
    (images / "dict.json").write_text("{}")
    (images / "binary.lst").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PrelabelError, match=words):
        items(images / given)


def test_files_that_label_studio_could_not_show_are_refused(images: Path) -> None:
    with pytest.raises(PrelabelError, match=r"--image-prefix.*or --root"):
        items(images)
    with pytest.raises(PrelabelError, match=r"not below .*deep"):
        items(images, root=images / "deep")


def test_a_tiff_is_pointed_out(images: Path, caplog: pytest.LogCaptureFixture) -> None:
    (images / "scene.tif").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        items(images, prefix="p/")
    assert "dgl-rsis tile" in caplog.text


def test_workers_get_a_path_below_their_root_or_else_the_bytes(images: Path) -> None:
    (item,) = items(images / "b.png", prefix="p/")
    here = Requests(CONFIG, "v1", images.resolve(), 100).of(item)
    assert here.image == "/data/local-files/?d=b.png"
    assert here.task_id == "p/b.png"
    assert [label.name for label in here.labels] == ["ship", "water"]
    assert Requests(CONFIG, "v1", None, 100).of(item).image == "data:;base64,Yi5wbmc="
    elsewhere = Requests(CONFIG, "v1", (images / "deep").resolve(), 100).of(item)
    assert elsewhere.image.startswith("data:")
    with pytest.raises(ItemError, match="5 bytes, more than MAX_IMAGE_BYTES"):
        Requests(CONFIG, "v1", None, 4).of(item)
    (images / "b.png").unlink()
    with pytest.raises(ItemError, match="cannot be read: No such file"):
        Requests(CONFIG, "v1", None, 100).of(item)


def test_a_list_that_tile_wrote_needs_no_root(images: Path) -> None:
    references_ = [
        "/data/local-files/?d=all%20images/b.png",
        "/data/local-files/?d=other/b.png",
        "/data/local-files/?d=all%20images/none.png",
        "/data/local-files/?d=",
    ]
    (images / "import.json").write_text(json.dumps([{"image": each} for each in references_]))
    listed = items(images / "import.json")
    assert [item.file for item in listed] == [images / "b.png", None, None, None]
    assert references(listed[:1]) == references(
        [PrelabelItem("", {"data": {"image": references_[0]}})]
    )


@pytest.mark.parametrize("name", ["../secret.png", "deep/../../secret.png", "x" * 300, "a\0b"])
def test_tasks_lead_to_no_file_outside_of_the_folder(images: Path, name: str) -> None:
    (images.parent / "secret.png").write_bytes(b"secret")
    (images / "tasks.json").write_text(json.dumps([{"image": name}]))
    (item,) = items(images / "tasks.json")
    assert item.file is None


def test_a_prefix_needs_no_slash(images: Path) -> None:
    for prefix in ("https://host/x", "https://host/x/"):
        assert references(items(images / "b.png", prefix=prefix)) == ["https://host/x/b.png"]
    assert references(items(images / "b.png", prefix="/f?d=")) == ["/f?d=b.png"]


def test_a_file_whose_name_is_no_text_is_a_problem_of_its_own(images: Path) -> None:
    (images / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    listed = items(images, prefix="p/")
    assert len(listed) == 4
    (odd,) = (item for item in listed if item.problem)
    assert "not in UTF-8" in odd.problem
    json.dumps([odd.name, odd.task], ensure_ascii=False).encode()


def test_metres_of_the_command_are_for_tasks_that_say_none(images: Path) -> None:
    requests = Requests(CONFIG, "v1", None, 100, metres=0.3)
    plain, told = (
        PrelabelItem("a", {"data": {"image": "a.png", **data}}) for data in ({}, {"gsd": 2})
    )
    assert requests.of(plain).metres == 0.3
    assert requests.of(told).metres == 2
    assert Requests(CONFIG, "v1", None, 100).of(plain).metres is None


def test_bytes_of_a_tile_keep_its_address(images: Path) -> None:
    tile = images / "19" / "0" / "262144.png"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"tile")
    (item,) = items(tile, prefix="https://host/")
    carried = Requests(CONFIG, "v1", None, 100).of(item).image
    assert carried == "data:;tile=19-0-262144;base64,dGlsZQ=="
    assert tile_address(carried) == tile_address(tile.as_posix())
