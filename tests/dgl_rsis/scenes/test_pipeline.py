from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dgl_rsis.classes import pipeline
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes.pipeline import SceneBlock, WindowParameters, segment_scene
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import RGB, InputError, Label, Proposals
from tests.small_raster import raster
from tests.small_scene import picture, write_scene

# With cars they cover all that one sees from above: nothing is background.
LABELS = [Label(name) for name in ("building", "land", "road", "vegetation", "water", "car")]
WINDOWS = WindowParameters(side=208, overlap=64)  # of the small model's tiles: 64, every 48


def together(blocks: Sequence[SceneBlock], height: int, width: int) -> np.ndarray:
    classes = np.full((height, width), 9999, dtype=np.int32)
    for block in blocks:
        h, w = block.classes.shape
        place = classes[block.row : block.row + h, block.column : block.column + w]
        assert (place == 9999).all()
        place[:] = block.classes
    assert classes.max() < 9999
    return classes


def segment(path: Path, clip: ClipModel, **options) -> list[SceneBlock]:
    with open_scene(path) as scene:
        return list(segment_scene(scene, LABELS, clip, **options))


def test_a_scene_of_one_window_is_segmented_as_an_image(clip: ClipModel, tmp_path):
    image = picture(90, 130)
    (block,) = segment(write_scene(tmp_path / "a.tif", image), clip)
    expected = pipeline.segment_classes(image, LABELS, clip)
    assert (block.classes == expected.class_map).all()
    assert block.probability == pytest.approx(expected.probability, abs=1e-5)
    assert block.valid.all()
    assert block.scores.sum(axis=2) == pytest.approx(1, abs=1e-4)


def test_windows_cover_the_scene_once_and_report_progress(clip: ClipModel, tmp_path):
    path = write_scene(tmp_path / "a.tif", picture(300, 411))
    seen: list[tuple[int, int]] = []
    blocks = segment(path, clip, windows=WINDOWS, progress=lambda *x: seen.append(x))
    assert len(blocks) > 4
    classes = together(blocks, 300, 411)
    assert (classes > 0).all()
    assert seen[-1] == (300 * 411, 300 * 411)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    places = [(block.row, block.column) for block in blocks]
    assert places == sorted(places)
    for block in blocks:
        assert block.scores.sum(axis=2) == pytest.approx(1, abs=1e-4)


def test_every_place_is_seen_through_the_same_tiles_in_any_window(clip: ClipModel):
    image = picture(300, 304)
    whole = features.dense_features(clip, image, 64).values
    part = features.dense_features(clip, image[48:256, 96:304], 64).values  # on the grid, 208²
    edge = 2  # patches that a tile of a neighbouring window sees, too
    inside = part[edge:-edge, edge:]
    expected = whole[6 + edge : 32 - edge, 12 + edge :]
    assert (inside - expected).abs().max() < 1e-4
    off = features.dense_features(clip, image[40:248, 96:304], 64).values  # off the grid
    assert (
        off[edge + 1 : -edge, edge:] - whole[6 + edge : 31 - edge, 12 + edge :]
    ).abs().max() > 0.01


def test_windows_of_two_sizes_agree(clip: ClipModel, tmp_path):
    path = write_scene(tmp_path / "a.tif", picture(400, 400))
    maps = [
        together(segment(path, clip, windows=WindowParameters(side, 64)), 400, 400)
        for side in (208, 304)
    ]
    assert (maps[0] == maps[1]).mean() > 0.75  # an untrained model has many ties


def test_pixels_that_are_not_valid_get_no_class_and_disturb_nothing(clip: ClipModel, tmp_path):
    image = picture(300, 300)
    valid = np.ones((300, 300), dtype=bool)
    valid[100:220, 120:] = False
    maps = []
    for name, colour in (("a.tif", 0), ("b.tif", 200)):
        changed = image.copy()
        changed[~valid] = colour
        path = write_scene(tmp_path / name, changed, valid)
        blocks = segment(path, clip, windows=WINDOWS)
        maps.append(together(blocks, 300, 300))
        assert sum(block.valid.sum() for block in blocks) == valid.sum()
        for block in blocks:
            assert (block.probability[~block.valid] == 0).all()
    assert (maps[0] == maps[1]).all()
    assert (maps[0][~valid] == 0).all()
    assert (maps[0][valid] > 0).all()


def test_windows_without_a_valid_pixel_are_skipped(clip: ClipModel, tmp_path):
    valid = np.zeros((400, 400), dtype=bool)
    valid[:60, :60] = True
    path = write_scene(tmp_path / "a.tif", picture(400, 400), valid)
    proposed = []

    def propose(image: RGB) -> Proposals:
        proposed.append(image.shape)
        return proposals.propose(image, RegionParameters())

    classes = together(segment(path, clip, windows=WINDOWS, propose=propose), 400, 400)
    assert proposed == [(208, 208, 3)]
    assert ((classes > 0) == valid).all()


def test_a_scene_without_a_valid_pixel_has_no_class(clip: ClipModel, tmp_path):
    path = write_scene(tmp_path / "a.tif", picture(300, 300), np.zeros((300, 300), dtype=bool))
    assert (together(segment(path, clip, windows=WINDOWS), 300, 300) == 0).all()


@pytest.mark.parametrize("shape", [(8, 700), (500, 9), (209, 257)])
def test_scenes_of_odd_sizes(clip: ClipModel, tmp_path, shape):
    path = write_scene(tmp_path / "a.tif", picture(*shape))
    assert (together(segment(path, clip, windows=WINDOWS), *shape) > 0).all()


@pytest.mark.parametrize(
    ("shape", "windows", "message"),
    [
        ((4, 300), WINDOWS, "300 × 4 pixels"),
        ((300, 300), WindowParameters(128, 100), "take windows of"),
    ],
)
def test_what_cannot_be_segmented_is_said(clip: ClipModel, tmp_path, shape, windows, message):
    path = write_scene(tmp_path / "a.tif", picture(*shape))
    with pytest.raises(InputError, match=message):
        segment(path, clip, windows=windows)


def test_windows_know_the_pixels_of_their_scene(clip: ClipModel, tmp_path, monkeypatch):
    path, told = write_scene(tmp_path / "a.tif", picture(300, 300)), Resolution(2, 0.05, "setting")
    known = []
    encode = pipeline.encode_proposed

    def noted(*args, **options):
        encoded = encode(*args, **options)
        known.append(encoded.resolution)
        return encoded

    monkeypatch.setattr(pipeline, "encode_proposed", noted)
    segment(path, clip, windows=WINDOWS)
    with open_scene(path) as scene:
        own = scene.grid.resolution
    assert own is not None
    assert len(known) > 1
    assert set(known) == {own}
    known.clear()
    segment(path, clip, windows=WINDOWS, resolution=told)
    assert set(known) == {told}


def test_infrared_decides_what_is_green_and_its_absence_changes_nothing(clip: ClipModel, tmp_path):
    image = picture(90, 130)
    infrared = np.where(np.arange(130) < 65, 255, 0).astype(np.uint8) * np.ones((90, 1), np.uint8)
    values = np.concatenate([image.transpose(2, 0, 1), infrared[None]])
    path = raster(tmp_path / "a.tif", values, photometric="minisblack")
    (without,) = segment(write_scene(tmp_path / "b.tif", image), clip)
    (unnamed,) = segment(path, clip)
    with open_scene(path, nir=4) as scene:
        (block,) = segment_scene(scene, LABELS, clip)
    assert (unnamed.scores == without.scores).all()
    vegetation = block.scores[..., 3] - without.scores[..., 3]
    # Regions straddle the line, so that some of what is against reaches the other side.
    assert vegetation[:, :65].mean() - vegetation[:, 65:].mean() > 0.2
    assert vegetation[:, 65:].mean() < -0.2
