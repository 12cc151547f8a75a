"""The images of a drill, each another cut of the samples, and what the model says of each."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.project import label_config
from backend.regions.writing import to_predictions
from tests.drill.hooks.sitecustomize import POISON
from workers.engine.answers import answer
from workers.images.cache import ImageCache
from workers.images.pictures import Pictures
from workers.processes.segment import load_model
from workers.settings import WorkerSettings

SAMPLES = Path(__file__).parents[2] / "samples"
SIDE = 128  # pixels: small, so that a thousand take the starter two minutes and not an hour


def cut(seed: int, count: int) -> list[bytes]:
    """PNG files of `count` cuts, no two from the same place."""
    scenes = [np.asarray(Image.open(each).convert("RGB")) for each in sorted(SAMPLES.glob("*.jpg"))]
    places = [
        (number, top, left)
        for number, scene in enumerate(scenes)
        for top in range(0, scene.shape[0] - SIDE, SIDE // 8)
        for left in range(0, scene.shape[1] - SIDE, SIDE // 8)
    ]
    chosen = np.random.default_rng(seed).choice(len(places), count, replace=False)
    return [
        _png(scenes[number][top : top + SIDE, left : left + SIDE])
        for number, top, left in (places[each] for each in chosen)
    ]


def poison(number: int) -> bytes:
    """A PNG file that ends the worker that opens it; each number gives another one."""
    return _png(np.full((SIDE + number, SIDE, 3), POISON, dtype=np.uint8))


class Model:
    """The model that the workers load, in this process and without a queue: what is right.

    Attributes:
        version: of its predictions.
    """

    def __init__(self, files: Mapping[str, bytes], xml: str) -> None:
        """Load it.

        Args:
            files: of images, by their references.
            xml: the label config.
        """
        self._segmenter, *_ = load_model(WorkerSettings(cache_mb=0))
        self._pictures = Pictures(ImageCache(0), files.__getitem__, 4 * SIDE * SIDE)
        self._config = label_config.parse(xml)
        self.version = self._segmenter.model_version

    def regions(self, task: int, reference: str) -> list[dict[str, Any]]:
        """The regions of a task's prediction."""
        asked = {"id": task, "data": {"image": reference}}
        request = self._config.to_request(asked, self.version)
        reply = answer(request, self._segmenter, self._pictures)
        (prediction,) = to_predictions(reply, self._config, self.version)
        regions: list[dict[str, Any]] = prediction["result"]
        return regions


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
