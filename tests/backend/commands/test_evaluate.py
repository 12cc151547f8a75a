"""`dgl-rsis evaluate` through its function, with a small untrained model."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands import evaluate, progress
from backend.commands.evaluate import EvaluationRun
from backend.commands.folders import FolderError
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation import ladders
from tests.loading import loads_none_of
from workers.settings import WorkerSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plain folder with one image of two fields."""
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 48), np.uint8)
    truth[:, 20:] = 1
    pixels = 90 * truth[:, :, None] + rng.integers(0, 40, (40, 48, 3), dtype=np.uint8)
    for name, picture in (("images", pixels), ("labels", truth)):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "set" / name / "a.png")
    (tmp_path / "set" / "classes.txt").write_text("building\nroad\n", "utf-8")
    return tmp_path / "set"


def test_tables_numbers_and_pictures(
    folder: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, plots = tmp_path / "out" / "numbers.json", tmp_path / "plots"
    run = EvaluationRun(
        "ovss",
        f"folder:{folder}",
        json=numbers,
        plot=plots,
        settings=WorkerSettings(model=str(model_folder)),
    )
    assert evaluate.run(run) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("folder: 1 images, dgl-rsis-")
    assert "+ mask-guided feature" in printed
    assert json.loads(numbers.read_text("utf-8"))["images"] == 1
    assert {path.name for path in plots.iterdir()} == {
        "ladder.png", "classes.png", "confusion.png", "worst-1-a.png",
    }  # fmt: skip


def test_proposals_of_a_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.run(EvaluationRun("proposals", f"folder:{folder}", thing="road")) == 0
    assert capsys.readouterr().out.startswith("folder, road\n\n1 objects of 100 pixels")


def test_clicks_on_objects_of_a_class(folder: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    run = EvaluationRun("clicks", f"folder:{folder}", thing="road", json=numbers)
    assert evaluate.run(run) == 0
    report = json.loads(numbers.read_text("utf-8"))
    assert report["task"] == "clicks"
    assert report["objects"] == 1


def test_other_labels_than_the_classes_of_a_data_set(
    folder: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = WorkerSettings(model=str(model_folder))
    run = EvaluationRun("ovss", f"folder:{folder}", labels="house, street,water", settings=settings)
    assert evaluate.run(run) == 0
    table = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert [line.split()[0] for line in table[1:]] == ["building", "road", "mean"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("ovss", "Banepa (drone, zoom 19) validation: 1 images"),
        ("objects", "Sentinel-2 ports all: 1 images, boxes at IoU 0.3"),
        ("presence", "UC Merced validation: 1 images, present from 12 pixels"),
    ],
)
def test_partial_truth(
    task: evaluate.Task,
    words: str,
    tmp_path: Path,
    model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    mask = np.ones((40, 48), np.uint8)
    for file, picture in (("images/banepa_05.jpg", pixels), ("masks/banepa_05.png", mask)):
        (tmp_path / file).parent.mkdir()
        Image.fromarray(picture).save(tmp_path / file)
    (tmp_path / "tags.csv").write_text("name,tags\nbanepa_05.jpg,cars\n", "utf-8")
    (tmp_path / "boxes.json").write_text('{"banepa_05": [[1, 1, 9, 9, "ship"]]}', "utf-8")
    name = {"ovss": "oam_banepa_z19", "objects": "sen2ships", "presence": "ucmerced"}[task]
    settings = WorkerSettings(model=str(model_folder))
    assert evaluate.run(EvaluationRun(task, f"{name}:{tmp_path}", settings=settings)) == 0
    assert capsys.readouterr().out.startswith(words)


def test_a_run_into_a_file_says_how_far_it_is(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(progress.Lines):
        def __exit__(self, *error: object) -> None:
            time.sleep(0.2)  # else it may be over before its first line
            super().__exit__(*error)

    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "Lines", Slow)
    caplog.set_level("INFO", "backend.commands.progress")
    assert evaluate.run(EvaluationRun("proposals", f"folder:{folder}", thing="road")) == 0
    assert re.fullmatch(
        r"folder, road: 1 done, [\d.]+/s, the last one a", caplog.records[-1].message
    )


def test_the_model_of_a_ladder_is_loaded_once(
    folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(model: str, device: str) -> ClipModel:
        loaded.append(model)
        return load_clip(model, device)

    monkeypatch.setattr(ladders, "load_clip", load)
    settings = WorkerSettings(model=str(model_folder))
    assert evaluate.run(EvaluationRun("ovss", f"folder:{folder}", settings=settings)) == 0
    assert len(loaded) == 1


@pytest.mark.parametrize("option", ["json", "plot"])
def test_places_of_results_are_looked_at_before_the_data(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = {option: tmp_path / "file" / "out" / "numbers.json"}
    with pytest.raises(FolderError, match="a file is in its place"):
        evaluate.run(EvaluationRun("ovss", "folder:gone", **place))


def test_the_parser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"sentence": "The dam", "category": "dam"}\n', "utf-8")
    assert evaluate.run(EvaluationRun("parser", f"expressions:{rows}")) == 0
    assert "1.0000" in capsys.readouterr().out


def test_generated_scenes_come_from_their_own_package(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate.run(EvaluationRun("parser", "scenes", split="1")) == 0
    assert capsys.readouterr().out.startswith("expressions of 1 generated scenes")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (EvaluationRun("ovss", "dubai"), "Give the data set as dubai:FOLDER"),
        (EvaluationRun("ovss", "dubai:/nowhere"), "/nowhere does not exist"),
        (EvaluationRun("res", "dubai:."), "no data set of expressions with masks"),
        (EvaluationRun("ovss", "scenes", split="test"), "is no number of scenes"),
        (EvaluationRun("absent", "absent:."), "no image .*dubai"),
        (EvaluationRun("claims", "absent:."), "no data set of large images is called"),
    ],
)
def test_what_cannot_be_is_an_error_of_the_algorithm(run: EvaluationRun, words: str) -> None:
    """Its package tells the command that the message is fit for users."""
    with pytest.raises(ValueError, match=words) as raised:
        evaluate.run(run)
    assert type(raised.value).__module__.split(".")[0] == "dgl_rsis"


def test_the_command_loads_no_torch_by_itself() -> None:
    code = "import backend.commands.evaluate\n" + loads_none_of("torch", "starter", "matplotlib")
    subprocess.run([sys.executable, "-c", code], check=True)
