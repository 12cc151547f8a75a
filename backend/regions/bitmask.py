"""Label Studio's bitmask: a PNG as a data URL, foreground where it is opaque."""

import base64
import binascii
import io
from typing import Any

import numpy as np
from PIL import Image

from backend.regions.brush import HALF_OPAQUE
from dgl_rsis import runs
from dgl_rsis.runs import Runs

PNG = "data:image/png;base64,"
# What `decode` may raise for a file that somebody else wrote.
UNREADABLE = (ValueError, OSError, SyntaxError, Image.DecompressionBombError)


def decode(url: Any, height: int, width: int) -> Runs:
    """The mask of a PNG: what is at least half opaque.

    Raises:
        ValueError, OSError, SyntaxError, DecompressionBombError: no PNG of this size.
    """
    if not isinstance(url, str) or not url.startswith(PNG):
        raise ValueError("not a PNG as a data URL")
    try:
        data = base64.b64decode(url[len(PNG) :], validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.size != (width, height):  # before any pixel is decoded
            raise ValueError("the PNG has another size")
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return runs.to_runs(alpha >= HALF_OPAQUE)
