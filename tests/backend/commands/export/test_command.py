import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.commands.export import run
from backend.commands.export.command import export
from backend.studio import project
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.rasters import read_rgb
from dgl_rsis.types import Json
from tests.backend.studio.exports import (
    H,
    W,
    annotation,
    box,
    brushed,
    prediction,
    region,
    task,
    written,
)
from tests.backend.studio.fake_project import fake_project
from tests.backend.studio.fake_studio import LEGACY_TOKEN
from tests.small_raster import NOWHERE, raster

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

APP = typer.Typer()
APP.command()(export)


def pictures(folder: Path, *numbers: int) -> Path:
    (folder / "tiles").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.full((H, W, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"tiles/{number:03}.png")
    return folder


def called(*arguments: object) -> Any:
    return CliRunner().invoke(APP, [str(each) for each in arguments])


def tiles(count: int, scenes: int) -> list[Json]:
    """Neighbours of some scenes."""
    return [
        task(
            i, annotation(brushed(box(i % 20, 3, i % 20 + 9, 20), "road")),
            scene=f"scene-{i % scenes}.tif", crs="", transform=None,
            window=[W * (i // scenes), 0, W, H], scene_size=[6000, H],
        )
        for i in range(count)
    ]  # fmt: skip


def test_images_may_be_as_large_as_those_that_workers_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "export.json", *tiles(1, scenes=1))
    arguments = (source, "--images", pictures(tmp_path, 0), "--out", tmp_path / "out")
    monkeypatch.setenv("MAX_IMAGE_PIXELS", str(H * W - 1))
    result = called(*arguments)
    assert result.exit_code == 2
    assert f"pixels are more than {H * W - 1:,}" in result.output
    monkeypatch.setenv("MAX_IMAGE_PIXELS", str(H * W))
    assert called(*arguments).exit_code == 0


def test_makes_every_set_of_one_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pictures(tmp_path, *range(30))
    source = written(tmp_path / "export.json", *tiles(30, scenes=10))
    out = tmp_path / "out"
    formats = [part for name in ("coco", "yolo", "semantic") for part in ("--format", name)]
    result = called(source, "--images", images, "--out", out, *formats)
    assert result.exit_code == 0, result.output
    numbers = json.loads((out / "statistics.json").read_text())
    scenes = {name: set(each["scenes"]) for name, each in numbers["splits"].items()}
    assert {name: len(each) for name, each in scenes.items()} == {"train": 8, "val": 1, "test": 1}
    assert len(set.union(*scenes.values())) == 10
    train = COCO(str(out / "coco/annotations/instances_train.json"))
    capsys.readouterr()
    for row in train.loadAnns(train.getAnnIds()):
        (image,) = train.loadImgs(row["image_id"])
        number = image["task_id"]
        assert (train.annToMask(row) == box(number % 20, 3, number % 20 + 9, 20)).all()
    for split in ("train", "val", "test"):
        by_name = {each.name: each for each in samples.plain(out / "semantic" / split)}
        assert len(by_name) == numbers["splits"][split]["images"]
        for name, sample in by_name.items():
            number = int(name)
            assert (sample.image == number).all()
            assert (sample.truth == box(number % 20, 3, number % 20 + 9, 20)).all()
        assert len(list((out / "yolo/labels" / split).iterdir())) == len(by_name)
    assert yaml.safe_load((out / "yolo/data.yaml").read_text())["names"] == {0: "road"}
    assert numbers["splits"]["val"]["labels"]["road"] == {
        "regions": 3, "objects": 3, "pixels": 3 * 9 * 17, "images": 3
    }  # fmt: skip
    card = (out / "README.md").read_text()
    assert "30 images with masks of 1 labels" in card
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "coco", "semantic", "statistics.json", "yolo"
    ]  # fmt: skip


def test_what_is_wrong_is_listed_and_the_rest_is_written(tmp_path: Path) -> None:
    images = pictures(tmp_path, 1, 2, 3, 4, 6)
    Image.new("RGB", (9, 9)).save(tmp_path / "tiles/005.png")
    mask = brushed(box(1, 1, 9, 9), "road")
    corners = region("polygonlabels", ["road"], {"points": [[1, 1], [2, 2]]})
    source = written(
        tmp_path / "export.json",
        task(1, annotation(mask)),
        task(2, annotation(mask, brushed(box(1, 1, 9, 9), "tram"))),
        task(3, annotation(mask, corners)),
        task(4, annotation()),
        task(5, annotation(mask)),
        task(6),
        task(7, annotation(mask)),
        task(8, annotation(mask, was_cancelled=True)),
    )
    out = tmp_path / "out"
    result = called(source, "--images", images, "--out", out, "--labels", "road,water",
                    "--split", "1,0")  # fmt: skip
    assert result.exit_code == 1, result.output
    numbers = json.loads((out / "statistics.json").read_text())
    assert [each.partition(":")[0] for each in numbers["problems"]] == [
        "task 2, annotation 1, region r1", "task 3, annotation 1, region r1", "task 5", "task 7"
    ]  # fmt: skip
    assert "'tram'" in numbers["problems"][0]
    assert "9 × 9 pixels" in numbers["problems"][2]
    assert "not in" in numbers["problems"][3]
    assert numbers["left_out"] == ["task 8: nobody has marked it"]
    assert numbers["skipped"] == {"tasks without any mark": 1, "cancelled annotations": 1}
    assert numbers["splits"]["train"]["images"] == 4
    assert numbers["splits"]["train"]["empty"] == 1
    assert list(numbers["labels"]) == ["road", "water"]
    written_ = json.loads((out / "coco/annotations/instances_train.json").read_text())
    assert [each["file_name"] for each in written_["images"]] == [f"00{i}.png" for i in range(1, 5)]


def test_two_annotators(tmp_path: Path) -> None:
    images = pictures(tmp_path, 1, 2)
    ann = brushed(box(0, 0, 10, 10), "road")
    ben = brushed(box(0, 0, 10, 20), "road")
    agreed = task(1, annotation(ann, identity=1, by=1), annotation(ann, identity=2, by=2))
    argued = task(2, annotation(ann, identity=3, by=1), annotation(ben, identity=4, by=2))
    source = written(tmp_path / "export.json", agreed, argued)

    def pixels(name: str, *options: object) -> dict[str, Any]:
        out = tmp_path / name
        arguments = ("--images", images, "--out", out, "--split", "1,0", *options)
        result = called(source, *arguments)
        assert result.exit_code == 0, result.output
        numbers: dict[str, Any] = json.loads((out / "statistics.json").read_text())
        return numbers | {"pixels": numbers["splits"]["train"]["labels"]["road"]["pixels"]}

    assert pixels("newest")["pixels"] == 100 + 200
    assert pixels("one", "--annotator", "1")["pixels"] == 100 + 100
    assert pixels("consensus", "--consensus")["pixels"] == 100 + 100
    numbers = pixels("agreed", "--min-agreement", "0.7")
    assert numbers["pixels"] == 100
    assert numbers["left_out"] == ["task 2: 2 people agree by 0.50, less than 0.70"]
    assert numbers["agreement"] == {"images": 1, "mean": 1.0}


def test_pre_labels_count_when_asked_for(tmp_path: Path) -> None:
    images = pictures(tmp_path, 1, 2)
    mask = brushed(box(1, 1, 9, 9), "road", score=0.4)
    started = task(1, annotation(mask, parent_prediction=1), predictions=[prediction(mask)])
    only = task(2, predictions=[prediction(mask, version="dgl-2")])
    source = written(tmp_path / "export.json", started, only)
    plain, with_them, strict = (tmp_path / name for name in ("a", "b", "c"))
    rest = ("--images", images, "--split", "1,0")
    assert called(source, "--out", plain, *rest).exit_code == 0
    assert called(source, "--out", with_them, "--prelabels", *rest).exit_code == 0
    assert (
        called(source, "--out", strict, "--prelabels", "--min-score", "0.6", *rest).exit_code == 0
    )
    versions = [
        json.loads((out / "statistics.json").read_text())["model_versions"]
        for out in (plain, with_them, strict)
    ]
    assert versions == [{"dgl-1": 1}, {"dgl-1": 1, "dgl-2": 1}, {"dgl-1": 1}]


def test_images_may_be_in_the_tasks(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (W, H), "red").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    source = written(
        tmp_path / "export.json",
        task(1, annotation(brushed(box(1, 1, 9, 9), "road")), image=url),
        task(2, annotation(), image=url),
    )
    out = tmp_path / "out"
    result = called(source, "--out", out, "--format", "semantic", "--split", "1,0")
    assert result.exit_code == 0, result.output
    first, second = samples.plain(out / "semantic/train")
    assert (first.name, second.name) == ("task-1", "task-2")
    assert (first.image == (255, 0, 0)).all()
    assert not second.truth.any()


def test_images_may_be_tiffs_of_any_depth_and_bands(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 4096, (6, H, W), dtype=np.uint16)
    raster(folder / "twelve.tif", values[:4], **NOWHERE, nbits=12)
    raster(folder / "sixteen.tif", values, **NOWHERE)
    names = ("twelve.tif", "sixteen.tif")
    source = written(
        tmp_path / "export.json",
        *(task(i, annotation(brushed(box(1, 1, 9, 9), "road")), image=name)
          for i, name in enumerate(names)),
    )  # fmt: skip
    out = tmp_path / "out"
    result = called(source, "--images", folder, "--out", out, "--format", "semantic",
                    "--split", "1,0")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = {sample.name: sample for sample in samples.plain(out / "semantic/train")}
    assert found.keys() == {"twelve", "sixteen"}
    for name in names:
        stored = (folder / name).read_bytes()
        assert (found[Path(name).stem].image == read_rgb(stored)).all()
        (copy,) = out.rglob(name)
        assert copy.read_bytes() == stored


def test_a_label_config_gives_order_colours_and_background(tmp_path: Path) -> None:
    images = pictures(tmp_path, 1)
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
        '<Label value="water" background="blue"/><Label value="road" background="#112233"/>'
        '<Label value="background"/></BrushLabels></View>'
    )
    marked = annotation(brushed(box(1, 1, 9, 9), "road"), brushed(box(9, 9, 20, 20), "background"))
    source = written(tmp_path / "export.json", task(1, marked))
    out = tmp_path / "out"
    result = called(source, "--out", out, "--images", images, "--config", config,
                    "--format", "semantic")  # fmt: skip
    assert result.exit_code == 0, result.output
    labels = json.loads((out / "statistics.json").read_text())["labels"]
    assert list(labels.items()) == [("water", "#0000ff"), ("road", "#112233")]
    assert samples.plain_classes(out / "semantic/train") == ("background", "water", "road")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "nobody has marked"),
        (["--project", "1"], "either a JSON export"),
        (["--consensus", "--annotator", "x"], "not both"),
        (["--split", "0.5,0.1"], "1 together"),
        (["--scene-pattern", "("], "no regular expression"),
        (["--labels", "a,a"], "given twice"),
        (["--labels", "a", "--config", "x.xml"], "not both"),
        (["--config", "nowhere.xml"], "cannot be read"),
        (["--min-score", "0.5"], "goes with --prelabels"),
        (["--regularize"], "goes with --format geopackage"),
        (["--format", "yolo", "--polygons"], "go with --format coco"),
    ],
)
def test_refuses_with_a_reason(tmp_path: Path, options: list[str], why: str) -> None:
    empty = task(1, scene="a", window=[0, 0, W, H], scene_size=[W, H], crs="", transform=None)
    source = written(tmp_path / "export.json", empty)
    result = called(source, "--out", tmp_path / "out", *options)
    assert result.exit_code not in (0, 1), result.output
    assert why in " ".join(result.output.split())


def test_does_not_write_into_another_set(tmp_path: Path) -> None:
    (tmp_path / "out/coco").mkdir(parents=True)
    (tmp_path / "out/coco/old.json").touch()
    source = written(tmp_path / "export.json", *tiles(1, 1))
    result = called(source, "--out", tmp_path / "out", "--images", pictures(tmp_path, 0))
    assert "not empty" in " ".join(result.output.split())


CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="water"/><Label value="road"/></BrushLabels></View>'
)


def test_reads_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(tmp_path, *range(7))
    monkeypatch.setattr(project, "PAGE", 3)
    with fake_project(tiles(7, scenes=2)[1:], CONFIG) as url:
        monkeypatch.setenv("LABEL_STUDIO_URL", url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
        rest = ("--images", images, "--split", "1,0")
        result = called("--project", 1, "--out", tmp_path / "out", *rest)
        assert result.exit_code == 0, result.output
        wrong = called("--project", 2, "--out", tmp_path / "other", *rest)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "wrong")
        refused = called("--project", 1, "--out", tmp_path / "other", *rest)
    numbers = json.loads((tmp_path / "out/statistics.json").read_text())
    assert numbers["splits"]["train"]["images"] == 6
    assert list(numbers["labels"]) == ["water", "road"]
    assert numbers["splits"]["train"]["labels"]["road"]["regions"] == 6
    assert "404" in wrong.output
    assert "401" in refused.output
    monkeypatch.delenv("LABEL_STUDIO_URL")
    assert "LABEL_STUDIO_URL" in called("--project", 1, "--out", tmp_path / "other", *rest).output


def test_a_format_that_cannot_hold_the_set_does_not_stop_the_others(tmp_path: Path) -> None:
    images = pictures(tmp_path, *range(2))
    source = written(tmp_path / "export.json", *tiles(2, scenes=2))
    out = tmp_path / "out"
    arguments = (source, "--images", images, "--out", out)
    result = called(*arguments, "--format", "refsegrs", "--format", "coco")
    assert result.exit_code == 1, result.output
    numbers = json.loads((out / "statistics.json").read_text())
    assert numbers["formats"] == ["coco"]
    assert numbers["problems"][0].startswith("--format refsegrs: no task has both a sentence and")
    assert not (out / "refsegrs").exists()
    alone = called(source, "--images", images, "--out", tmp_path / "b", "--format", "refsegrs")
    assert alone.exit_code == 2
    assert not (tmp_path / "b" / "statistics.json").exists()
    again = called(*arguments, "--format", "yolo")
    assert again.exit_code == 2
    assert "holds a set already" in " ".join(again.output.split())


def test_names_of_images_and_scenes_stay_in_the_folder(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", 1)
    names = ("../../evil.png", "%2e%2e/..png", "図" * 80 + ".png")
    for name in names:
        (images / Path(name).name).write_bytes((images / "tiles/001.png").read_bytes())
    marked = annotation(brushed(box(1, 1, 9, 9), "../../label", id="../r"))
    place = {
        "scene": "../a", "crs": "", "transform": None, "window": [0, 0, W, H], "scene_size": [W, H]
    }  # fmt: skip
    rows = [
        task(i, marked, image=f"/data/local-files/?d={name}", **place)
        for i, name in enumerate(names)
    ]
    source = written(tmp_path / "export.json", *rows)
    formats = [part for name in run.Format for part in ("--format", name)]
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    called(source, "--images", images, "--out", tmp_path / "x" / "out", *formats)
    after = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert len(after) > 10
    assert all(path.is_relative_to(tmp_path / "x" / "out") for path in after)
    assert len(list((tmp_path / "x/out/coco/images").rglob("*.png"))) == len(names)
