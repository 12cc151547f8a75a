"""`dgl-rsis segment` with a small untrained model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from typer.testing import CliRunner

from backend.commands.main import app
from dgl_rsis.clip.model import ClipModel, load_clip
from tests.backend.commands.command_line import dgl_rsis
from tests.small_scene import picture, write_scene

# Enough words that an untrained model finds something of them.
WORDS = ["ship", "car", "tree", "field", "water", "pool", "tank", "bridge", "zone d'activité"]
LABELS = "".join(f'<Label value="{word}"/>' for word in WORDS)
POLYGONS = (
    '<View><Image name="photo" value="$photo"/><PolygonLabels name="outline" toName="photo">'
    f"{LABELS}</PolygonLabels></View>"
)


def draw(path: Path) -> Path:
    """A picture that a browser shows upright: 36 × 48 pixels."""
    pixels = np.random.default_rng(1).integers(0, 60, (36, 48, 3), dtype=np.uint8)
    pixels[18:, 24:] += np.uint8(120)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_a_bad_image_is_reported_and_the_others_go_on(model_folder: Path, tmp_path: Path) -> None:
    good, last = draw(tmp_path / "good.png"), draw(tmp_path / "last one.jpg")
    text, missing = tmp_path / "text.png", tmp_path / "missing.png"
    text.write_text("no image")
    out = tmp_path / "new" / "out"
    command = [sys.executable, "-m", "backend.commands.main", "segment"]
    command += [*map(str, (text, good, missing, last)), "--labels", " , ".join(WORDS) + ","]
    command += ["--out", str(out), "--model", str(model_folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert ran.returncode == 1, ran.stderr
    lines = ran.stderr.splitlines()
    assert sum(line.startswith(f"{text}: not an image of a known format") for line in lines) == 1
    assert f"{missing}: cannot be read: No such file or directory" in lines
    assert "Traceback" not in ran.stderr
    assert {path.name for path in out.iterdir()} == {
        f"{stem}.{end}"
        for stem in ("good", "last one")
        for end in ("classes.png", "json", "overlay.png")
    }
    for stem in ("good", "last one"):
        with Image.open(out / f"{stem}.classes.png") as classes:
            assert (classes.mode, classes.size) == ("L", (36, 48))
            values = set(np.unique(np.asarray(classes)).tolist())
        with Image.open(out / f"{stem}.overlay.png") as overlay:
            assert overlay.width > 36
        prediction = json.loads((out / f"{stem}.json").read_text("utf-8"))
        assert prediction["resolution"] is None
        regions = prediction["result"]
        assert regions
        assert [WORDS.index(r["value"]["brushlabels"][0]) + 1 for r in regions] == sorted(
            values - {0}
        )
        assert {(r["original_width"], r["original_height"]) for r in regions} == {(36, 48)}


def test_a_label_config_gives_vocabulary_and_form(model_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_text(POLYGONS, "utf-8")
    image = draw(tmp_path / "a.png")
    arguments = ("segment", str(image), "--config", str(config), "--out", str(tmp_path / "out"))
    arguments += ("--metres-per-pixel", "30 cm")
    status, output = dgl_rsis(*arguments, MODEL=str(model_folder))
    assert status == 0, output
    prediction = json.loads((tmp_path / "out" / "a.json").read_text("utf-8"))
    assert prediction["resolution"] == {"metres_per_pixel": 0.3, "source": "setting"}
    assert {region["type"] for region in prediction["result"]} == {"polygonlabels"}
    assert LabelInterface(POLYGONS).validate_prediction(prediction, return_errors=True) == []
    assert prediction["model_version"].startswith("dgl-rsis-")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no labels: give some"),
        (("--labels", " , "), "no labels: give some"),
        (("--labels", "road,water, road"), "labels given twice: road"),
        (("--labels", ",".join(map(str, range(256)))), "256 labels: a class map holds at most 255"),
        (("--labels", "background"), "never painted; add what to look for"),
        (("--labels", "road", "--config", "no.xml"), "--labels or --config, not both"),
        (("--config", "no.xml"), "no.xml cannot be read: No such file"),
        (("--config", __file__), "not well-formed XML"),
        (("--config", sys.executable), "is no text in UTF-8"),
        (("--labels", "road", "--model", "no model"), "no model 'no model'"),
        (("--labels", "road", "--device", "tpu"), "write cpu, cuda or"),
        (("--labels", "road", "--out", __file__), "a file is in its place"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_the_way_out(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    image, out = draw(tmp_path / "a.png"), tmp_path / "out"
    status, output = dgl_rsis("segment", str(image), "--out", str(out), *arguments)
    assert status == 2
    assert words in output
    assert "Traceback" not in output
    assert not out.exists() or not any(out.iterdir())


def test_images_of_one_name_have_results_of_two(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    images = [str(draw(tmp_path / "a.png")), str(draw(tmp_path / "b" / "a.png"))]
    arguments = ("--labels", "road", "--out", str(tmp_path / "out"), "--model", str(model_folder))
    status, output = dgl_rsis("segment", *images, *arguments)
    assert status == 0, output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "a.png.json", "b_a.png.json",
    ]  # fmt: skip


def test_an_expression_finds_candidates_and_explains_them(
    model_folder: Path, tmp_path: Path
) -> None:
    status, output = dgl_rsis(
        *("segment", str(draw(tmp_path / "photo.png")), "--expression", "the ships on the right"),
        *(
            "--top-k",
            "2",
            "--explain",
            "--out",
            str(tmp_path / "out"),
            "--model",
            str(model_folder),
        ),
    )
    assert status == 0, output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"photo.mask.png", "photo.json", "photo.overlay.png"} <= names
    report = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert report["expression"]["noun"] == "ship"
    with Image.open(tmp_path / "out" / "photo.mask.png") as mask:
        assert (mask.mode, mask.size) == ("L", (36, 48))
        pixels = np.asarray(mask)
    assert set(np.unique(pixels)) <= {0, 255}
    candidates = report["candidates"]
    assert len(candidates) <= 2
    if candidates:
        assert {"photo.cam-local.png", "photo.cam-global.png", "photo.cam-fused.png"} <= names
        assert (pixels > 0).sum() == candidates[0]["area"] == sum(candidates[0]["runs"][1::2])
        assert [c["rank"] for c in candidates] == list(range(1, len(candidates) + 1))
        assert {"class", "geometry", "cam"} <= candidates[0]["parts"].keys()
    else:
        assert report["reason"]


def test_an_expression_needs_no_labels(tmp_path: Path) -> None:
    status, output = dgl_rsis(
        *(
            "segment",
            "a.png",
            "--expression",
            "the ship",
            "--labels",
            "ship",
            "--out",
            str(tmp_path),
        )
    )
    assert status == 2
    assert "give --expression alone" in output


def test_right_angles_are_of_polygons(tmp_path: Path) -> None:
    asked = ("segment", "a.tif", "--labels", "house", "--regularize", "--out", str(tmp_path))
    status, output = dgl_rsis(*asked)
    assert status == 2
    assert "--regularize goes with --polygons" in output


def test_parse_answers_each_line_with_one_of_json() -> None:
    lines = "The small white tank left of the road\n\ntwo ships\n"
    result = CliRunner().invoke(app, ["parse"], input=lines)
    assert result.exit_code == 0
    first, empty, last = map(json.loads, result.stdout.splitlines())
    assert (first["noun"], [m["kind"] for m in first["modifiers"]]) == (
        "tank",
        ["size", "attribute", "relation"],
    )
    assert [anchor["noun"] for anchor in first["anchors"]] == ["road"]
    assert empty["reason"]
    assert (last["noun"], last["text"]) == ("ship", "two ships")


def test_photos_and_scenes_are_segmented_by_one_loaded_model(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(model: str, *how: Any) -> ClipModel:
        loaded.append(model)
        return load_clip(model, *how)

    monkeypatch.setattr("workers.engine.loading.load_clip", load)
    draw(tmp_path / "photo.png")
    write_scene(tmp_path / "scene.tif", picture(40, 50))
    words = ("segment", str(tmp_path), "--labels", ",".join(WORDS), "--out", str(tmp_path / "out"))
    status, output = dgl_rsis(*words, MODEL=str(model_folder))
    assert status == 0, output
    assert len(loaded) == 1
    assert {"photo.classes.png", "scene.classes.tif"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize("asked", [("--labels", "road"), ("--expression", "the road")])
@pytest.mark.parametrize(
    ("image", "out", "status", "words"),
    [
        ("missing.png", "out", 1, "missing.png: cannot be read: No such file or directory"),
        ("photo.png", "photo.png", 2, "photo.png cannot be a folder of results, a file is in"),
        ("photo.png", "photo.png/out", 2, "out cannot be a folder of results, a file is in"),
    ],
)
def test_paths_are_looked_at_before_a_model_is_loaded(
    image: str, out: str, status: int, words: str, asked: tuple[str, str], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    draw(tmp_path / "photo.png")
    given = ("segment", str(tmp_path / image), *asked, "--out", str(tmp_path / out))
    ended, output = dgl_rsis(*given, MODEL="no such model")
    assert ended == status
    said = output + caplog.text
    assert words in said
    assert "no such model" not in said
