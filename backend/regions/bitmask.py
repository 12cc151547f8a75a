"""Label Studio's bitmask: a PNG as a data URL, foreground where it is opaque."""

import base64
import binascii
import io
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.regions.brush import HALF_OPAQUE
from dgl_rsis import runs
from dgl_rsis.runs import Runs

PNG = "data:image/png;base64,"
MOST_RUNS = 2**22  # of a mask: more are noise, which as runs takes a hundred times its file
# What `decode` may raise for a file that somebody else wrote.
UNREADABLE = (ValueError, OSError, SyntaxError, Image.DecompressionBombError)
# A pixel of a PNG takes bytes while it is decoded: one at a time, whoever else asks.
_DECODING = threading.Lock()


def decode(url: Any, height: int, width: int) -> Runs:
    """The mask of a PNG: what is at least half opaque.

    Raises:
        ValueError, OSError, SyntaxError, DecompressionBombError: no PNG of this size, or noise.
    """
    if not isinstance(url, str) or not url.startswith(PNG):
        raise ValueError("not a PNG as a data URL")
    try:
        data = base64.b64decode(url[len(PNG) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(str(error)) from None
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.size != (width, height):  # before any pixel is decoded
            raise ValueError("the PNG has another size")
        with _DECODING:
            return _runs(_opaque(image))


def _opaque(image: Image.Image) -> NDArray[np.bool_]:
    """(H, W) bool, what is at least half opaque; nothing is transparent without alpha."""
    if not image.has_transparency_data:
        image.load()  # it may be damaged all the same
        return np.ones((image.height, image.width), dtype=np.bool_)
    seen = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return np.asarray(seen.getchannel("A")) >= HALF_OPAQUE


def _runs(mask: NDArray[np.bool_]) -> Runs:
    """`runs.to_runs` of what is no noise.

    Raises:
        ValueError: it is.
    """
    flat = mask.ravel()
    changes = int(np.count_nonzero(flat[1:] != flat[:-1]))
    if changes > MOST_RUNS:
        raise ValueError(f"it changes {changes:,} times, more than {MOST_RUNS:,}: smooth it")
    return runs.to_runs(mask)
