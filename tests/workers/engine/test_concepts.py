"""A model of concepts behind the engine: a stand-in knows colours by name, all else is real."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.classes import prototypes
from dgl_rsis.classes.prototypes import Evidence
from dgl_rsis.concepts.model import Answer, Box, ConceptModel
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import RGB, Floats, InputError, Label, Prompt
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_folders import sam2_folder, sam3_folder
from workers.engine.answers import to_results
from workers.engine.concepts import ConceptSegmenter
from workers.engine.loading import load_model, load_segmenter
from workers.engine.providers import RegionProvider, Remembered
from workers.images.cache import ImageCache
from workers.images.pictures import Picture
from workers.processes.model_worker import self_test
from workers.settings import WorkerSettings

SIDE = 128
COLOURS = {"building": (200, 40, 40), "river": (40, 40, 200), "lake": (40, 120, 220)}
GREY = (120, 120, 120)


class Colours(ConceptModel):
    """Sees of a concept what has its colour, each connected square as one thing.

    Attributes:
        encoded: how often it looked at a window.
    """

    encoded = 0

    @property
    def side(self) -> int:
        return SIDE

    def encode(self, window: RGB) -> Tensor:
        Colours.encoded += 1
        plane = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float()
        return F.interpolate(plane, (SIDE, SIDE))

    def ask(self, states: Tensor, phrases: Sequence[str], batch: int = 1) -> list[Answer]:
        return [self._answer(states, COLOURS.get(phrase, (1, 2, 3))) for phrase in phrases]

    def like(self, states: Tensor, boxes: Sequence[Box], phrase: str = "") -> Answer:
        left, top, right, bottom = (np.array(boxes[0]) * SIDE).astype(int)
        middle = states[0, :, (top + bottom) // 2, (left + right) // 2]
        return self._answer(states, tuple(middle.tolist()))

    def _answer(self, states: Tensor, colour: Sequence[float]) -> Answer:
        from scipy import ndimage

        near = (states[0] - torch.tensor(colour)[:, None, None]).abs().amax(dim=0) < 9
        numbers, count = ndimage.label(near.numpy())
        masks = [torch.from_numpy(numbers == i + 1) for i in range(count)]
        planes = torch.stack([*masks, torch.zeros(SIDE, SIDE, dtype=torch.bool)])
        scores = torch.tensor([0.9] * count + [0.0])
        return Answer(0.95 if count else 0.02, scores, (planes * 2.0 - 1) * 9, (near * 2.0 - 1) * 9)


def engine(cache: ImageCache | None = None) -> ConceptSegmenter:
    remembered = Remembered(cache or ImageCache(0))
    model = Colours("colours", None, None, None, "f" * 64, "cpu")
    return ConceptSegmenter(model, RegionProvider(remembered), remembered)


def picture(height: int = 128, width: int = 128, digest: str = "") -> Picture:
    image = np.full((height, width, 3), GREY, dtype=np.uint8)
    image[:, width // 2 - 8 : width // 2 + 8] = COLOURS["river"]
    image[8:28, 8:28] = COLOURS["building"]
    image[50:70, 8:38] = COLOURS["building"]
    image[90:120, width - 50 : width - 20] = COLOURS["building"]
    return Picture(image, digest)


LABELS = (Label("building"), Label("water", synonyms=("river",)), Label("road"))


def test_each_class_is_what_its_phrases_show() -> None:
    shown = picture()
    found = engine().segment(shown, LABELS, 1)
    assert [each.label for each in found.classes] == ["building", "water"]
    image = shown.pixels
    for each in found.classes:
        colour = COLOURS["building" if each.label == "building" else "river"]
        assert (each.mask == (image == colour).all(axis=2)).mean() > 0.995
        assert each.score > 0.9
    assert (found.class_map[(image == GREY).all(axis=2)] == 0).mean() > 0.99
    assert found.margin > 0.8


def test_objects_are_the_instances() -> None:
    found = engine().segment(picture(), LABELS, 1)
    results = to_results(found, classes=True, objects=True)
    levels = [(each.label, each.level) for each in results]
    assert levels.count(("building", "object")) == 3
    assert levels.count(("water", "object")) == 1


def test_what_no_instance_holds_is_an_object_too() -> None:
    class Blind(Colours):
        def _answer(self, states: Tensor, colour: Sequence[float]) -> Answer:
            seen = super()._answer(states, colour)
            return replace(seen, scores=seen.scores * 0)

    segmenter = engine()
    segmenter._model = Blind("colours", None, None, None, "f" * 64, "cpu")
    found = segmenter.segment(picture(), LABELS, 1)
    assert [each.label for each in found.objects].count("building") == 3


def test_a_threshold_is_the_evidence_that_a_label_needs() -> None:
    strict = replace(LABELS[0], threshold=0.96)
    found = engine().segment(picture(), (strict, *LABELS[1:]), 1)
    assert [each.label for each in found.classes] == ["water"]


def test_a_background_keeps_its_pixels_from_others() -> None:
    labels = (LABELS[0], Label("none", synonyms=("river",), background=True))
    found = engine().segment(picture(), labels, 1)
    assert [each.label for each in found.classes] == ["building"]


def test_a_label_that_denies_is_never_painted() -> None:
    found = engine().segment(picture(), (Label("non building"), LABELS[1]), 1)
    assert [each.label for each in found.classes] == ["water"]


def test_things_of_impossible_sizes_are_none() -> None:
    large = replace(picture(), resolution=Resolution(40.0, 0.0, "task"))
    small = replace(picture(), resolution=Resolution(0.5, 0.0, "task"))
    car = (Label("car", synonyms=("building",)),)
    assert engine().segment(small, (LABELS[0],), 1).classes
    assert not engine().segment(large, car, 1).classes  # cars of a kilometre


def test_large_images_are_seen_in_windows() -> None:
    shown = picture(300, 420)
    found = engine().segment(shown, LABELS, 1)
    river = next(each.mask for each in found.classes if each.label == "water")
    truth = (shown.pixels == COLOURS["river"]).all(axis=2)
    assert (river & truth).sum() / (river | truth).sum() > 0.97
    objects = [each for each in found.objects if each.label == "building"]
    assert len(objects) == 3  # though windows show some of them twice


def test_what_was_learnt_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, segmenter = picture(), engine()
    marked = np.full(shown.pixels.shape[:2], -1, dtype=np.int32)
    building = (shown.pixels == COLOURS["building"]).all(axis=2)
    marked[building] = 0
    labels = (Label("building"), Label("ship"))  # of the second no phrase shows anything
    learnt = segmenter.marked_examples(shown, marked, ("ship",))
    assert learnt.labels == ("ship",)
    before = segmenter.segment(shown, labels, 1)
    assert [each.label for each in before.classes] == ["building"]

    def judge(keys: Floats, *_: object) -> Evidence:
        red = keys[:, 1] > 3  # what people corrected to be ships
        logits = np.where(red[:, None], (-12.0, 12.0), (0.0, 0.0)).astype(np.float32)
        return Evidence(logits, np.array([True, True]))

    monkeypatch.setattr(prototypes, "judge", judge)
    after = segmenter.segment(shown, labels, 1, learnt)
    ship = next(each.mask for each in after.classes if each.label == "ship")
    assert (ship & building).sum() > 0.5 * building.sum()
    assert not (ship & ~building).any()  # and nowhere where nothing was


def test_a_sentence_is_ordered_by_geometry() -> None:
    segmentation, label = engine().refer(picture(), "the building right of the river", LABELS, 1)
    assert label == "building"
    best = segmentation.candidates[0].mask
    assert best[100, 90]
    assert not best[:, :64].any()
    lowest = engine().find(picture(), "the lowest building on the left", ResParameters())
    assert lowest.candidates[0].mask[60, 20]


def test_several_targets_are_one_answer() -> None:
    segmentation, _ = engine().refer(picture(), "the two buildings on the left", LABELS, 1)
    mask = segmentation.candidates[0].mask
    assert mask[10, 10]
    assert mask[60, 20]
    assert not mask[100, 90]


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("the ship", "nothing here is a 'ship': that there is one has the probability 2%"),
        ("the building left of the ship", "nothing here is a 'ship'"),
        ("the building between the river and the ship", "nothing here is a 'ship'"),
    ],
)
def test_what_is_absent_gets_the_reason(sentence: str, reason: str) -> None:
    segmentation, _ = engine().refer(picture(), sentence, LABELS, 1)
    assert segmentation.candidates == ()
    assert reason in segmentation.reason


def test_a_noun_without_label_has_that_of_what_it_is() -> None:
    labels = (Label("road"), Label("flow", synonyms=("river",)))
    segmentation, label = engine().refer(picture(), "the river", labels, 1)
    assert segmentation.candidates
    assert label == "flow"


def test_an_exemplar_is_a_box_prompt() -> None:
    shown = picture()
    exemplar = np.zeros((128, 128), dtype=bool)
    exemplar[9:27, 9:27] = True
    marked = np.zeros_like(exemplar)
    alike = engine().alike(shown, exemplar, marked, 1)
    masks = [each.mask for each in alike.segments("building")]
    assert len(masks) == 2
    assert not any(mask[15, 15] for mask in masks)
    marked[90:120, 78:108] = True
    assert len(engine().alike(shown, exemplar, marked, 1)) == 1
    with pytest.raises(InputError, match="exemplar is empty"):
        engine().alike(shown, np.zeros_like(exemplar), marked, 1)


def test_elsewhere_its_concept_is_sought_by_size_and_form() -> None:
    exemplar = np.zeros((128, 128), dtype=bool)
    exemplar[50:70, 8:38] = True
    look = engine().look(picture(), exemplar, 1)
    assert len(look) == 1
    other = picture()
    other.pixels[50:70, 8:38] = GREY
    other.pixels[8:28, 80:110] = COLOURS["building"]  # of its size
    found = engine().alike_elsewhere(other, look, "building", 1)
    masks = [each.mask for each in found.segments("building")]
    assert masks[0][15, 90]
    assert not len(engine().alike_elsewhere(other, look, "road", 1))


def test_a_mask_has_the_label_with_the_most_evidence() -> None:
    mask = np.zeros((128, 128), dtype=bool)
    mask[0, 64] = True
    assert engine().label_of(picture(), mask, LABELS, 1) == "water"


def test_one_pass_answers_every_question() -> None:
    segmenter, shown = engine(ImageCache(2**24)), picture(digest="d")
    segmenter.segment(shown, LABELS, 1)
    before = Colours.encoded
    segmenter.refer(shown, "the building right of the river", LABELS, 1)
    segmenter.point(shown, Prompt(positive=np.array([[15.0, 15.0]], dtype=np.float32)))
    assert Colours.encoded == before


def test_pixels_that_show_nothing_get_no_label() -> None:
    valid = np.ones((128, 128), dtype=bool)
    valid[:40] = False
    found = engine().segment(replace(picture(), valid=valid), LABELS, 1)
    assert not found.class_map[:40].any()
    assert found.class_map[40:].any()


def test_settings_that_name_a_sam3_load_one(tmp_path: Path) -> None:
    settings = WorkerSettings(model=str(sam3_folder()), proposals=str(sam3_folder()))
    model = load_model(settings)
    self_test(model)
    refined = model.point(picture(), Prompt(box=(8.0, 8.0, 28.0, 28.0)))
    assert refined.mask.shape == (128, 128)
    other = load_model(settings.model_copy(update={"proposals": "regions"}))
    assert model.model_version != other.model_version
    with pytest.raises(ModelError, match="here a CLIP is needed"):
        load_segmenter(settings)


def test_settings_that_name_a_sam2_as_model_are_refused() -> None:
    with pytest.raises(ModelError, match="knows no words"):
        load_model(WorkerSettings(model=str(sam2_folder())))


def test_clicks_by_a_sam2_folder() -> None:
    settings = WorkerSettings(proposals=str(sam2_folder()))
    model = load_model(settings)
    refined = model.point(picture(), Prompt(box=(8.0, 8.0, 28.0, 28.0)))
    assert refined.mask.shape == (128, 128)
    assert sam2_folder().name in model.model_version
