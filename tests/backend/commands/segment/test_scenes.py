import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from backend.commands.labels import read_config
from backend.commands.segment import scenes
from backend.commands.segment.images import LocalError
from backend.commands.segment.inputs import Inputs
from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneOptions
from backend.commands.segment.scenes import SceneRun, is_scene
from tests.small_scene import picture, write_scene
from workers.engine.loading import load_segmenter
from workers.engine.segmenter import Segmenter
from workers.settings import WorkerSettings

CONFIG = read_config("ship,car,tree,field,water", None)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_a_scene_is(tmp_path: Path) -> None:
    small = picture(40, 50)
    placed = write_scene(tmp_path / "placed.tif", small)
    plain = tmp_path / "plain.tif"
    Image.fromarray(small).save(plain)
    large = tmp_path / "large.TIFF"
    Image.fromarray(np.zeros((20, 1100), dtype=np.uint8)).save(large)
    photo, text = tmp_path / "photo.png", tmp_path / "text.tif"
    Image.fromarray(small).save(photo)
    text.write_text("no image")
    assert is_scene(placed)
    assert not is_scene(plain)
    assert is_scene(plain, asked=True)
    assert is_scene(large)
    assert not is_scene(photo)
    assert is_scene(photo, asked=True)
    assert not is_scene(text)
    assert not is_scene(tmp_path / "missing.tif")


def task(tmp_path: Path, *paths: Path, **options) -> SceneRun:
    return SceneRun(paths, CONFIG, tmp_path / "out", SceneOptions(**options))


def test_right_angles_without_buildings_are_refused(tmp_path: Path) -> None:
    wanted = task(tmp_path, tmp_path / "a.tif", polygons="gpkg", regularize=True)
    with pytest.raises(LocalError, match="none of ship, car, tree, field, water is of"):
        scenes.check(wanted)


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> LocalSceneSegmenter:
    return LocalSceneSegmenter(load_segmenter(WorkerSettings(model=str(model_folder))))


def test_a_bad_scene_is_reported_and_the_others_go_on(
    segmenter: LocalSceneSegmenter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write_scene(tmp_path / "good.tif", picture(100, 120))
    last = write_scene(tmp_path / "last.tif", picture(100, 120, 1))
    text, missing = tmp_path / "text.tif", tmp_path / "missing.tif"
    text.write_text("no image")
    caplog.set_level("INFO")
    run = task(tmp_path, text, good, missing, last, polygons="geojson")
    assert scenes.run(run, segmenter) == 1
    assert {file.name for file in run.out.iterdir()} == {
        f"{stem}.{end}"
        for stem in ("good", "last")
        for end in ("classes.tif", "classes.qml", "overlay.png", "geojson", "qml")
    }
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 2
    assert "text.tif is no raster" in errors[0]
    assert "there is no file" in errors[1]
    assert "Traceback" not in caplog.text
    assert "Mpx" in caplog.text


def test_bands_reach_the_scene(segmenter: LocalSceneSegmenter, tmp_path: Path, caplog) -> None:
    scene = write_scene(tmp_path / "a.tif", picture(60, 60))
    assert scenes.run(task(tmp_path, scene, bands=(3, 2, 1)), segmenter) == 0
    assert scenes.run(task(tmp_path, scene, bands=(4, 3, 2)), segmenter) == 1
    assert "no band 4" in caplog.text


def test_photos_and_scenes_are_segmented_by_one_model(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(settings: WorkerSettings) -> Segmenter:
        loads.append(load_segmenter(settings))
        return loads[-1]

    monkeypatch.setattr(scenes, "load_segmenter", load)
    scene, photo = write_scene(tmp_path / "y.tif", picture(100, 120)), tmp_path / "x.png"
    Image.fromarray(picture(40, 50)).save(photo)
    out, settings = tmp_path / "out", WorkerSettings(model=str(model_folder))
    assert (
        scenes.segment_classes(
            Inputs((photo, scene), many=False), CONFIG, out, SceneOptions(), settings
        )
        == 0
    )
    [loaded] = loads
    with rasterio.open(out / "y.classes.tif") as dataset:
        assert dataset.tags()["MODEL_VERSION"] == loaded.model_version
    prediction = json.loads((out / "x.json").read_text("utf-8"))
    assert prediction["model_version"] == loaded.model_version
