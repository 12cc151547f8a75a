from pathlib import Path

import pytest

from dgl_rsis.models import ClipModel, load_clip
from tests.dgl_rsis.evaluation_cases import class_scores as class_scores
from tests.dgl_rsis.evaluation_cases import expression_scores as expression_scores
from tests.dgl_rsis.evaluation_cases import parser_scores as parser_scores
from tests.dgl_rsis.evaluation_cases import proposal_scores as proposal_scores
from tests.dgl_rsis.labelled_pictures import own as own
from tests.dgl_rsis.labelled_pictures import rrsisd as rrsisd


@pytest.fixture(scope="session")
def clip(model_folder: Path) -> ClipModel:
    """The small untrained model."""
    return load_clip(str(model_folder))
