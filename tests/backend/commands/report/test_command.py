import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from backend.commands.report import command
from backend.studio.client import StudioError
from backend.studio.project import StudioSource
from tests.backend.studio.exports import (
    DRAWN,
    H,
    W,
    annotation,
    box,
    brushed,
    prediction,
    task,
    written,
)
from tests.loading import MODELS, SCENES, loads_none_of


def dgl_rsis(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command."""
    app = typer.Typer()
    app.command()(command.report)
    result = CliRunner(env=environment).invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.output


def tasks() -> list[dict[str, Any]]:
    """Accepted; changed with something new; all taken away by the next version's annotator."""
    house = brushed(box(0, 0, 10, 10), "house", id="a")
    smaller = brushed(box(0, 0, 10, 5), "house", id="a", origin="prediction-changed")
    pond = brushed(box(20, 20, 30, 30), "pond", id="p")
    v1 = prediction(house, version="v1")
    v2 = prediction(house, identity=2, version="$v2$")
    return [
        task(1, annotation(house, parent_prediction=1), predictions=[v1]),
        task(2, annotation(smaller, pond, parent_prediction=1), predictions=[v1]),
        task(3, annotation(parent_prediction=2), predictions=[v2]),
        task(4, predictions=[v2]),
        task(5, annotation(pond)),
    ]


def test_an_export_becomes_a_table_numbers_and_pictures(tmp_path: Path) -> None:
    export = written(tmp_path / "export.json", *tasks())
    out, plots = tmp_path / "new" / "report.json", tmp_path / "plots"
    status, table, _ = dgl_rsis(str(export), "--json", str(out), "--plot", str(plots))
    assert status == 0
    first, _, second = table.split("\n\n")[0], *table.split("\n\n")[1:3]
    assert first == (
        "5 tasks, 4 annotations: 3 began with a pre-label, 1 without; "
        "1 pre-labelled tasks wait for somebody."
    )
    assert second.startswith("v1: 2 images, 1 accepted as they were (50 %)")
    rows = {line.split()[0]: line.split() for line in second.splitlines()[1:]}
    # class, images, mean IoU, total IoU, predicted, unchanged (%), changed, removed, added, px, px
    assert rows["house"][1:] == [
        "2", "0.750", "0.750", "2", "1", "(50", "%)", "1", "0", "0", "200", "150",
    ]  # fmt: skip
    assert rows["pond"][1:] == ["1", "0.000", "0.000", "0", "0", "(–)", "0", "0", "1", "0", "100"]
    numbers = json.loads(out.read_text("utf-8"))
    assert numbers["versions"]["v1"]["labels"]["house"]["accepted_share"] == 0.5
    assert numbers["versions"]["$v2$"]["total"]["removed"] == 1
    names = ["_v2_-iou.png", "_v2_-regions.png", "v1-iou.png", "v1-regions.png", "versions.png"]
    assert sorted(path.name for path in plots.iterdir()) == names
    for name in names:
        with Image.open(plots / name) as picture:
            assert picture.width > 600
            assert len(picture.convert("RGB").getcolors(2**20) or ()) > 10


def test_images_may_be_as_large_as_those_that_workers_take(tmp_path: Path) -> None:
    export = written(tmp_path / "export.json", task(1, annotation(brushed(box(0, 0, 9, 9), "a"))))
    status, _, _ = dgl_rsis(str(export), MAX_IMAGE_PIXELS=str(H * W - 1))
    assert status == 1
    status, _, _ = dgl_rsis(str(export), MAX_IMAGE_PIXELS=str(H * W))
    assert status == 0


def test_a_project_is_read_by_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = (
        '<View><Image name="i" value="$photo"/>'
        '<BrushLabels name="b" toName="i"><Label value="house"/></BrushLabels></View>'
    )
    given = [{**one, "data": {"photo": "/a.png"}} for one in tasks()]
    monkeypatch.setattr(StudioSource, "project", lambda self, number: {"label_config": xml})
    monkeypatch.setattr(StudioSource, "tasks_with_masks", lambda self, number: iter(given))
    studio = {"LABEL_STUDIO_URL": "http://127.0.0.1:1", "LABEL_STUDIO_API_KEY": "key"}
    status, table, _ = dgl_rsis("--project", "3", **studio)
    assert status == 0
    assert table.startswith("5 tasks, 4 annotations: 3 began")


def test_a_studio_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: StudioSource, number: int) -> None:
        raise StudioError("Label Studio cannot be reached", retry=True)

    monkeypatch.setattr(StudioSource, "project", away)
    studio = {"LABEL_STUDIO_URL": "http://127.0.0.1:1", "LABEL_STUDIO_API_KEY": "key"}
    status, _, output = dgl_rsis("--project", "3", **studio)
    assert status == 2
    assert "cannot be reached" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the JSON export of a project, or else --project"),
        (["x.json", "--project", "1"], "give the JSON export of a project, or else --project"),
        (["nowhere.json"], "nowhere.json"),
        (["--project", "1"], "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_way_out(arguments: list[str], words: str) -> None:
    empty = {"LABEL_STUDIO_URL": None, "LABEL_STUDIO_API_KEY": None}
    status, _, output = dgl_rsis(*arguments, **empty)  # type: ignore[arg-type]
    assert status == 2
    assert words in output
    assert "Traceback" not in output


def test_nothing_where_nothing_was_predicted_is_accepted(tmp_path: Path) -> None:
    """Not even the size of the image is known."""
    empty = task(1, annotation(parent_prediction=1), predictions=[prediction(version="v1")])
    status, table, _ = dgl_rsis(str(written(tmp_path / "export.json", empty)))
    assert status == 0
    assert "v1: 1 images, 1 accepted as they were (100 %)" in table


def test_an_export_without_pre_labels_says_so(tmp_path: Path) -> None:
    plain = task(1, annotation(brushed(box(0, 0, 5, 5), "house")))
    status, table, _ = dgl_rsis(str(written(tmp_path / "export.json", plain)))
    assert status == 0
    assert table == (
        "1 tasks, 1 annotations: 0 began with a pre-label, 1 without; "
        "0 pre-labelled tasks wait for somebody.\n"
    )


def test_pre_labels_of_which_the_file_has_only_the_number_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = brushed(box(0, 0, 10, 10), "house", id="a", origin="prediction")
    rows = [task(1, annotation(mask, parent_prediction=7), predictions=[7])]
    status, table, _ = dgl_rsis(str(written(tmp_path / "export.json", *rows)))
    assert status == 0
    assert "of 1 annotations the file has only the number of their pre-label" in caplog.text
    assert "1 tasks, 1 annotations: what 1 began with is not known; 0 pre-labelled" in table


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "from backend.commands import config\nfrom backend.commands.report import command\n"
    code += loads_none_of(*MODELS, *SCENES, algorithm=True)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_could_not_be_used_is_told_by_the_exit_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="i" value="$photo"/>'
        '<BrushLabels name="b" toName="i"><Label value="house"/></BrushLabels></View>'
    )
    rows = [{**one, "data": {"photo": "/a.png"}} for one in tasks()]
    export = str(written(tmp_path / "export.json", *rows))
    assert dgl_rsis(export, "--config", str(config))[0] == 0
    status, table, _ = dgl_rsis(export)
    assert status == 1
    assert table.startswith("0 tasks")
    assert "5 could not be used" in caplog.text


@pytest.mark.parametrize("name", DRAWN)
def test_a_region_is_the_same_however_it_is_stored(tmp_path: Path, name: str) -> None:
    drawn, mask = DRAWN[name]
    marked = annotation(drawn, parent_prediction=1)
    predicted = prediction(brushed(mask, "ship"), version="v1")
    export = written(tmp_path / "export.json", task(1, marked, predictions=[predicted]))
    out = tmp_path / "report.json"
    assert dgl_rsis(str(export), "--json", str(out))[0] == 0
    total = json.loads(out.read_text("utf-8"))["versions"]["v1"]["total"]
    assert (total["accepted"], total["shared_pixels"]) == (1, mask.sum())
