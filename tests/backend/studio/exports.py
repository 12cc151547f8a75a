"""Tasks as Label Studio exports them, made for tests."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backend.regions import brush
from dgl_rsis.runs import Runs, from_runs, to_runs
from dgl_rsis.types import Json, Mask

H, W = 40, 60


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = (H, W)) -> Mask:
    mask = np.zeros(size, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def region(kind: str, labels: Sequence[str], value: Json, **more: Any) -> Json:
    return {
        "id": "r1", "type": kind, "from_name": "mask", "to_name": "image",
        "original_width": W, "original_height": H, "image_rotation": 0, "origin": "manual",
        "value": {**value, kind: list(labels)}, **more,
    }  # fmt: skip


def brushed(mask: Mask, *labels: str, **more: Any) -> Json:
    height, width = mask.shape
    value = {"format": "rle", "rle": brush.encode(to_runs(mask))}
    size = {"original_width": width, "original_height": height}
    return region("brushlabels", labels, value, **{**size, **more})


def bitmap(mask: Mask, *labels: str) -> Json:
    buffer = io.BytesIO()
    pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
    pixels[..., 3] = mask * 255
    Image.fromarray(pixels).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return region("bitmasklabels", labels, {"imageDataURL": url})


def annotation(*result: Json, identity: int = 1, by: Any = 1, **more: Any) -> Json:
    time = {"created_at": "2026-01-01T00:00:00Z", "updated_at": f"2026-01-01T00:00:{identity:02}Z"}
    return {
        "id": identity, "completed_by": by, "result": list(result), "was_cancelled": False,
        "prediction": {}, "parent_prediction": None, **time, **more,
    }  # fmt: skip


def prediction(
    *result: Json, identity: int = 1, version: str = "dgl-1", score: float = 0.5
) -> Json:
    return {"id": identity, "result": list(result), "model_version": version, "score": score}


def task(identity: int, *annotations: Json, predictions: Sequence[Json] = (), **data: Any) -> Json:
    image = {"image": f"/data/local-files/?d=tiles/{identity:03}.png"}
    return {
        "id": identity, "annotations": list(annotations), "predictions": list(predictions),
        "data": {**image, **data}, "meta": {},
    }  # fmt: skip


def written(path: Path, *tasks: Json) -> Path:
    path.write_text(json.dumps(list(tasks)), "utf-8")
    return path


def mask_of(runs: Runs) -> Mask:
    return from_runs(runs)


def _oval() -> Mask:
    rows, columns = np.mgrid[:H, :W] + 0.5
    oval: Mask = ((columns - 30) / 12) ** 2 + ((rows - 20) / 6) ** 2 <= 1
    return oval


# Regions of the label "ship" and the pixels that each covers: those whose centres lie inside.
DRAWN: dict[str, tuple[Json, Mask]] = {
    "brush": (brushed(box(8, 12, 24, 30), "ship"), box(8, 12, 24, 30)),
    "bitmask": (bitmap(box(8, 12, 24, 30), "ship"), box(8, 12, 24, 30)),
    "rectangle with negative sides": (
        region(
            "rectanglelabels",
            ["ship"],
            {"x": 50, "y": 60, "width": -30, "height": -40, "rotation": 0},
        ),
        box(8, 12, 24, 30),
    ),
    "turned rectangle": (
        # A quarter clockwise: what went right goes down, what went down goes left.
        region(
            "rectanglelabels",
            ["ship"],
            {"x": 50, "y": 20, "width": 30, "height": 10, "rotation": 90},
        ),
        box(8, 26, 26, 30),
    ),
    "polygon": (
        region("polygonlabels", ["ship"], {"points": [[20, 20], [50, 20], [50, 60], [20, 60]]}),
        box(8, 12, 24, 30),
    ),
    "polygon with corners outside": (
        region("polygonlabels", ["ship"], {"points": [[-3, 10], [50, 10], [50, 104], [-3, 104]]}),
        box(4, 0, H, 30),
    ),
    "ellipse": (
        region("ellipselabels", ["ship"], {"x": 50, "y": 50, "radiusX": 20, "radiusY": 15}),
        _oval(),
    ),
    "ellipse with negative radii": (
        region("ellipselabels", ["ship"], {"x": 50, "y": 50, "radiusX": -20, "radiusY": -15}),
        _oval(),
    ),
}
