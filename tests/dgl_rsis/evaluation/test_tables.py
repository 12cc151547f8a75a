"""Scores as text and JSON."""

import json

import pytest

from dgl_rsis.evaluation import tables
from dgl_rsis.evaluation.clicks import ClickScores
from dgl_rsis.evaluation.harness import MAJORITY, ClassScores, ExpressionScores
from dgl_rsis.evaluation.parts import ParserScores, ProposalScores


def test_class_text_and_json(class_scores: ClassScores):
    text = tables.class_text(class_scores)
    ladder, per_class, calibration = text.split("\n\n")
    assert ladder.splitlines()[1].split()[:3] == ["majority", "class", "0.371"]
    assert [line.split()[0] for line in ladder.splitlines()[2:]] == ["fields", "all"]
    assert "+62.9" in ladder.splitlines()[3]
    assert per_class.splitlines()[3].split() == ["background", "0.000", "–", "–", "–"]
    numbers = json.loads(json.dumps(tables.class_json(class_scores), allow_nan=False))
    assert numbers["rungs"]["all"]["IoU"] == {"field": 1.0, "road": 1.0, "background": None}
    assert numbers["rungs"][MAJORITY]["mIoU"] == pytest.approx(49 / 66 / 2)
    assert numbers["images"] == 3
    # Of the three classes two are there, always right and never in doubt.
    assert calibration == "expected calibration error: 0.000 of pixels, 0.000 of masks"
    (pixels,), (masks,) = (numbers["calibration"][of]["bins"] for of in ("pixels", "masks"))
    assert (pixels["count"], pixels["confidence"], pixels["right"]) == (3 * 24 * 22, 1, 1)
    assert (masks["count"], masks["IoU"]) == (6, 1)


def test_expression_text_and_json(expression_scores: ExpressionScores):
    text = tables.expression_text(expression_scores)
    ladder, strata = (block.splitlines() for block in text.split("\n\n"))
    assert ladder[0].split()[-4:] == ["best", "of", "3", "s/expression"]
    assert [line.split()[0] for line in ladder[1:]] == ["silent", "wrong", "half", "oracle"]
    assert ladder[2].split()[1:4] == ["0.500", "+50.0", "0.333"]
    assert ladder[4].split()[-2:] == ["–", "–"]
    assert "attribute (2)" in strata[0]
    assert strata[2].split() == ["wrong", "0.000", "1.000"]
    whole = json.dumps(tables.expression_json(expression_scores), allow_nan=False)
    numbers = json.loads(whole)
    assert numbers["rungs"]["half"]["mIoU"] == 0.5
    assert numbers["rungs"]["half"]["Pr@0.5"] == 1
    assert numbers["rungs"]["wrong"]["best_of_top_k"] == 1
    assert numbers["rungs"]["wrong"]["strata"]["attribute"]["mIoU"] == 0
    assert numbers["asked"][1]["IoU"] == {"silent": 0, "wrong": 0, "half": 0.5, "oracle": 1}


def test_proposal_text_and_json(proposal_scores: ProposalScores):
    text = tables.proposal_text(proposal_scores)
    assert text.startswith("2 objects of 5 pixels or more in 1 images, 3 proposals an image")
    assert text.splitlines()[-1].split() == ["all", "0.750", "1.000", "0.857"]
    numbers = json.loads(json.dumps(tables.proposal_json(proposal_scores)))
    assert numbers["budgets"]["2"]["mean_best_IoU"] == pytest.approx(15 / 42)


def test_parser_text_and_json(parser_scores: ParserScores):
    text = tables.parser_text(parser_scores)
    assert text.splitlines()[2].split()[-3:] == ["2", "1", "0.5000"]
    assert "'field' instead of 'golf field': A golf field" in text
    assert tables.parser_json(parser_scores)["naming_a_second_accuracy"] == 0.5


def test_click_text_and_json(click_scores: ClickScores):
    numbers = tables.click_json(click_scores)
    assert numbers["starts"]["nothing"]["mean_IoU"]["3"] == pytest.approx(0.86)
    assert numbers["saved"]["NoC@80"] == pytest.approx(1.0)
    assert numbers["click_ms_p50"] == pytest.approx(20)
    text = tables.click_text(click_scores)
    assert "2 objects of 100 pixels or more in 1 images" in text
    assert "saves: 1.00 to 80 %" in text
