from pathlib import Path

import pytest

from dgl_rsis.clip.model import ClipModel, load_clip
from tests.dgl_rsis.evaluation.cases import class_scores as class_scores
from tests.dgl_rsis.evaluation.cases import click_scores as click_scores
from tests.dgl_rsis.evaluation.cases import expression_scores as expression_scores
from tests.dgl_rsis.evaluation.cases import parser_scores as parser_scores
from tests.dgl_rsis.evaluation.cases import proposal_scores as proposal_scores
from tests.dgl_rsis.evaluation.labelled_pictures import own as own
from tests.dgl_rsis.evaluation.labelled_pictures import rrsisd as rrsisd


@pytest.fixture(scope="session")
def clip(model_folder: Path) -> ClipModel:
    """The small untrained model."""
    return load_clip(str(model_folder))
