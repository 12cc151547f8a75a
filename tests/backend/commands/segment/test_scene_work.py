import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneJob, SceneOptions
from backend.project.colours import colours, rgb
from dgl_rsis.scenes import footprints
from dgl_rsis.types import InputError, Label
from tests.small_scene import PLACE, picture, write_scene
from workers.engine.loading import load_segmenter
from workers.settings import WorkerSettings

WORDS = ("ship", "car", "tree", "field", "water", "pool")
LABELS = tuple(Label(word) for word in WORDS)
JOB = SceneJob(LABELS, {"ship": "blue"}, SceneOptions(window=208, overlap=64))


def nothing(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> LocalSceneSegmenter:
    return LocalSceneSegmenter(load_segmenter(WorkerSettings(model=str(model_folder))))


def test_all_outputs_of_a_scene_agree(segmenter: LocalSceneSegmenter, tmp_path: Path) -> None:
    valid = np.ones((250, 300), dtype=bool)
    valid[:, 260:] = False
    scene = write_scene(tmp_path / "a.b.tif", picture(250, 300), valid)
    out = tmp_path / "out"
    out.mkdir()
    options = SceneOptions(polygons="gpkg", probability=True, window=208, overlap=64)
    job = SceneJob(LABELS, {"ship": "rgba(1, 2, 3, 0.5)"}, options)
    by_label = colours(WORDS, job.colours)
    report = segmenter.segment(scene, out, job, nothing)
    ends = ("classes.tif", "classes.qml", "probability.tif", "gpkg", "qml", "overlay.png")
    names = {f"a.b.{end}" for end in ends}
    assert {file.name for file in report.files} == names == {f.name for f in out.iterdir()}
    assert report.megapixels == 0.075
    with rasterio.open(out / "a.b.classes.tif") as dataset:
        classes = dataset.read(1)
        assert dataset.transform == PLACE
        assert dataset.tags()["MODEL_VERSION"] == segmenter.model_version
        assert json.loads(dataset.tags()["LABELS"]) == list(WORDS)
        table = dataset.colormap(1)
    assert [table[i][:3] for i in range(1, 7)] == [rgb(by_label[word]) for word in WORDS]
    assert ((classes > 0) <= valid).all()
    with rasterio.open(out / "a.b.probability.tif") as dataset:
        assert ((dataset.read(1) > 0) == valid).all()
    _, _, geometries, fields = pyogrio.raw.read(out / "a.b.gpkg")
    assert len(geometries) == report.polygons
    polygons, labels, areas = shapely.from_wkb(geometries), fields[0], fields[2]
    assert shapely.is_valid(polygons).all()
    for number, word in enumerate(WORDS, start=1):
        expected = (classes == number).sum() * 0.25
        assert areas[labels == word].sum() == pytest.approx(expected, rel=1e-3)  # on the ground
        assert shapely.area(polygons[labels == word]).sum() == pytest.approx(expected)
    with Image.open(out / "a.b.overlay.png") as picture_:
        assert picture_.height >= 250
        assert picture_.width > 300  # with the legend
        drawn = {colour for _, colour in picture_.getcolors(picture_.width * picture_.height)}
    assert {rgb(by_label[word]) for i, word in enumerate(WORDS, 1) if (classes == i).any()} <= drawn


def test_buildings_get_right_angles(
    segmenter: LocalSceneSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same parts, and of the other classes the same outlines."""
    scene = write_scene(tmp_path / "a.tif", picture(250, 300))
    read: dict[bool, tuple[list[str], list[shapely.Geometry]]] = {}
    monkeypatch.setattr(footprints, "BUILDINGS", {"water"})  # which this model finds
    for regularize in (False, True):
        out = tmp_path / str(regularize)
        out.mkdir()
        options = SceneOptions(polygons="gpkg", regularize=regularize)
        segmenter.segment(scene, out, SceneJob(LABELS, {}, options), nothing)
        _, _, geometries, fields = pyogrio.raw.read(out / "a.gpkg")
        read[regularize] = (list(fields[0]), list(shapely.from_wkb(geometries)))
    assert read[True][0] == read[False][0]
    changed = {
        label
        for label, before, after in zip(read[True][0], read[False][1], read[True][1], strict=True)
        if not before.equals(after)
    }
    assert changed == {"water"}
    assert len({*read[True][0]}) > 1
    assert all(shape.is_valid for shape in read[True][1])


def test_only_what_was_asked_for_is_written(segmenter: LocalSceneSegmenter, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    scene = write_scene(tmp_path / "a.tif", picture(100, 120))
    report = segmenter.segment(scene, out, JOB, nothing)
    assert report.polygons is None
    assert {file.name for file in out.iterdir()} == {
        "a.classes.tif", "a.classes.qml", "a.overlay.png"
    }  # fmt: skip


def test_areas_in_web_mercator_are_those_on_the_ground(
    segmenter: LocalSceneSegmenter, tmp_path: Path
) -> None:
    """At 60° N the plane of EPSG:3857 shows four times the ground."""
    place = Affine(0.6, 0, 2_776_000, 0, -0.6, 8_437_000)
    scene = write_scene(tmp_path / "a.tif", picture(256, 256), crs="EPSG:3857", transform=place)
    least = 2.0  # m²
    options = SceneOptions(polygons="gpkg", min_area=least, window=208)
    report = segmenter.segment(scene, tmp_path, SceneJob(LABELS, {}, options), nothing)
    with rasterio.open(report.files[0]) as dataset:
        classes = dataset.read(1)
    _, _, geometries, fields = pyogrio.raw.read(tmp_path / "a.gpkg")
    areas = fields[2]
    whole = 5_859  # m² of the scene
    in_plane = shapely.area(shapely.from_wkb(geometries))
    assert areas == pytest.approx(in_plane * whole / (256 * 0.6) ** 2, rel=0.01)
    assert areas.min() >= least
    left_out = (classes > 0).sum() * whole / 256**2 - areas.sum()
    assert 0 <= left_out < 0.2 * whole


def test_a_failure_leaves_nothing(segmenter: LocalSceneSegmenter, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "a.tif", picture(4, 120))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="120 × 4"):
        segmenter.segment(scene, out, JOB, nothing)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("side", [64, 100, 208])
def test_a_small_window_gets_an_overlap_that_fits(
    segmenter: LocalSceneSegmenter, tmp_path: Path, side: int
) -> None:
    assert SceneOptions().windows.side == 1536
    assert SceneOptions(window=256, overlap=32).windows.overlap == 32
    scene = write_scene(tmp_path / "a.tif", picture(220, 230))
    job = SceneJob(LABELS, {}, SceneOptions(probability=True, window=side))
    report = segmenter.segment(scene, tmp_path, job, nothing)
    with rasterio.open(report.files[-1]) as dataset:
        assert (dataset.read(1) > 0).all()


def test_a_scene_of_one_colour_has_few_polygons_and_an_empty_one_none(
    segmenter: LocalSceneSegmenter, tmp_path: Path
) -> None:
    plain = np.full((300, 300, 3), 90, dtype=np.uint8)
    job = SceneJob(LABELS, {}, SceneOptions(polygons="gpkg", window=208))
    path = write_scene(tmp_path / "plain.tif", plain)
    assert 1 <= (segmenter.segment(path, tmp_path, job, nothing).polygons or 0) <= len(WORDS)
    path = write_scene(tmp_path / "empty.tif", plain, np.zeros((300, 300), dtype=bool))
    report = segmenter.segment(path, tmp_path, job, nothing)
    assert report.polygons == 0
    with rasterio.open(report.files[0]) as dataset:
        assert not dataset.read(1).any()
    assert pyogrio.read_info(tmp_path / "empty.gpkg")["features"] == 0


def test_a_setting_goes_before_the_place_of_a_scene(
    segmenter: LocalSceneSegmenter, model_folder: Path, tmp_path: Path
) -> None:
    path = write_scene(tmp_path / "a.tif", picture(60, 60))
    settings = WorkerSettings(model=str(model_folder), metres_per_pixel=2.0)
    told = LocalSceneSegmenter(load_segmenter(settings))
    sources = []
    for name, each in (("own", segmenter), ("told", told)):
        out = tmp_path / name
        out.mkdir()
        known = each.segment(path, out, JOB, nothing).resolution
        assert known is not None
        sources.append(known.source)
    assert sources == ["transform", "setting"]
