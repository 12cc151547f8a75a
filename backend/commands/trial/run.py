"""Try models one after the other, and say which of them this machine should use."""

import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backend.commands.trial.measure import Measured, measure
from backend.project import colours
from dgl_rsis import overlays
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.types import RGB, Segment
from dgl_rsis.weights.identity import CONFIG, STARTER, is_concepts
from workers.registry.files import RegistryError
from workers.registry.models import open_registry
from workers.registry.names import resolve_concepts, resolve_sam
from workers.settings import WorkerSettings

REGIONS = "regions"
HEADER = (
    "MODEL", "PROPOSALS", "mIoU", "SENTENCES", "5 CLICKS", "S/IMAGE", "S/CLICK", "MEMORY", "GPU",
)  # fmt: skip
PATIENCE = {"image": 30.0, "click": 1.0}  # seconds that people wait for
HELD_MEMORY = 0.7  # of the machine's: two workers share the rest with everything else
GAP = 8  # pixels between pictures


@dataclass(frozen=True)
class Trial:
    """A model and what came of it.

    Attributes:
        model: as the setting MODEL.
        proposals: as the setting PROPOSALS.
        measured: the numbers.
    """

    model: str
    proposals: str
    measured: Measured


def settings_of(name: str, usual: WorkerSettings) -> WorkerSettings:
    """The settings by which a name is tried: what it can be is replaced, the rest is the starter's.

    Args:
        name: "starter", a name of the registry, a folder, OWNER/NAME, or ARCHITECTURE:FILE.
        usual: device and folder of models.

    Raises:
        RegistryError: the model is not here.
    """
    if resolve_concepts(name, usual.models_dir) is not None and _asks_concepts(name, usual):
        changes = {"model": name, "proposals": name}
    elif _is_sam(name, usual):
        changes = {"model": STARTER, "proposals": name}
    else:
        changes = {"model": name, "proposals": REGIONS}
    return usual.model_copy(update=changes)


def names_of(given: Sequence[str], usual: WorkerSettings) -> list[str]:
    """What is tried: the names that are given, or the starter and all that is installed."""
    if given:
        return list(dict.fromkeys([STARTER, *given]))
    return [STARTER, *open_registry(usual.models_dir).installed()]


def trial(name: str, usual: WorkerSettings, folder: Path) -> Trial:
    """Try one model in a process of its own, so that its memory is its own."""
    try:
        settings = settings_of(name, usual)
    except RegistryError as error:
        return Trial(name, "", Measured(problem=str(error)))
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            measured = pool.submit(measure, settings, folder).result()
    except BrokenProcessPool:
        measured = Measured(problem="its process was killed, as when memory runs out")
    return Trial(settings.model, settings.proposals, measured)


def table(trials: Sequence[Trial]) -> str:
    """The numbers, a line a model; below them the problems and what to use."""
    rows = [HEADER, *(_row(each) for each in trials if not each.measured.problem)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"{x.model}: {x.measured.problem}" for x in trials if x.measured.problem]
    return "\n".join([*lines, advice(trials)]) + "\n"


def advice(trials: Sequence[Trial]) -> str:
    """Which model this machine should use: the best that fits its memory and people's patience."""
    held = _memory_mib() * HELD_MEMORY
    fitting = [x for x in trials if not x.measured.problem and x.measured.mib <= held]
    named = [x for x in fitting if x.measured.image_seconds <= PATIENCE["image"]]
    clicked = [x for x in fitting if _or(x.measured.click_seconds, 0) <= PATIENCE["click"]]
    if not named:
        return "none of them fits this machine: its memory, or the patience of people"
    best = max(named, key=lambda x: _or(x.measured.miou, 0) + _or(x.measured.sentences, 0))
    said = [f"MODEL={best.model}"]
    if clicked:
        clicker = max(clicked, key=lambda x: _or(x.measured.clicked, 0))
        said.append(f"PROPOSALS={clicker.proposals}")
    return (
        f"On this machine: {' '.join(said)}. Two tiles of one city say little: see "
        "docs/MODELS.md for how to measure on your data."
    )


def picture(trials: Sequence[Trial], folder: Path) -> RGB:
    """Tiles, their truth and what each model made of them, side by side: (H, W, 3) uint8."""
    tiles, names = list(samples.plain(folder)), samples.plain_classes(folder)
    columns = [("image", [tile.image for tile in tiles])]
    truths = [np.where(t.truth < len(names), t.truth + 1, 0) for t in tiles]
    painted = [_painted(t.image, m, names) for t, m in zip(tiles, truths, strict=True)]
    columns.append(("labels", painted))
    for each in trials:
        if not each.measured.problem:
            title = each.model if each.proposals == REGIONS else f"{each.model} + {each.proposals}"
            maps = zip(tiles, each.measured.maps, strict=True)
            columns.append((title, [_painted(tile.image, plane, names) for tile, plane in maps]))
    return _grid(columns)


def _painted(image: RGB, plane: NDArray[np.integer[Any]], names: Sequence[str]) -> RGB:
    segments = [Segment(name, 1.0, plane == i) for i, name in enumerate(names, start=1)]
    painted = overlays.overlay(image, segments, colours.colours(list(names), {}))
    return painted[: image.shape[0], : image.shape[1]]


def _grid(columns: Sequence[tuple[str, Sequence[RGB]]]) -> RGB:
    font = ImageFont.load_default(size=14)
    widths = [max(tile.shape[1] for tile in tiles) for _, tiles in columns]
    heights = [tile.shape[0] for tile in columns[0][1]]
    top = 24
    canvas = Image.new(
        "RGB", (sum(widths) + GAP * len(widths), top + sum(heights) + GAP * len(heights)), "white"
    )
    draw, left = ImageDraw.Draw(canvas), 0
    for (title, tiles), width in zip(columns, widths, strict=True):
        draw.text((left + 2, 4), title[-width // 8 :], fill="black", font=font)
        down = top
        for tile in tiles:
            canvas.paste(Image.fromarray(tile), (left, down))
            down += tile.shape[0] + GAP
        left += width + GAP
    return np.asarray(canvas)


def _asks_concepts(name: str, usual: WorkerSettings) -> bool:
    """Whether a folder in Hugging Face's form knows words, as SAM 3 does."""
    folder = resolve_concepts(name, usual.models_dir)
    return folder is not None and is_concepts(folder)


def _is_sam(name: str, usual: WorkerSettings) -> bool:
    if name == STARTER:
        return False
    try:
        architecture, path = resolve_sam(name, usual.models_dir)
    except RegistryError:
        return False
    return architecture.startswith("vit_") or (path / CONFIG).is_file()


def _row(each: Trial) -> tuple[str, ...]:
    found = each.measured
    return (
        each.model,
        each.proposals,
        *(f"{value:.3f}" for value in (found.miou, found.sentences, found.clicked)),
        f"{found.image_seconds:.1f}",
        f"{found.click_seconds:.2f}",
        f"{found.mib:,} MiB",
        f"{found.gpu_mib:,} MiB" if found.gpu_mib else "-",
    )


def _memory_mib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value
