"""Lists and folders as people have them: nothing in them is passed over without a word."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands.journal import JournalError
from backend.commands.labels import read_config
from backend.commands.lists import ListError, json_lines, read_list
from backend.commands.prelabel.sources import Shown, read_sources
from backend.commands.segment import scenes
from backend.commands.segment.inputs import InputsError, expand
from backend.commands.segment.scene_work import SceneOptions
from backend.project.pictures import Pictures
from workers.settings import WorkerSettings

PATHS = ["imgs/a.jpg", "imgs/ü b.JPG"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("", "{}"),
        ("", '"{}"'),
        ("image", "{}"),
        ("id,Image,label", '1,"{}",x'),
        ("Filename;size", "{};12"),
        ("url\tdate", "{}\t2020"),
        ("", '{{"image": "{}"}}'),
        ("", '{{"data": {{"image": "{}"}}, "id": 7}}'),
        ("", '{{"file_name": "{}"}}'),
        ("# mine", "{}"),
    ],
)
def test_a_list_is_read_however_it_was_saved(
    tmp_path: Path, encoding: str, end: str, header: str, line: str
) -> None:
    lines = [header, *(line.format(path) for path in PATHS), ""]
    (tmp_path / "list.txt").write_bytes(end.join(lines).encode(encoding))
    assert read_list(tmp_path / "list.txt") == PATHS


def test_the_key_of_the_config_goes_before_other_names(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,sat\npreview.jpg,a.tif\n")
    assert read_list(tmp_path / "list.csv", "sat") == ["a.tif"]


def test_a_list_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"name": "a.jpg", "size": 3}\n')
    with pytest.raises(ListError, match=r"has 'name', 'size'; call the column or field 'image'"):
        read_list(tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg"}\nb.jpg\n')
    with pytest.raises(ListError, match=r"'b\.jpg' is no JSON object"):
        json_lines(tmp_path / "list.jsonl")
    (tmp_path / "list.txt").write_bytes(b"\x89PNG\0\xff")
    with pytest.raises(ListError, match="neither an image of a known suffix nor a text"):
        read_list(tmp_path / "list.txt")


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_list_of_notepad_names_files_that_are_there(tmp_path: Path) -> None:
    files = [draw(tmp_path / "imgs" / name) for name in ("a.jpg", "b.png")]
    text = "\ufeffimgs/a.jpg\r\nimgs\\b.png\r\n"
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert expand([tmp_path / "list.txt"], tmp_path / "out").files == tuple(files)
    source = read_sources([str(tmp_path / "list.txt")], Shown("https://host/"), Pictures("image"))
    assert [item.file for item in source.items()] == files


def test_json_lines_are_tasks_of_prelabel(tmp_path: Path) -> None:
    rows = [{"id": 3, "data": {"image": "https://host/a.jpg", "metres_per_pixel": 0.3}}]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read_sources(
        [str(tmp_path / "tasks.jsonl")], Shown("https://host/"), Pictures("image")
    )
    assert [item.task for item in source.items()] == rows
    assert source.total == 1


def test_files_of_macos_and_what_is_no_image_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = draw(tmp_path / "deep" / "a.jpg")
    (tmp_path / "deep" / "._a.jpg").write_bytes(b"\0\5\x16\7")
    for name in ("notes.txt", "a.jgw", "a.jpg.aux.xml"):
        (tmp_path / "deep" / name).write_text("")
    draw(tmp_path / "out" / "b.png")
    with caplog.at_level(logging.INFO):
        assert expand([tmp_path], tmp_path / "out").files == (image,)
    assert "macOS keeps beside others (._…) are passed over: 1" in caplog.text
    assert "passed over: 1 of .txt" in caplog.text
    source = read_sources([str(tmp_path / "deep")], Shown("https://host/"), Pictures("image"))
    assert [item.file for item in source.items()] == [image]
    assert expand([tmp_path / "deep"], tmp_path).files == (image,)
    with pytest.raises(InputsError, match="results would lie among the images"):
        expand([tmp_path], tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputsError, match="no images in"):
        expand([tmp_path / "none"], tmp_path / "out")


def test_a_raster_that_no_browser_shows_is_a_problem_of_its_own(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    (tmp_path / "b.jp2").write_bytes(b"")
    for given in (tmp_path, tmp_path / "b.jp2"):
        *_, item = read_sources([str(given)], Shown("https://host/"), Pictures("image")).items()
        assert "no browser shows .jp2: cut it with `dgl-rsis tile`" in item.problem


def test_a_folder_is_segmented_once_however_often_it_is_asked_for(
    model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    draw(folder / "a.jpg")
    (folder / "bad.png").write_text("no image")
    config = read_config("ship,water", None)

    def run() -> int:
        caplog.clear()
        settings = WorkerSettings(model=str(model_folder))
        return scenes.segment_classes(expand([folder], out), config, out, SceneOptions(), settings)

    with caplog.at_level(logging.INFO):
        assert run() == 1  # of the bad one
        (out / "a.overlay.png").unlink()
        draw(folder / "bad.png")
        draw(folder / "deep" / "a.jpg")
        assert run() == 0
    assert "1 of 3 were done before" in caplog.text
    with pytest.raises(JournalError, match=r"labels: .* there, .* now.*give another --out"):
        scenes.segment_classes(
            expand([folder], out), read_config("ship", None), out, SceneOptions(),
            WorkerSettings(model=str(model_folder)),
        )  # fmt: skip
    assert sorted(path.name for path in out.glob("*.overlay.png")) == [
        "bad.overlay.png", "deep_a.jpg.overlay.png",
    ]  # fmt: skip
