"""Ladders over images and expressions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dgl_rsis.evaluation import harness
from dgl_rsis.evaluation.datasets.samples import DatasetError, Referral, Sample
from dgl_rsis.evaluation.harness import (
    MAJORITY,
    ORACLE,
    Case,
    ClassScores,
    ExpressionScores,
    Predicted,
    Worst,
)
from dgl_rsis.evaluation.scores import IGNORE, Overlap
from tests.dgl_rsis.evaluation.cases import (
    NAMES,
    SIDE,
    TARGETS,
    fields,
    image_of,
    knowing,
    nothing,
    proposals,
    referrals,
    sample,
    square,
)


def test_a_ladder_starts_with_the_majority_class(class_scores: ClassScores):
    assert list(class_scores.rungs) == [MAJORITY, "fields", "all"]
    majority, fields_only, knows = class_scores.rungs.values()
    assert np.array_equal(majority.counts, fields_only.counts)
    assert knows.miou == knows.pixel_accuracy == 1
    assert knows is class_scores.last
    assert class_scores.images == 3
    assert knows.counts.sum() == 3 * SIDE * (SIDE - 2)


def test_the_worst_images_of_the_last_rung_are_kept():
    samples = [sample(name, rows) for name, rows in zip("abcd", (4, 12, 1, 9), strict=True)]
    scores = harness.evaluate_classes(samples, NAMES, {"all": knowing, "fields": fields}, worst=3)
    # Only fields are found: the fewer there are, the worse.
    assert [case.name for case in scores.worst] == ["b", "d", "a"]
    worst = scores.worst[0]
    assert worst.score == pytest.approx(10 / 22 / 2)
    assert worst.truth[:, 0].tolist() == [2] * 12 + [0] * 2 + [1] * 10
    assert (worst.predicted == 1).all()


def test_pixels_without_a_label_are_background_where_there_is_one():
    truth = np.full((4, 4), 2, np.uint16)
    blank = [Sample("a", image_of(truth), truth)]
    as_miss = harness.evaluate_classes(blank, NAMES, {"nothing": nothing})
    as_background = harness.evaluate_classes(blank, NAMES, {"nothing": nothing}, unlabelled=2)
    assert as_miss.last.miou == 0
    assert as_background.last.miou == 1


def test_what_is_claimed_is_calibrated_where_the_truth_is_known():
    truth = np.full((4, 4), 1, np.uint16)
    truth[0] = IGNORE
    doubtful = Predicted(np.full((4, 4), 2, np.uint16), np.full((4, 4), 0.75, np.float32))
    doubtful.class_map[1], doubtful.class_map[2] = 1, 0
    scores = harness.evaluate_classes(
        [Sample("a", image_of(truth), truth)], NAMES, {"all": lambda image: doubtful}
    )
    assert scores.pixels.rows == [(11 / 15, 8, 0.75, 0.5)]  # four without a label claim nothing
    # Nothing is field; of the twelve known pixels that are road four were found.
    assert scores.masks.rows == [(11 / 15, 2, 0.75, pytest.approx((0 + 4 / 12) / 2))]


def test_progress_is_told_and_no_images_are_an_error():
    told: list[str] = []
    samples = [sample("a", 4), sample("b", 12)]
    harness.evaluate_classes(samples, NAMES, {"all": knowing}, progress=told.append)
    assert told == ["a", "b"]
    with pytest.raises(DatasetError, match="no images"):
        harness.evaluate_classes([], NAMES, {"all": knowing})


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, math.nan])), st.integers(0, 4))
def test_worst_keeps_the_lowest_scores(scores: list[float], most: int):
    worst, blank = Worst(most), np.zeros((1, 1), np.uint16)
    for i, score in enumerate(scores):
        if worst.wants(score):
            worst.add(Case(str(i), score, np.zeros((1, 1, 3), np.uint8), ("a",), blank, blank))
    known = [(s, i) for i, s in enumerate(scores) if not math.isnan(s)]
    expected = [str(i) for _, i in sorted(known)[:most]]
    assert [case.name for case in worst.cases] == expected


def test_first_answers_and_the_best_of_several(expression_scores: ExpressionScores):
    scores = expression_scores
    assert scores.rungs == ("silent", "wrong", "half", ORACLE)
    assert [o.iou for o in scores.first("silent")] == [0, 0, 0, 0]
    assert scores.first("silent")[0] == Overlap(0, 36)  # what was not found counts in oIoU
    assert [o.iou for o in scores.first("wrong")] == [1, 0, 1, 0]
    assert [o.iou for o in scores.best("wrong")] == [1, 1, 1, 1]
    assert [o.iou for o in scores.first("half")] == [0.5, 0.5, 0.5, 0.5]
    assert [o.iou for o in scores.first("wrong", "attribute")] == [0, 0]
    assert scores.strata == ("attribute", "image-relative")
    assert (scores.images, len(scores.asked)) == (2, 4)


def test_the_oracle_is_above_every_rung(expression_scores: ExpressionScores):
    """Here the pool holds no good mask, but one of the answers is right."""
    assert [o.iou for o in expression_scores.first(ORACLE)] == [1, 1, 1, 1]


def test_the_oracle_takes_the_best_of_the_pool():
    near = square(2, 3)
    scores = harness.evaluate_expressions(
        list(referrals())[:1],
        lambda image: "encoded",
        {"silent": lambda encoded, text: []},
        lambda encoded: proposals(square(18, 18), near, TARGETS["right"]),
    )
    assert scores.first(ORACLE) == [Overlap(30, 42)]


def test_only_the_first_answers_count():
    answers = [square(18, 18), square(18, 0), square(0, 18), TARGETS["left"]]
    scores = harness.evaluate_expressions(
        list(referrals())[:1],
        lambda image: "encoded",
        {"late": lambda encoded, text: answers},
        lambda encoded: proposals(square(18, 18)),
        top_k=3,
    )
    assert scores.best("late")[0].iou == scores.first(ORACLE)[0].iou == 0


def test_an_image_is_encoded_once_for_all_its_expressions():
    encoded: list[int] = []
    told: list[str] = []
    scores = harness.evaluate_expressions(
        referrals(),
        lambda image: encoded.append(1) or len(encoded),
        {"which": lambda number, text: [TARGETS["left"]] if number == 1 else []},
        lambda number: proposals(square(0, 0)),
        progress=told.append,
    )
    assert len(encoded) == 2
    assert told == ["a", "a", "b", "b"]
    assert [o.iou for o in scores.first("which")] == [1, 0, 0, 0]


def test_masks_are_compared_at_the_size_of_the_protocol():
    """Nearest: of each pixel the centre, as Pillow resizes."""
    rng = np.random.default_rng(0)
    truth, answer = rng.random((2, 37, 50)) < 0.5
    asked = [Referral("a", np.zeros((37, 50, 3), np.uint8), "it", truth)]
    scores = harness.evaluate_expressions(
        asked,
        lambda image: "encoded",
        {"one": lambda encoded, text: [answer]},
        lambda encoded: proposals(answer),
        side=48,
    )
    small = [
        np.asarray(Image.fromarray(m).resize((48, 48), Image.Resampling.NEAREST))
        for m in (truth, answer)
    ]
    expected = Overlap(int((small[0] & small[1]).sum()), int((small[0] | small[1]).sum()))
    assert scores.first("one") == scores.first(ORACLE) == [expected]


def test_no_expressions_are_an_error():
    with pytest.raises(DatasetError, match="no expressions"):
        harness.evaluate_expressions(
            [],
            lambda image: "encoded",
            {"silent": lambda encoded, text: []},
            lambda encoded: proposals(square(0, 0)),
        )
