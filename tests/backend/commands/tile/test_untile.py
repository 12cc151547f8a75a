"""`dgl-rsis untile`, and that nothing is lost from scene to tiles and back."""

import json
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import typer
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from typer.testing import CliRunner

from backend.commands.labels import LabelNames
from backend.commands.tile import command, tile
from backend.commands.tile.tile import TileRun
from backend.commands.tile.untile import UntileRun, run
from backend.project.colours import colours, rgb
from backend.regions import brush
from backend.regions.findings import ExportError
from dgl_rsis import runs
from dgl_rsis.scenes.tiles import TileParameters
from tests.backend.studio.exports import DRAWN

TRANSFORM = rasterio.Affine(0.5, 0, 733601, 0, -0.5, 3725139)
LABELS = ("road", "building", "tree")
NAMES = LabelNames(dict.fromkeys(LABELS))


def scene(path, width=70, height=50, **profile):
    values = np.random.default_rng(0).integers(1, 256, (3, height, width), dtype=np.uint8)
    profile = {"crs": "EPSG:32616", "transform": TRANSFORM} | profile
    with rasterio.open(path, "w", "GTiff", width, height, 3, dtype="uint8", **profile) as file:
        file.write(values)
    return path


def cut(folder, *paths, size=32, overlap=8):
    """The tasks that Label Studio would import."""
    assert tile.run(TileRun(paths, folder / "tiles", TileParameters(size, overlap))) == 0
    return json.loads((folder / "tiles" / "import.json").read_text())


def region(kind, label, value, width, height):
    return {
        "id": f"{label}-1", "type": kind, "from_name": "mask", "to_name": "image",
        "original_width": width, "original_height": height, "image_rotation": 0,
        "origin": "manual", "value": {**value, kind: [label]},
    }  # fmt: skip


def brushed(mask, label):
    value = {"format": "rle", "rle": brush.encode(runs.to_runs(mask))}
    return region("brushlabels", label, value, mask.shape[1], mask.shape[0])


def annotation(*result, second=0, **more):
    time = f"2026-01-01T00:00:{second:02}Z"
    return {
        "id": second + 1, "completed_by": 1, "updated_at": time, "was_cancelled": False,
        "result": list(result), **more,
    }  # fmt: skip


def part(classes, task):
    column, row, width, height = task["data"]["window"]
    return classes[row : row + height, column : column + width]


def annotated(tasks, classes, labels=LABELS):
    """Each task with a brush region for each class that its part of the scene shows."""
    for identity, task in enumerate(tasks, start=1):
        seen = part(classes, task)
        regions = [
            brushed(seen == number, label)
            for number, label in enumerate(labels, start=1)
            if (seen == number).any()
        ]
        task |= {"id": identity, "annotations": [annotation(*regions)], "predictions": []}
    return tasks


def written(path, tasks):
    path.write_text(json.dumps(tasks))
    return path


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(1)


def random_classes(height, width, count=3, seed=0):
    return np.random.default_rng(seed).integers(0, count + 1, (height, width), dtype=np.uint16)


def cli(*arguments):
    app = typer.Typer()
    app.command()(command.untile)
    return CliRunner().invoke(app, list(map(str, arguments)))


# On the earth by number and by words, with axes in the other order, a site's, another planet's.
CRSES = (
    "EPSG:32616", "EPSG:4326", "EPSG:3857", "EPSG:2180", "EPSG:2263", "IAU_2015:30110",
    "+proj=laea +lat_0=50 +lon_0=10 +datum=WGS84 +units=m",
    'LOCAL_CS["Site grid",UNIT["foot",0.3048],AXIS["E",EAST],AXIS["N",NORTH]]',
)  # fmt: skip


@st.composite
def transforms(draw) -> Affine:
    """Pixels of any size, turned and mirrored as they may be."""
    along, down = draw(st.floats(1e-6, 1e3)), draw(st.floats(1e-6, 1e3))
    origin = draw(st.floats(-1e7, 1e7)), draw(st.floats(-1e7, 1e7))
    turn = draw(st.sampled_from([0.0, 0.0, 30.0, 90.0, 123.4]))
    sides = draw(st.sampled_from([-1, 1])) * along, draw(st.sampled_from([-1, 1])) * down
    return Affine.translation(*origin) @ Affine.rotation(turn) @ Affine.scale(*sides)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_what_was_not_changed_comes_back_exactly(data):
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    size = data.draw(st.integers(1 + max(width, height) // 5, 60))
    overlap = data.draw(st.integers(0, size // 2))
    classes = random_classes(height, width, seed=data.draw(st.integers(0, 2**32 - 1)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = {"crs": data.draw(st.sampled_from(CRSES)), "transform": data.draw(transforms())}
        path = scene(folder / "a.tif", width, height, **place)
        tasks = annotated(cut(folder, path, size=size, overlap=overlap), classes)
        tasks = data.draw(st.permutations(tasks))
        export, out = written(folder / "export.json", tasks), folder / "labels.tif"
        assert run(UntileRun(export, out, names=NAMES)) == 0
        assert (read(out) == classes).all()
        report = json.loads((folder / "labels.tif.json").read_text())
        with rasterio.open(out) as labels, rasterio.open(path) as source:
            assert (labels.crs, labels.transform) == (source.crs, source.transform)
        assert not any(file.name.startswith(".") for file in folder.rglob("*"))
    assert report["covered_pixels"] == width * height
    assert report["disagreeing_pixels"] == 0


def test_labels_are_numbered_by_name_or_as_asked(tmp_path):
    classes = random_classes(50, 70)
    export = written(
        tmp_path / "e.json", annotated(cut(tmp_path, scene(tmp_path / "a.tif")), classes)
    )
    assert cli(export, "--out", tmp_path / "sorted.tif").exit_code == 0
    assert (read(tmp_path / "sorted.tif") == np.array([0, 2, 1, 3])[classes]).all()
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
        '<Label value="tree" background="#010203"/><Label value="road"/>'
        '<Label value="building"/></BrushLabels></View>'
    )
    assert cli(export, "--out", tmp_path / "asked.tif", "--config", config).exit_code == 0
    assert (read(tmp_path / "asked.tif") == np.array([0, 2, 3, 1])[classes]).all()
    with rasterio.open(tmp_path / "asked.tif") as file:
        assert file.colormap(1)[1] == (1, 2, 3, 255)
        own = colours(["road", "building"])
        assert file.colormap(1)[2] == (*rgb(own["road"]), 255)
        assert file.colormap(1)[3] == (*rgb(own["building"]), 255)
        assert json.loads(file.tags()["LABELS"]) == ["tree", "road", "building"]
    report = json.loads((tmp_path / "asked.tif.json").read_text())
    assert report["labels"] == {"tree": 1, "road": 2, "building": 3}


def test_seams_that_disagree_are_told(tmp_path, caplog):
    tasks = cut(tmp_path, scene(tmp_path / "a.tif", 56, 32))
    assert [task["data"]["window"] for task in tasks] == [[0, 0, 32, 32], [24, 0, 32, 32]]
    for identity, task in enumerate(tasks, start=1):
        mask = np.ones((32, 32), dtype=np.bool_)
        task |= {"id": identity, "annotations": [annotation(brushed(mask, LABELS[identity]))]}
    with caplog.at_level(logging.INFO):
        assert run(UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "l.tif")) == 0
    classes = read(tmp_path / "l.tif")
    assert (classes[:, :28] == 1).all()
    assert (classes[:, 28:] == 2).all()
    assert "256 pixels on their seams disagree" in caplog.text


def test_several_scenes_make_a_file_each(tmp_path):
    a, b = scene(tmp_path / "a.tif"), scene(tmp_path / "b.tif")
    classes = random_classes(50, 70)
    export = written(tmp_path / "e.json", annotated(cut(tmp_path, a, b), classes))
    with pytest.raises(ExportError, match=r"2 scenes \(a.tif, b.tif\).*give a folder"):
        run(UntileRun(export, tmp_path / "l.tif"))
    assert run(UntileRun(export, tmp_path / "labels", names=NAMES)) == 0
    for stem in "ab":
        assert (read(tmp_path / "labels" / f"{stem}_labels.tif") == classes).all()


def test_a_scene_without_crs_becomes_a_plain_tiff(tmp_path, caplog):
    path = tmp_path / "a.png"
    Image.new("RGB", (70, 50), (1, 2, 3)).save(path)
    classes = random_classes(50, 70)
    export = written(tmp_path / "e.json", annotated(cut(tmp_path, path), classes))
    with caplog.at_level(logging.INFO):
        assert run(UntileRun(export, tmp_path / "l.tif", names=NAMES)) == 0
    assert (read(tmp_path / "l.tif") == classes).all()
    assert "a.png: no CRS for its pixels: writing a plain TIFF" in caplog.text


def test_the_scene_itself_gives_its_ground_control_points(tmp_path, caplog):
    points = [GroundControlPoint(r, c, 10 + c, 50 - r, 0) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = scene(tmp_path / "a.tif", crs="EPSG:4326", transform=None, gcps=points)
    classes = random_classes(50, 70)
    export = written(tmp_path / "e.json", annotated(cut(tmp_path, path), classes))
    with caplog.at_level(logging.INFO):
        assert run(UntileRun(export, tmp_path / "plain.tif")) == 0
    assert "give the scene itself by --scene" in caplog.text
    renamed = path.rename(tmp_path / "moved.tif")
    assert cli(export, "--out", tmp_path / "l.tif", "--scene", renamed).exit_code == 0
    with rasterio.open(tmp_path / "l.tif") as file:
        assert [(p.row, p.col, p.x, p.y) for p in file.gcps[0]] == [
            (p.row, p.col, p.x, p.y) for p in points
        ]


def test_tiles_may_be_as_large_as_the_images_that_workers_take(tmp_path, monkeypatch):
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif", 30, 20)), random_classes(20, 30))
    export = written(tmp_path / "e.json", tasks)
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "599")
    assert cli(export, "--out", tmp_path / "l.tif").exit_code == 2
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "600")
    assert cli(export, "--out", tmp_path / "l.tif").exit_code == 0


def test_another_scene_is_refused(tmp_path, caplog):
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif")), random_classes(50, 70))
    other = scene(tmp_path / "b.tif", 71, 50)
    run_ = UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "l.tif", [other])
    assert run(run_) == 1
    assert "has 71 × 50 pixels, but the tiles are of a scene of 70 × 50" in caplog.text


def test_a_scene_that_no_tile_is_of_is_told(tmp_path, caplog):
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif")), random_classes(50, 70))
    scenes = [tmp_path / "a.tif", tmp_path / "b.tif"]
    assert run(UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "l.tif", scenes)) == 1
    assert "b.tif: the export holds no tile of this scene" in caplog.text
    assert (tmp_path / "l.tif").exists()


def test_the_newest_of_several_annotations_counts(tmp_path, caplog):
    (task,) = cut(tmp_path, scene(tmp_path / "a.tif", 30, 20))
    full = np.ones((20, 30), dtype=np.bool_)
    old, new = annotation(brushed(full, "road")), annotation(brushed(full, "tree"), second=9)
    again = task | {"id": 2, "annotations": [annotation(brushed(full, "building"), second=5)]}
    task |= {"id": 1, "annotations": [new, old]}
    with caplog.at_level(logging.INFO):
        export = written(tmp_path / "e.json", [task, again])
        assert run(UntileRun(export, tmp_path / "l.tif", names=NAMES)) == 0
    assert (read(tmp_path / "l.tif") == 3).all()
    assert "1 tasks have several annotations: the newest counts" in caplog.text
    assert "1 tasks are of a tile that others are of, too" in caplog.text


def test_unfinished_tiles_leave_their_seams_to_the_others(tmp_path, caplog):
    classes = np.ones((32, 56), dtype=np.uint16)
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif", 56, 32)), classes)
    tasks[1]["annotations"] = []
    with caplog.at_level(logging.INFO):
        assert run(UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "l.tif")) == 0
    labels = read(tmp_path / "l.tif")
    assert (labels[:, :32] == 1).all()
    assert (labels[:, 32:] == 0).all()
    assert "1 tasks without an annotation are left out" in caplog.text


def test_an_empty_annotation_says_that_nothing_is_there(tmp_path):
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif", 56, 32)), np.ones((32, 56)))
    tasks[1]["annotations"] = [annotation()]
    assert run(UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "l.tif")) == 0
    classes = read(tmp_path / "l.tif")
    assert (classes[:, :28] == 1).all()
    assert (classes[:, 28:] == 0).all()


def test_of_regions_that_overlap_the_smaller_one_is_on_top(tmp_path, caplog):
    (task,) = cut(tmp_path, scene(tmp_path / "a.tif", 30, 20))
    large, small = np.ones((20, 30), dtype=np.bool_), np.zeros((20, 30), dtype=np.bool_)
    small[5:9, 5:9] = True
    task |= {"id": 1, "annotations": [annotation(brushed(small, "tree"), brushed(large, "road"))]}
    with caplog.at_level(logging.INFO):
        export = written(tmp_path / "e.json", [task])
        assert run(UntileRun(export, tmp_path / "l.tif", names=NAMES)) == 0
    assert (read(tmp_path / "l.tif") == np.where(small, 3, 1)).all()
    assert "labels that overlap" in caplog.text


def test_shapes_are_drawn(tmp_path):
    (task,) = cut(tmp_path, scene(tmp_path / "a.tif", 40, 20), size=40)
    box = {"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0}
    outline = {"points": [[0, 0], [25, 0], [25, 50], [0, 50]], "closed": True}
    shapes = [
        region("rectanglelabels", "road", box, 40, 20),
        region("polygonlabels", "tree", outline, 40, 20),
    ]
    task |= {"id": 1, "annotations": [annotation(*shapes)]}
    export = written(tmp_path / "e.json", [task])
    assert run(UntileRun(export, tmp_path / "l.tif", names=NAMES)) == 0
    classes = read(tmp_path / "l.tif")
    assert (classes[10:, 11:29] == 1).all()
    assert (classes[1:9, 1:9] == 3).all()
    assert (classes[:10, 12:] == 0).all()


def test_what_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path, caplog):
    classes = random_classes(50, 70)
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif")), classes)
    region_of = tasks[0]["annotations"][0]["result"]
    region_of.append(brushed(np.ones((32, 32), dtype=np.bool_), "lava"))
    strange = {"data": {"image": "/x.png"}, "annotations": [annotation()], "id": 77}
    outside = tasks[1] | {"id": 78, "data": tasks[1]["data"] | {"window": [60, 0, 32, 32]}}
    larger = tasks[1] | {"id": 79, "data": tasks[1]["data"] | {"scene_size": [700, 500]}}
    export = written(tmp_path / "e.json", [*tasks, strange, outside, larger])
    result = cli(export, "--out", tmp_path / "l.tif", "--labels", ",".join(LABELS))
    assert result.exit_code == 1
    assert (read(tmp_path / "l.tif") == classes).all()
    for message in (
        "the label 'lava' is not among",
        "task 77: ",
        "task 78: its window [60, 0, 32, 32] is not inside a.tif of 70 × 50",
        "task 79: other tasks say another size or CRS of a.tif",
    ):
        assert message in caplog.text
    assert len(json.loads((tmp_path / "l.tif.json").read_text())["problems"]) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no annotated tile of a scene"),
        ("{}", "are no tasks"),
        ('[{"id": 1', "cut short"),
    ],
)
def test_what_is_no_export_of_tiles_is_refused(tmp_path, content, message):
    (tmp_path / "e.json").write_text(content)
    result = cli(tmp_path / "e.json", "--out", tmp_path / "l.tif")
    assert result.exit_code == 2
    assert message in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["e.json"]


def test_a_scene_name_cannot_lead_out_of_the_folder(tmp_path):
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif")), random_classes(50, 70))
    for task in tasks:
        task["data"]["scene"] = "../../evil.tif"
    assert run(UntileRun(written(tmp_path / "e.json", tasks), tmp_path / "x" / "labels")) == 0
    assert (tmp_path / "x" / "labels" / "evil_labels.tif").exists()


def test_names_of_scenes_stay_in_the_folder(tmp_path):
    names = ["../../../evil.tif", "..", "/etc/x.tif", "a\0b.tif", "a\nb.tif", "A_B.tif", "é" * 200]
    place = {"crs": "", "transform": None, "window": [0, 0, 8, 8], "scene_size": [8, 8]}
    tasks = [
        {
            "id": number, "predictions": [],
            "annotations": [annotation(brushed(np.ones((8, 8), bool), "road"))],
            "data": {"image": "a.png", "scene": name, **place},
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    export = written(tmp_path / "export.json", tasks)
    assert run(UntileRun(export, tmp_path / "x" / "y" / "out")) == 0
    files = {path for path in tmp_path.rglob("*") if path.is_file()} - {export}
    assert all(path.parent == tmp_path / "x" / "y" / "out" for path in files)
    assert len([path for path in files if path.suffix == ".tif"]) == len(names)


def test_a_label_config_says_what_people_may_mark(tmp_path):
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="i" value="$image"/><BrushLabels name="m" toName="i">'
        '<Label value="background"/><Label value="road" model_skip="true"/></BrushLabels></View>'
    )
    classes = random_classes(50, 70, 2)
    tasks = annotated(cut(tmp_path, scene(tmp_path / "a.tif")), classes, ("background", "road"))
    export, out = written(tmp_path / "export.json", tasks), tmp_path / "l.tif"
    result = cli(export, "--out", out, "--config", config)
    assert result.exit_code == 0, result.output
    assert (read(out) == (classes == 2)).all()


@pytest.mark.parametrize("name", DRAWN)
def test_a_region_covers_the_pixels_that_it_covers_everywhere(tmp_path, name):
    drawn, mask = DRAWN[name]
    height, width = mask.shape
    place = {"scene": "a.tif", "crs": "", "transform": None}
    window = {"window": [0, 0, width, height], "scene_size": [width, height]}
    task = {"id": 1, "data": {"image": "a.png", **place, **window}}
    export = written(tmp_path / "export.json", [{**task, "annotations": [annotation(drawn)]}])
    assert run(UntileRun(export, tmp_path / "out.tif", (), LabelNames({"ship": None}))) == 0
    np.testing.assert_array_equal(read(tmp_path / "out.tif") == 1, mask)
