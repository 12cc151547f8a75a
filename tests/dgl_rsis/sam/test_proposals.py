from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything import SamAutomaticMaskGenerator

from dgl_rsis.sam import model as model_module
from dgl_rsis.sam import proposals
from dgl_rsis.sam.decoding import Batches
from dgl_rsis.sam.model import SamModel, decode, encode
from dgl_rsis.sam.proposals import SamParameters, propose
from tests.dgl_rsis.sam.small_sam import noise, small_sam

# Without what the generator leaves to others: holes, the best 200.
LOOSE = SamParameters(
    points_per_side=6, pred_iou=0.3, stability=0.6, box_nms=0.7, keep=10**6, fill_holes=False
)


@pytest.fixture(scope="module")
def model() -> SamModel:
    return small_sam()


def generated(model: SamModel, image: np.ndarray, like: SamParameters) -> list[dict]:
    generator = SamAutomaticMaskGenerator(
        model.model,
        points_per_side=like.points_per_side,
        pred_iou_thresh=like.pred_iou,
        stability_score_thresh=like.stability,
        stability_score_offset=like.stability_offset,
        box_nms_thresh=like.box_nms,
        crop_n_layers=like.crop_layers,
        crop_nms_thresh=like.crop_nms,
    )
    return generator.generate(image)


def overlaps(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, m) IoU of all pairs."""
    a, b = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (first, second))
    shared = a @ b.T
    union: NDArray[np.float32] = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - shared
    return shared / np.maximum(union, 1)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (128, 128), (100, 61)])
def test_finds_what_the_generator_of_the_library_finds(model, height, width):
    image = noise(height, width)
    theirs = generated(model, image, LOOSE)
    ours = propose(image, model, LOOSE)
    assert len(theirs) >= 20
    assert len({tuple(record["crop_box"]) for record in theirs}) > 1  # crops had their say
    iou = overlaps(np.stack([record["segmentation"] for record in theirs]), ours.masks)
    assert (iou.max(axis=1) >= 0.98).mean() >= 0.99
    assert (iou.max(axis=0) >= 0.98).mean() >= 0.99
    order = iou.argmax(axis=1)
    same = iou.max(axis=1) >= 0.98
    quality = [(r["predicted_iou"] + r["stability_score"]) / 2 for r in theirs]
    assert ours.quality[order][same] == pytest.approx(np.clip(quality, 0, 1)[same], abs=0.02)
    boxes = np.array([r["bbox"] for r in theirs]) @ np.array(
        [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    assert np.abs(ours.boxes[order][same] - boxes[same] - (0, 0, 1, 1)).max() <= 2


def test_boxes_are_those_of_the_masks_and_the_best_come_first(model):
    proposed = propose(noise(240, 320), model, LOOSE)
    assert (proposed.height, proposed.width) == (240, 320)
    assert (np.diff(proposed.quality) <= 0).all()
    assert proposed.quality.dtype == np.float32
    for mask, box in zip(proposed.masks, proposed.boxes, strict=True):
        rows, columns = ndimage.find_objects(mask.astype(int))[0]
        assert box.tolist() == [columns.start, rows.start, columns.stop, rows.stop]


def test_keeps_the_best_of_all(model):
    whole = propose(noise(240, 320), model, LOOSE)
    few = propose(noise(240, 320), model, replace(LOOSE, keep=5))
    assert len(few) == 5
    assert (few.masks == whole.masks[:5]).all()


def test_fills_holes_as_scipy_does(model):
    image = noise(240, 320)
    frayed = replace(LOOSE, stability=0.3)
    open_, filled = (propose(image, model, replace(frayed, fill_holes=x)) for x in (False, True))
    wanted = np.stack([ndimage.binary_fill_holes(mask) for mask in open_.masks])
    assert (wanted != open_.masks).any()
    assert (filled.masks == wanted).all()


def test_masks_of_large_images_are_small(model):
    image = noise(240, 320)
    whole = propose(image, model, LOOSE)
    small = propose(image, model, replace(LOOSE, max_side=160))
    assert small.masks.shape[1:] == (120, 160)
    assert (small.height, small.width) == (240, 320)
    assert (small.boxes[:, 2:] <= (320, 240)).all()
    iou = overlaps(whole.masks[:, ::2, ::2], small.masks)
    assert np.median(iou.max(axis=1)) > 0.85
    assert len(small) == pytest.approx(len(whole), rel=0.2)


def test_takes_an_embedding_at_hand(model, monkeypatch):
    image, parameters = noise(96, 128), replace(LOOSE, crop_layers=0)
    wanted = propose(image, model, parameters)
    embedding = encode(model, image)
    monkeypatch.setattr(model_module, "encode", None)
    proposed = propose(image, model, parameters, embedding)
    assert len(proposed) > 0
    assert (proposed.masks == wanted.masks).all()


def test_without_thresholds_empty_masks_are_none(model):
    everything = replace(LOOSE, pred_iou=-np.inf, stability=0.0, box_nms=1.0, crop_nms=1.0)
    proposed = propose(noise(96, 128), model, replace(everything, max_side=16))
    assert len(proposed) > 100
    assert proposed.masks.any(axis=(1, 2)).all()


def test_an_image_where_nothing_passes(model):
    proposed = propose(noise(50, 70), model, replace(LOOSE, pred_iou=99.0))
    assert proposed.masks.shape == (0, 50, 70)
    assert proposed.boxes.shape == (0, 4)
    assert len(proposed.quality) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2)])
def test_images_as_thin_as_can_be(model, shape):
    proposed = propose(noise(*shape), model, LOOSE)
    assert proposed.masks.shape[1:] == shape


def test_decodes_the_same_whatever_the_batch(model):
    image = noise(96, 128)
    one = propose(image, model, replace(LOOSE, batch=1, points_per_side=3))
    all_ = propose(image, model, replace(LOOSE, batch=99, points_per_side=3))
    assert len(one) == len(all_) > 0
    assert (one.masks == all_.masks).mean() > 0.999


def test_masks_that_promise_too_little_are_not_made(model):
    embedding = encode(model, noise(96, 128))
    points = np.random.default_rng(0).uniform(0, 96, (20, 2))
    with torch.inference_mode():
        all_, iou = decode(model, embedding, points, -np.inf)
        limit = float(iou.median())
        good, promised = decode(model, embedding, points, limit)
    assert len(iou) == 60
    assert 0 < len(promised) < 60
    torch.testing.assert_close(promised, iou[iou > limit], rtol=0, atol=1e-5)
    torch.testing.assert_close(good, all_[iou > limit], rtol=0, atol=1e-2)


@given(
    st.integers(1, 6).flatmap(lambda n: st.lists(st.booleans(), min_size=12 * n, max_size=12 * n))
)
@settings(max_examples=50, deadline=None)
def test_runs_become_the_masks_again(bits):
    masks = np.array(bits).reshape(-1, 3, 4)
    frame = proposals._Frame((0, 0, 4, 3), (5, 6), (2, 1, 6, 4), (5, 6))
    runs = proposals._runs(torch.from_numpy(masks))
    assert all(counts.sum() == 12 for counts in runs)
    planes = proposals._planes([(frame, counts) for counts in runs], (5, 6))
    assert (planes[:, 1:4, 2:6] == masks).all()
    assert planes.sum() == masks.sum()


class Card:
    """Work that only so many points at a time have room for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def work(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        self.tried.append(len(points))
        if len(points) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return points * 2


def test_batches_halve_when_memory_runs_out():
    card, batches = Card(room=5), Batches(16)
    points = np.arange(40.0).reshape(20, 2)
    assert (np.concatenate(batches.over(points, card.work)) == points * 2).all()
    assert card.tried == [16, 8, 4, 4, 4, 4, 4]
    assert batches.size == 4
    batches.over(points[:4], card.work)
    assert card.tried[-1] == 4  # what was learnt is kept


def test_no_room_for_a_single_point():
    with pytest.raises(torch.OutOfMemoryError):
        Batches(8).over(np.zeros((3, 2)), Card(room=0).work)


def test_proposals_outlive_running_out_of_memory(model, monkeypatch):
    image = noise(96, 128)
    parameters = replace(LOOSE, points_per_side=4, batch=16)
    wanted = propose(image, model, parameters)
    card = Card(room=6)

    def tight(sam, embedding, points, pred_iou):
        card.work(points)
        return decode(sam, embedding, points, pred_iou)

    monkeypatch.setattr(model_module, "decode", tight)
    proposed = propose(image, model, parameters)
    assert card.tried[:3] == [16, 8, 4]
    assert set(card.tried[3:]) == {4}
    assert len(proposed) == len(wanted) > 0
    assert (proposed.masks == wanted.masks).mean() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_does_not_change_the_proposals():
    image = noise(240, 320)
    cpu, cuda = (propose(image, small_sam(device), LOOSE) for device in ("cpu", "cuda:0"))
    # bfloat16 moves some masks over a threshold.
    assert (overlaps(cpu.masks, cuda.masks).max(axis=1) >= 0.9).mean() >= 0.9
