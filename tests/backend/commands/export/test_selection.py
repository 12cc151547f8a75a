import numpy as np
import pytest

from backend.commands.export.selection import Choice, LeftOut, Truth, choose
from backend.regions.records import Annotation, Item, Prediction, Region
from tests.backend.commands.export.examples import region
from tests.backend.studio.exports import H, W, box, mask_of

SQUARE, WIDE, FAR = box(0, 0, 10, 10), box(0, 0, 10, 20), box(30, 40, 40, 60)


def marked(identity: int, by: str, *regions: Region) -> Annotation:
    return Annotation(identity, by, f"2026-01-{identity:02}", tuple(regions))


def item(*annotations: Annotation, predictions: tuple[Prediction, ...] = ()) -> Item:
    return Item(1, "a.png", H, W, annotations, predictions)


def pixels(truth: Truth) -> int:
    return sum(int(mask_of(each.runs).sum()) for each in truth.regions)


ANN, BEN = marked(1, "ann", region(SQUARE)), marked(2, "ben", region(WIDE))


def test_the_newest_counts() -> None:
    assert choose(item(ANN, BEN), Choice()).annotation is BEN
    assert choose(item(BEN, ANN), Choice()).annotation is ANN


def test_of_one_person_the_newest_counts() -> None:
    again = marked(3, "ann", region(FAR))
    truth = choose(item(ANN, BEN, again), Choice(annotator="ann"))
    assert truth.annotation is again
    assert truth.agreement == 0.0  # with ben; with nobody else
    assert choose(item(ANN, again), Choice()).agreement is None


def test_annotations_of_nobody_are_of_different_people() -> None:
    truth = choose(item(marked(1, "", region(SQUARE)), marked(2, "", region(WIDE))), Choice())
    assert truth.agreement == 0.5


def test_somebody_in_particular() -> None:
    assert choose(item(ANN, BEN), Choice(annotator="ann")).annotation is ANN
    with pytest.raises(LeftOut, match="cyd has not marked it"):
        choose(item(ANN, BEN), Choice(annotator="cyd"))


def test_consensus_is_what_more_than_half_marked() -> None:
    third = marked(3, "cyd", region(WIDE), region(FAR))
    truth = choose(item(ANN, BEN, third), Choice(consensus=True))
    (shared,) = truth.regions
    assert truth.annotation is None
    assert (mask_of(shared.runs) == WIDE).all()
    of_two = choose(item(ANN, BEN), Choice(consensus=True))
    assert pixels(of_two) == SQUARE.sum()
    alone = choose(item(ANN), Choice(consensus=True))
    assert alone.annotation is ANN


def test_agreement_is_the_mean_over_labels_and_pairs() -> None:
    one = marked(1, "ann", region(SQUARE), region(FAR, "water"))
    other = marked(2, "ben", region(WIDE), region(FAR, "water"))
    third = marked(3, "cyd", region(WIDE), region(FAR, "water"))
    assert choose(item(one, other), Choice()).agreement == pytest.approx((0.5 + 1) / 2)
    of_three = choose(item(one, other, third), Choice()).agreement
    assert of_three == pytest.approx((0.75 + 0.75 + 1) / 3)
    nothing = item(marked(1, "ann"), marked(2, "ben"))
    assert choose(nothing, Choice(min_agreement=1)).agreement == 1.0


def test_parts_of_one_label_count_together() -> None:
    halves = (region(box(0, 0, 10, 5)), region(box(0, 5, 10, 10)))
    truth = choose(item(ANN, marked(2, "ben", *halves)), Choice(min_agreement=1))
    assert truth.agreement == 1.0


def test_people_who_disagree() -> None:
    with pytest.raises(LeftOut, match=r"2 people agree by 0.50, less than 0.60"):
        choose(item(ANN, BEN), Choice(min_agreement=0.6))
    assert choose(item(ANN), Choice(min_agreement=0.6)).agreement is None


def test_pre_labels() -> None:
    old = Prediction(1, "dgl-1", 0.9, (region(FAR),))
    new = Prediction(2, "dgl-2", 0.5, (region(SQUARE),))
    held = item(predictions=(old, new))
    truth = choose(held, Choice(prelabels=True, min_score=0.5))
    assert (truth.model_version, pixels(truth), truth.annotation) == ("dgl-2", 100, None)
    with pytest.raises(LeftOut, match="nobody"):
        choose(held, Choice())
    with pytest.raises(LeftOut, match="nobody"):
        choose(held, Choice(prelabels=True, annotator="ann"))
    with pytest.raises(LeftOut, match=r"score 0.50, less than 0.60"):
        choose(held, Choice(prelabels=True, min_score=0.6))
    with pytest.raises(LeftOut, match="no pre-label"):
        choose(item(), Choice(prelabels=True))
    corrected = item(ANN, predictions=(new,))
    assert choose(corrected, Choice(prelabels=True)).annotation is ANN


def test_an_empty_annotation_is_an_answer() -> None:
    truth = choose(item(marked(1, "ann")), Choice(prelabels=True))
    assert truth.regions == ()
    assert truth.annotation is not None


def test_masks_are_not_changed() -> None:
    truth = choose(item(ANN, BEN), Choice())
    assert np.array_equal(mask_of(truth.regions[0].runs), WIDE)
