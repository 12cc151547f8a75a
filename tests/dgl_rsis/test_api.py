"""The Python interface: the same answers as the pipelines, and errors that say what to give."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Photo
from rasterio.crs import CRS

from dgl_rsis import api
from dgl_rsis.classes import pipeline as classes
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import pipeline as expressions
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes.areas import moved
from dgl_rsis.scenes.pipeline import segment_scene
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import ImageError, InputError, Label
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_sam import small_sam
from tests.small_scene import PLACE, picture, write_scene

IMAGE = np.full((64, 96, 3), (60, 110, 50), dtype=np.uint8)
IMAGE[16:40, 24:72] = 200, 60, 50
LABELS = ("building", "water")


def test_the_example_is_true(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    results = doctest.testmod(api)
    assert results.attempted > 5
    assert results.failed == 0


def test_the_same_model_is_loaded_once(model_folder: Path):
    assert api.load(str(model_folder)) is api.load(str(model_folder))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        api.load("nothing")


def test_classes_are_those_of_the_pipeline(clip: ClipModel):
    answer = api.segment(IMAGE, LABELS, clip)
    expected = classes.segment_classes(IMAGE, [Label(name) for name in LABELS], clip)
    assert answer.class_map.shape == answer.probability.shape == (64, 96)
    assert answer.class_map.dtype == np.uint16
    assert answer.probability.dtype == np.float32
    assert (answer.class_map == expected.class_map).all()
    assert answer.names == LABELS
    assert {*answer.masks} == {*answer.scores} <= {*LABELS}
    for number, name in enumerate(LABELS, start=1):
        mask = answer.masks.get(name, np.zeros((64, 96), dtype=bool))
        assert (mask == (answer.class_map == number)).all()


def test_labels_may_have_synonyms_and_thresholds(clip: ClipModel):
    never = Label("water", ("sea",), threshold=1.0)
    assert 2 not in api.segment(IMAGE, ["building", never], clip).class_map


def test_the_starter_is_the_default(monkeypatch: pytest.MonkeyPatch, clip: ClipModel):
    monkeypatch.setattr(api, "load", lambda: clip)
    by_default = api.segment(IMAGE, LABELS)
    assert (by_default.class_map == api.segment(IMAGE, LABELS, clip).class_map).all()
    assert api.refer(IMAGE, "the red building").decoupled.noun == "building"


def test_expressions_get_ranked_masks(clip: ClipModel):
    answer = api.refer(IMAGE, "the red building", clip, ResParameters(top_k=2))
    expected = expressions.segment_expression(
        IMAGE, "the red building", clip, ResParameters(top_k=2)
    )
    assert len(answer.candidates) == len(expected.candidates) <= 2
    assert answer.masks.shape == (len(expected.candidates), 64, 96)
    for mask, score, theirs in zip(answer.masks, answer.scores, expected.candidates, strict=True):
        assert (mask == theirs.mask).all()
        assert score == pytest.approx(theirs.score)
    assert answer.name == "building"


def test_points_and_a_box_find_the_same_object():
    pointed = api.refine(IMAGE, points=[(48, 28)])
    boxed = api.refine(IMAGE, box=(24, 16, 72, 40))
    assert pointed.mask[16:40, 24:72].all()
    assert pointed.mask.sum() == 24 * 48
    assert (boxed.mask == pointed.mask).all()
    assert 0 <= pointed.score <= 1


def test_a_point_outside_corrects_a_mask():
    whole = np.ones((64, 96), dtype=bool)
    corrected = api.refine(IMAGE, outside=[(5, 5)], mask=whole)
    assert not corrected.mask[5, 5]
    assert corrected.mask[28, 48]


def test_segment_anything_answers_where_it_is_given():
    answer = api.refine(IMAGE, points=np.array([[48, 28]]), sam=small_sam())
    assert answer.mask.shape == (64, 96)
    assert answer.mask.dtype == bool


def test_an_image_may_be_a_view(clip: ClipModel):
    view = np.repeat(IMAGE, 2, axis=1)[:, ::2]
    assert (api.refine(view, [(48, 28)]).mask == api.refine(IMAGE, [(48, 28)]).mask).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE.astype(np.float32) / 255, r"is float32 of shape \(64, 96, 3\): give uint8"),
        (IMAGE[..., 0], r"is uint8 of shape \(64, 96\)"),
        (np.zeros((64, 96, 4), dtype=np.uint8), r"shape \(64, 96, 4\)"),
        (IMAGE[:4], "at least 8 × 8"),
    ],
    ids=["float", "grey", "alpha", "small"],
)
def test_what_is_no_image(clip: ClipModel, image: np.ndarray, words: str):
    for ask in (
        lambda: api.segment(image, LABELS, clip),
        lambda: api.refer(image, "the roof", clip),
        lambda: api.refine(image, [(2, 2)]),
    ):
        with pytest.raises(InputError, match=words):
            ask()


def test_what_is_no_question(clip: ClipModel):
    with pytest.raises(InputError, match="one string, 'building': give a list"):
        api.segment(IMAGE, "building", clip)
    with pytest.raises(InputError, match="at least one"):
        api.segment(IMAGE, [], clip)
    with pytest.raises(InputError, match="expression is empty"):
        api.refer(IMAGE, " ", clip)
    with pytest.raises(InputError, match=r"points has the shape \(2,\): give \(n, 2\)"):
        api.refine(IMAGE, points=(48, 28))
    with pytest.raises(InputError, match="says nothing"):
        api.refine(IMAGE)


# ---- files and places


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", IMAGE)


def test_a_photo_is_what_its_pixels_are(clip: ClipModel, tmp_path: Path):
    file = tmp_path / "photo.png"
    Photo.fromarray(IMAGE).save(file)
    of_file, of_array = (api.segment(image, LABELS, clip) for image in (str(file), IMAGE))
    assert (of_file.class_map == of_array.class_map).all()
    assert not of_file.grid.placed


def test_a_scene_gets_what_the_command_gives_it(clip: ClipModel, tmp_path: Path):
    path = write_scene(tmp_path / "scene.tif", picture(200, 230))
    answer = api.segment(path, LABELS, clip)
    with open_scene(path) as scene:
        blocks = [*segment_scene(scene, [Label(name) for name in LABELS], clip)]
        grid = scene.grid
    assert answer.class_map.shape == answer.probability.shape == (200, 230)
    for block in blocks:
        h, w = block.classes.shape
        place = np.s_[block.row : block.row + h, block.column : block.column + w]
        assert (answer.class_map[place] == block.classes).all()
        assert (answer.probability[place] == block.probability).all()
    assert answer.grid == grid
    assert 0 <= answer.margin <= 1
    assert sum(each.mask.sum() for each in answer.objects) <= (answer.class_map > 0).sum()


def test_a_scene_may_be_opened_with_bands_of_ones_own(clip: ClipModel, scene: Path):
    with open_scene(scene, bands=(3, 2, 1)) as opened:
        turned = api.segment(opened, LABELS, clip)
        again = api.refine(opened, [(48, 28)])  # still open
    assert (turned.image == IMAGE[..., ::-1]).all()
    assert again.mask[28, 48]


def test_what_shows_nothing_gets_nothing(clip: ClipModel, tmp_path: Path):
    valid = np.ones(IMAGE.shape[:2], dtype=bool)
    valid[:, :40] = False
    path = write_scene(tmp_path / "half.tif", IMAGE, valid)
    assert not api.segment(path, LABELS, clip).class_map[~valid].any()
    for mask in api.refer(path, "the red building", clip).masks:
        assert not mask[~valid].any()


def test_coordinates_of_a_map_are_pixels(scene: Path):
    pointed = api.refine(scene, points=[(48, 28)], outside=[(5, 5)])
    # Of the scene's own CRS, pixels of half a metre; and in degrees.
    for crs in ("EPSG:32640", "EPSG:4326"):
        there = CRS.from_string("EPSG:32640"), CRS.from_string(crs)
        corners = np.array([PLACE @ each for each in ((48, 28), (5, 5), (24, 40), (72, 16))])
        of_map = moved(corners, *there)
        found = api.refine(scene, points=of_map[:1], outside=of_map[1:2], crs=crs)
        assert (found.mask == pointed.mask).all()
        west, south, east, north = *of_map[2], *of_map[3]
        boxed = api.refine(scene, box=(west, south, east, north), crs=crs)
        assert boxed.mask[20:36, 28:68].all()
        assert not boxed.mask[:12].any()


def test_coordinates_need_a_place(scene: Path):
    with pytest.raises(InputError, match="need an image with a CRS"):
        api.refine(IMAGE, points=[(55.2, 25.1)], crs="EPSG:4326")
    with pytest.raises(InputError, match="'nowhere' is no CRS"):
        api.refine(scene, points=[(55.2, 25.1)], crs="nowhere")
    with pytest.raises(InputError, match="outside"):
        api.refine(scene, points=[(0, 0)], crs="EPSG:4326")


def test_files_that_cannot_be_read(clip: ClipModel, tmp_path: Path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(ImageError, match="not an image"):
        api.segment(tmp_path / "no.png", LABELS, clip)
    with pytest.raises(InputError, match=r"there is no file .*gone\.png: check the path"):
        api.refine(tmp_path / "gone.png", [(1, 1)])
    with pytest.raises(InputError, match="is a folder: give the raster files"):
        api.segment(tmp_path, LABELS, clip)
    with pytest.raises(InputError, match="is not a file on this machine: download"):
        api.segment("https://example.com/a.tif", LABELS, clip)


def test_a_scene_beyond_memory_is_sent_to_the_command(
    monkeypatch: pytest.MonkeyPatch, clip: ClipModel, scene: Path
):
    monkeypatch.setattr(api, "PIXEL_BUDGET", 64 * 96 - 1)
    with pytest.raises(InputError, match=r"96 × 64 pixels, more than .* `dgl-rsis segment`"):
        api.segment(scene, LABELS, clip)


def test_the_place_of_a_scene_says_its_metres(monkeypatch: pytest.MonkeyPatch, scene: Path):
    with api._open(scene, None) as seen:
        assert seen.resolution is not None
        assert (seen.resolution.metres, seen.resolution.source) == (
            pytest.approx(0.5, 0.01),
            "transform",
        )
    with api._open(scene, 0.3) as seen:
        assert seen.resolution == Resolution(0.3, 0.05, "task")


def test_metres_reach_the_pipelines(monkeypatch: pytest.MonkeyPatch, clip: ClipModel):
    known: list[Resolution | None] = []
    encode = classes.encode_image

    def noted(*args, **options):
        encoded = encode(*args, **options)
        known.append(encoded.resolution)
        return encoded

    monkeypatch.setattr(classes, "encode_image", noted)
    for metres in (0.3, None):
        api.segment(IMAGE, LABELS, clip, metres_per_pixel=metres)
        api.refer(IMAGE, "the red building", clip, metres_per_pixel=metres)
    stated = Resolution(0.3, 0.05, "task")
    assert known == [stated, stated, None, None]
    with pytest.raises(InputError, match="300 metres a pixel are out of range"):
        api.segment(IMAGE, LABELS, clip, metres_per_pixel=300)
