"""Scenes that are mostly holes: what is not stored costs neither time nor output."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneJob, SceneOptions
from dgl_rsis.scenes.blending import Blender, axis, places
from dgl_rsis.scenes.reading import Scene, open_scene
from dgl_rsis.types import RGB, Label, Mask
from tests.small_scene import PLACE, picture
from workers.engine.loading import load_segmenter
from workers.settings import WorkerSettings

BLOCK = 256
PATCHES = ((256, 512), (3840, 7680), (1024, 4096))  # row and column of their first pixels
LABELS = tuple(Label(word) for word in ("ship", "car", "tree", "field", "water", "pool"))


def sparse(path: Path, width: int, height: int, **profile: object) -> Path:
    """A GeoTIFF of which a few blocks alone are stored."""
    kind = {"count": 3, "nodata": 0, "photometric": "RGB"} | profile
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, dtype="uint8", crs="EPSG:32640",
        transform=PLACE, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate",
        sparse_ok=True, **kind,
    ) as dataset:  # fmt: skip
        image = np.maximum(picture(BLOCK, BLOCK), 1).transpose(2, 0, 1)
        if kind["count"] == 4:
            image = np.concatenate([image, np.full_like(image[:1], 255)])
        for row, column in PATCHES:
            dataset.write(image, window=Window(column, row, BLOCK, BLOCK))
    return path


@pytest.mark.parametrize("profile", [{}, {"count": 4, "nodata": None, "alpha": "yes"}])
def test_holes_are_known_without_reading(tmp_path: Path, profile: dict[str, object]) -> None:
    with open_scene(sparse(tmp_path / "a.tif", 8192, 4096, **profile)) as scene:
        for row, column in PATCHES:
            assert not scene.is_blank(column - 1, row - 1, 2, 2)
            assert scene.is_blank(column - BLOCK, row - BLOCK, BLOCK, BLOCK)
            assert not scene.read(column - BLOCK, row - BLOCK, BLOCK, BLOCK)[1].any()


def test_black_that_nobody_calls_nodata_is_no_hole(tmp_path: Path) -> None:
    with open_scene(sparse(tmp_path / "a.tif", 8192, 4096, nodata=None)) as scene:
        assert not scene.is_blank(0, 2048, BLOCK, BLOCK)
        assert scene.read(0, 2048, BLOCK, BLOCK)[1].all()


def test_black_that_is_said_to_be_nodata_is_a_hole(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 8192, 4096, nodata=None)
    with open_scene(path, nodata=0) as scene:
        assert scene.is_blank(0, 2048, BLOCK, BLOCK)
        assert not scene.read(0, 2048, BLOCK, BLOCK)[1].any()


def test_what_is_not_stored_is_neither_read_nor_written(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = LocalSceneSegmenter(load_segmenter(WorkerSettings(model=str(model_folder))))
    options = SceneOptions(window=400, overlap=64, polygons="gpkg", probability=True)
    path = sparse(tmp_path / "a.tif", 8192, 4096)
    windows: list[bool] = []
    read = Scene.read

    def counted(scene: Scene, column: int, row: int, width: int, height: int) -> tuple[RGB, Mask]:
        windows.append(min(width, height) > 1)  # the overlay reads single rows
        return read(scene, column, row, width, height)

    monkeypatch.setattr(Scene, "read", counted)
    out = tmp_path / "out"
    out.mkdir()
    report = segmenter.segment(path, out, SceneJob(LABELS, {}, options), lambda done, total: None)
    # Of some 300 windows; 16 more are the samples that the cuts of regions come from.
    assert sum(windows) <= 16 + 4 * len(PATCHES)
    for name in ("classes", "probability"):
        with rasterio.open(out / f"a.{name}.tif") as dataset:
            written = dataset.read(1) > 0
            assert dataset.get_tag_item("BLOCK_OFFSET_3_3", "TIFF", bidx=1) is None
        stored = np.zeros_like(written)
        for row, column in PATCHES:
            stored[row : row + BLOCK, column : column + BLOCK] = True
        # Every pixel that is stored has a probability; of the classes some are background.
        assert (written <= stored).all()
        assert name == "classes" or (written == stored).all()
        assert (out / f"a.{name}.tif").stat().st_size < 300_000
    assert report.polygons


def test_what_waits_between_rows_of_windows_does_not_grow_with_the_scene() -> None:
    peaks = []
    for width in (1000, 8000):
        rows, columns = axis(300, 200, 40), axis(width, 200, 40)
        tracemalloc.start()
        with Blender(rows, columns, 8) as blender:
            for row, column in places(rows, columns):
                shape = rows.side(row), columns.side(column), 8
                blender.add(row, column, np.ones(shape, dtype=np.float32))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
