from pathlib import Path

import pytest

from dgl_rsis.models import ClipModel, load_clip


@pytest.fixture(scope="session")
def clip(model_folder: Path) -> ClipModel:
    """The small untrained model."""
    return load_clip(str(model_folder))
