"""Scores as pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from dgl_rsis.evaluation import plots
from dgl_rsis.evaluation.harness import Case, ClassScores, ExpressionScores
from dgl_rsis.evaluation.parts import ProposalScores
from tests.dgl_rsis.evaluation.cases import SIDE


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 3
        return picture.size


def test_pictures_of_classes(class_scores: ClassScores, tmp_path: Path):
    paths = plots.plot_classes(class_scores, tmp_path / "new" / "plots")
    names = [path.name for path in paths]
    assert names == [
        "ladder.png", "classes.png", "confusion.png", "worst-1-a.png", "worst-2-b.png",
    ]  # fmt: skip
    assert {path.name for path in paths[0].parent.iterdir()} == set(names)
    sizes = [size_of(path) for path in paths]
    assert sizes[0][0] == sizes[1][0] == 8 * plots.DPI
    assert sizes[2][0] > sizes[2][1] > 4 * plots.DPI


def test_pictures_of_expressions(expression_scores: ExpressionScores, tmp_path: Path):
    paths = plots.plot_expressions(expression_scores, tmp_path)
    names = [path.name for path in paths]
    assert names[:3] == ["ladder.png", "strata.png", "worst-1-a_the_left_one.png"]
    assert len(names) == 2 + 4
    assert all(min(size_of(path)) > SIDE for path in paths)


def test_pictures_of_proposals(proposal_scores: ProposalScores, tmp_path: Path):
    paths = plots.plot_proposals(proposal_scores, tmp_path)
    assert [path.name for path in paths] == ["best.png", "worst-1-a.png"]
    assert size_of(paths[0]) == (7 * plots.DPI, round(4.5 * plots.DPI))


def test_a_large_case_is_drawn_smaller():
    numbers = np.zeros((2000, 100), np.uint16)
    numbers[:1000] = 1
    image = np.zeros((2000, 100, 3), np.uint8)
    page = plots.comparison(Case("a" * 200, 0.5, image, ("field",), numbers, numbers * 0))
    assert page.dtype == np.uint8
    assert 600 < page.shape[0] < 800
