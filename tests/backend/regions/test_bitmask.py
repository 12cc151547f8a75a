import base64
import io

import numpy as np
import pytest
from PIL import Image

from backend.regions import bitmask
from dgl_rsis import runs


def url(pixels: np.ndarray) -> str:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return bitmask.PNG + base64.b64encode(buffer.getvalue()).decode()


def test_foreground_is_what_is_at_least_half_opaque() -> None:
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[..., 3] = [[0, 127, 128], [255, 1, 200]]
    mask = runs.from_runs(bitmask.decode(url(pixels), 2, 3))
    assert mask.tolist() == [[False, False, True], [True, False, True]]


@pytest.mark.parametrize(
    "broken",
    [None, "", "data:image/jpeg;base64,AAAA", bitmask.PNG + "%", bitmask.PNG + "AAAA",
     url(np.zeros((3, 2, 4), dtype=np.uint8))],
)  # fmt: skip
def test_what_cannot_be_read(broken: object) -> None:
    with pytest.raises(bitmask.UNREADABLE):
        bitmask.decode(broken, 2, 3)
