"""Tasks that hold regions of every format, all of one small image."""

import base64
import io
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import mask2rle
from numpy.typing import NDArray
from PIL import Image

H, W = 40, 60
SIZE = (H, W)


def square(row: int, column: int, side: int = 6) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[row : row + side, column : column + side] = True
    return mask


def brush(mask: NDArray[np.bool_], label: str = "ship", **more: Any) -> dict[str, Any]:
    rle = list(mask2rle(mask.astype(np.uint8) * 255))
    value = {"format": "rle", "rle": rle, "brushlabels": [label]}
    return sized({"type": "brushlabels", "value": value, **more})


def bitmask(mask: NDArray[np.bool_], **more: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
    pixels[..., 3] = mask * 255
    Image.fromarray(pixels).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    value = {"imageDataURL": url, "bitmasklabels": ["ship"]}
    return sized({"type": "bitmasklabels", "value": value, **more})


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    value = {"points": [list(p) for p in points], "closed": True, "polygonlabels": ["ship"]}
    return sized({"type": "polygonlabels", "value": value})


def sized(region: dict[str, Any]) -> dict[str, Any]:
    return {"original_height": H, "original_width": W, **region}


def holding(*regions: Any, kind: str = "predictions") -> dict[str, Any]:
    return {"id": 1, kind: [{"result": list(regions)}]}
