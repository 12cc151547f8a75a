"""One model on a few labelled tiles, in a process of its own: what it gives and what it takes.

Sentences are asked of things that the labels tell apart: connected parts of a class. They are few,
so that a trial takes minutes; `dgl-rsis evaluate` measures thoroughly.
"""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dgl_rsis import masks
from dgl_rsis.evaluation import clicks, scores
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import Sample
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.types import InputError, Label, Mask, Prompt
from workers.engine.loading import load_model
from workers.engine.model import Model
from workers.images.cache import ImageCache
from workers.images.pictures import Picture
from workers.settings import WorkerSettings

LEAST_AREA = 400  # pixels of a part that is asked for
MOST_OBJECTS = 3  # of a tile that are clicked at
CLICKS = 5  # at each of them
CACHE_BYTES = 2**29  # as a worker has one: a click after the first encodes nothing
Place = Callable[[tuple[int, int, int, int]], float]
# What is asked of the parts of a class, and which one that is: the greatest of this of its box.
PLACES: dict[str, Place] = {
    "the leftmost {}": lambda box: -box[0],
    "the rightmost {}": lambda box: box[2],
    "the topmost {}": lambda box: -box[1],
    "the lowest {}": lambda box: box[3],
}


@dataclass(frozen=True)
class Measured:
    """What came of a model.

    Attributes:
        miou: over the classes of all tiles, [0, 1].
        sentences: mean IoU of the best mask of each sentence, [0, 1].
        clicked: mean IoU of objects after `CLICKS` clicks, [0, 1].
        image_seconds: of a tile's classes, the median.
        click_seconds: of a click on a tile that was seen before, the median.
        mib: memory that the process held at most, MiB.
        gpu_mib: of the GPU, MiB; 0 without one.
        maps: (H, W) uint16 of each tile, 0 = unlabelled.
        problem: why there are no numbers; empty where there are.
    """

    miou: float = float("nan")
    sentences: float = float("nan")
    clicked: float = float("nan")
    image_seconds: float = float("nan")
    click_seconds: float = float("nan")
    mib: int = 0
    gpu_mib: int = 0
    maps: list[NDArray[np.uint16]] = field(default_factory=list)
    problem: str = ""


def measure(settings: WorkerSettings, folder: Path) -> Measured:
    """Try what some settings name on a labelled folder.

    Args:
        settings: of the model, its masks and its device.
        folder: as `dgl-rsis evaluate` reads it: `images/`, `labels/`, `classes.txt`.

    Returns:
        The numbers, or why there are none.
    """
    try:
        model = load_model(settings, ImageCache(CACHE_BYTES))
        tiles = list(samples.plain(folder))
        return _measured(model, tiles, samples.plain_classes(folder))
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        return Measured(problem=(str(error) or type(error).__name__).splitlines()[0])


def _measured(model: Model, tiles: Sequence[Sample], names: tuple[str, ...]) -> Measured:
    confusion, maps = scores.Confusion.empty(names), []
    overlaps, clicked = [], []
    image_seconds: list[float] = []
    click_seconds: list[float] = []
    labels = [Label(name) for name in names]
    for number, tile in enumerate(tiles):
        shown = Picture(tile.image, f"tile {number}", model.setting)
        started = time.perf_counter()
        found = model.segment(shown, labels, model.batch)
        image_seconds.append(time.perf_counter() - started)
        confusion.add(tile.truth, found.class_map)
        maps.append(found.class_map)
        for sentence, truth in referred(tile, names):
            overlaps.append(scores.overlap(_best(model, shown, sentence), truth).iou)
        for truth in _objects(tile, names):
            run = clicks.simulate(
                truth, _answering(model, shown, click_seconds), always=CLICKS, most=CLICKS
            )
            clicked.append(run.after(CLICKS))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    on_gpu = torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else 0
    return Measured(
        confusion.miou,
        _mean(overlaps),
        _mean(clicked),
        float(np.median(image_seconds)),
        float(np.median(click_seconds)) if click_seconds else float("nan"),
        int(used),
        int(on_gpu),
        maps,
    )


def referred(tile: Sample, names: tuple[str, ...]) -> Iterator[tuple[str, Mask]]:
    """Sentences about a tile, and the mask that each means.

    Args:
        tile: the image and its truth.
        names: of the classes.
    """
    for index, name in enumerate(names):
        parts = list(masks.components(tile.truth == index, LEAST_AREA))
        if len(parts) == 1:
            yield f"the {name}", parts[0]
        if len(parts) < 2:
            continue
        areas = sorted((int(part.sum()) for part in parts), reverse=True)
        if areas[0] > 1.5 * areas[1]:
            yield f"the largest {name}", parts[0]
        boxes = [masks.box(part) for part in parts]
        for sentence, place in PLACES.items():
            ranked = sorted(range(len(parts)), key=lambda i: -place(boxes[i]))
            # Only where nobody could mean the second one.
            if place(boxes[ranked[0]]) - place(boxes[ranked[1]]) > tile.truth.shape[0] / 8:
                yield sentence.format(name), parts[ranked[0]]


def _objects(tile: Sample, names: tuple[str, ...]) -> list[Mask]:
    """The largest parts that are no ground: things have outlines to click at."""
    parts = [
        part
        for index, name in enumerate(names)
        if name == "building"
        for part in masks.components(tile.truth == index, LEAST_AREA)
    ]
    return sorted(parts, key=lambda part: -int(part.sum()))[:MOST_OBJECTS]


def _best(model: Model, shown: Picture, sentence: str) -> Mask:
    try:
        found = model.find(shown, sentence, ResParameters(top_k=1))
    except InputError:
        return np.zeros(shown.pixels.shape[:2], dtype=np.bool_)
    if not found.candidates:
        return np.zeros(shown.pixels.shape[:2], dtype=np.bool_)
    return found.candidates[0].mask


def _answering(model: Model, shown: Picture, seconds: list[float]) -> Callable[[Prompt], Mask]:
    """Answers of a model; the seconds of each click but the first, which may encode."""
    answered = 0

    def answer(prompt: Prompt) -> Mask:
        nonlocal answered
        started = time.perf_counter()
        mask = model.point(shown, prompt).mask
        if answered:
            seconds.append(time.perf_counter() - started)
        answered += 1
        return mask

    return answer


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
