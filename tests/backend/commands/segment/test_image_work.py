from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands.segment.image_work import LocalSegmenter
from backend.project.colours import colours, rgb
from dgl_rsis.types import ImageError, Label
from tests.small_raster import NOWHERE, raster
from tests.small_scene import picture
from workers.engine.loading import load_segmenter
from workers.settings import WorkerSettings

# Enough words that an untrained model finds something of them.
WORDS = ("ship", "car", "tree", "field", "water", "pool", "tank", "bridge")
LABELS = (Label("building", ("house",)), *(Label(word) for word in WORDS))


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> LocalSegmenter:
    loaded = load_segmenter(WorkerSettings(model=str(model_folder)))
    return LocalSegmenter(loaded, max_pixels=10_000)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Four patches of noise, 48 × 36 pixels, that a browser shows upright: 36 × 48."""
    noise = np.random.default_rng(1).integers(0, 60, (36, 48, 3), dtype=np.uint8)
    noise[:18, :24] += np.uint8(60)
    noise[18:, 24:] += np.uint8(120)
    noise[:18, 24:, 2] += np.uint8(180)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90°
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path, exif=exif)
    return path


def test_masks_class_map_and_picture_agree(segmenter: LocalSegmenter, photo: Path) -> None:
    answer = segmenter.segment(photo, LABELS, {"ship": "blue"})
    reply, class_map = answer.reply, answer.class_map
    assert (reply.height, reply.width) == class_map.shape == (48, 36)
    assert reply.model_version == segmenter.model_version
    assert set(np.unique(class_map)) <= set(range(len(LABELS) + 1))
    assert (class_map > 0).any()
    areas = {s.label: sum(s.runs.counts[1::2]) for s in reply.segments if s.level == "class"}
    assert areas == {
        label.name: int((class_map == number).sum())
        for number, label in enumerate(LABELS, 1)
        if (class_map == number).any()
    }
    assert any(segment.level == "object" for segment in reply.segments)
    assert answer.overlay.dtype == np.uint8
    assert answer.overlay.shape[0] >= 48
    assert answer.overlay.shape[1] > 36  # with the legend
    by_label = colours([label.name for label in LABELS], {"ship": "blue"})
    drawn = {tuple(pixel) for pixel in answer.overlay[:, 36:].reshape(-1, 3).tolist()}
    assert {rgb(by_label[label]) for label in areas} <= drawn


def test_thresholds_and_background_reach_the_pipeline(
    segmenter: LocalSegmenter, photo: Path
) -> None:
    nothing = [Label(label.name, threshold=1.0) for label in LABELS]
    background = [Label(label.name, background=True) for label in LABELS]
    for labels in (nothing, background):
        answer = segmenter.segment(photo, labels, {})
        assert answer.reply.segments == ()
        assert not answer.class_map.any()


def test_a_plain_tiff_of_twelve_bits_is_a_photo(segmenter: LocalSegmenter, tmp_path: Path) -> None:
    values = (picture(40, 50).transpose(2, 0, 1).astype(np.uint16) + 1) * 16 - 1
    photo = raster(tmp_path / "a.tif", values, nbits=12, **NOWHERE)
    answer = segmenter.segment(photo, LABELS, {})
    assert answer.class_map.shape == (40, 50)
    assert (answer.class_map > 0).any()


def test_what_is_no_image_is_an_error_for_users(segmenter: LocalSegmenter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        segmenter.segment(tmp_path / "none.png", LABELS, {})
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ImageError, match="not an image of a known format"):
        segmenter.segment(text, LABELS, {})
    Image.new("L", (101, 100)).save(text, "PNG")
    with pytest.raises(ImageError, match="101 × 100 pixels, more than the allowed 10,000"):
        segmenter.segment(text, LABELS, {})


def test_what_the_file_says_of_its_pixels_is_in_the_answer(
    segmenter: LocalSegmenter, tmp_path: Path
) -> None:
    path = raster(tmp_path / "a.tif", picture(40, 50).transpose(2, 0, 1))
    known = segmenter.segment(path, LABELS, {}).resolution
    assert known is not None
    assert (known.source, known.metres) == ("transform", pytest.approx(0.5, rel=0.005))
    report = segmenter.refer(path, "the ship", 1, explain=False).report
    assert report["resolution"] == known.to_json()
