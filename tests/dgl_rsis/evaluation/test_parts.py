"""Proposals and the parser."""

import math

import numpy as np
import pytest

from dgl_rsis.evaluation import parts, tables
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances
from dgl_rsis.evaluation.parts import ParserScores, ProposalScores
from dgl_rsis.types import Decoupled
from tests.dgl_rsis.evaluation.cases import proposals, square


def test_proposals_count_by_their_quality(proposal_scores: ProposalScores):
    scores = proposal_scores
    assert scores.objects == 2  # the third is too small
    assert scores.proposals == 3
    assert scores.best[1].tolist() == [0, 0]
    assert scores.best[2].tolist() == pytest.approx([30 / 42, 0])
    assert scores.best[None].tolist() == pytest.approx([30 / 42, 1])
    assert scores.average_recall(None) == pytest.approx((5 / 10 + 1) / 2)  # 0.5 … 0.7 are reached
    assert scores.mean_best(None) == pytest.approx((30 / 42 + 1) / 2)
    (case,) = scores.worst
    assert (case.predicted > 0).sum() == 72


def test_without_objects_there_is_nothing_to_score():
    images = [Instances("a", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int32))]
    with pytest.raises(DatasetError, match="no object of 100 pixels"):
        parts.evaluate_proposals(images, lambda image: proposals(square(0, 0)))
    with pytest.raises(DatasetError, match="no object"):
        parts.evaluate_proposals([], lambda image: proposals(square(0, 0)))


def test_images_without_objects_do_not_count_as_misses():
    blank = np.zeros((8, 8), np.int32)
    square = blank.copy()
    square[2:6, 2:6] = 1
    images = [
        Instances(name, np.zeros((8, 8, 3), np.uint8), numbers)
        for name, numbers in (("blank", blank), ("square", square))
    ]
    scores = parts.evaluate_proposals(images, lambda image: proposals(square > 0), min_area=1)
    assert scores.best[None].tolist() == [1]
    assert [case.name for case in scores.worst] == ["square"]


def test_nouns_are_right_when_they_are_the_category(parser_scores: ParserScores):
    assert (parser_scores.sentences, parser_scores.right) == (6, 4)
    # "ships" names a second category, "damaged" and a second ship do not.
    assert (parser_scores.ambiguous, parser_scores.ambiguous_right) == (2, 1)
    assert [w.noun for w in parser_scores.wrong] == ["field", "dam"]
    assert parser_scores.accuracy == pytest.approx(4 / 6)


def test_no_second_category_has_no_share():
    scores = parts.evaluate_parser(
        [NamedSentence("A dam", "dam")], lambda text: Decoupled(text, "dam")
    )
    assert math.isnan(scores.ambiguous_accuracy)
    assert tables.parser_json(scores)["naming_a_second_accuracy"] is None
    with pytest.raises(DatasetError, match="no sentences"):
        parts.evaluate_parser([], lambda text: Decoupled(text, "dam"))
