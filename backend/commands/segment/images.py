"""`dgl-rsis segment`: image files in, masks and JSON out, with no server."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backend.commands.progress import track
from backend.commands.segment.image_work import LocalSegmenter
from backend.project.label_config import LabelConfig
from backend.regions import writing
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

MOST_LABELS = 255  # of a uint8 class map


class LocalError(ValueError):
    """The command cannot run as it was given; the message says the way out."""


@dataclass(frozen=True)
class LocalRun:
    """What to segment.

    Attributes:
        images: files; their stems name the results.
        config: the vocabulary, and the form of the predictions.
        out: folder for the results.
        settings: the model, where it runs, and the budget of an image.
    """

    images: Sequence[Path]
    config: LabelConfig
    out: Path
    settings: WorkerSettings


@dataclass(frozen=True)
class ReferringRun:
    """What to find.

    Attributes:
        images: files; their stems name the results.
        expression: what to find in each of them.
        top_k: candidates at most, 1 or more.
        explain: draw the activation maps, too.
        out: folder for the results.
        settings: the model, where it runs, and the budget of an image.
    """

    images: Sequence[Path]
    expression: str
    top_k: int
    explain: bool
    out: Path
    settings: WorkerSettings


def run(task: LocalRun) -> int:
    """Segment all images: `<stem>.classes.png`, `<stem>.json` and `<stem>.overlay.png` of each.

    An image that cannot be segmented is reported in one line, or with its traceback when nobody
    foresaw why; the others go on.

    Returns:
        Exit status: 0, or 1 when an image could not be segmented.

    Raises:
        LocalError: two images share a stem, or there are more labels than a class map holds.
    """
    _check(task)
    return _each(task, lambda segmenter, path: _segment(segmenter, path, task))


def refer(task: ReferringRun) -> int:
    """Find an expression in all images: `<stem>.mask.png`, `<stem>.json` and pictures of each.

    Returns:
        Exit status: 0, or 1 when an image could not be segmented. To find nothing is an answer: an
        empty mask, and the reason in the log and the JSON.

    Raises:
        LocalError: two images share a stem.
    """
    _check_stems(task.images)

    def one(segmenter: LocalSegmenter, path: Path) -> None:
        answer = segmenter.refer(path, task.expression, task.top_k, explain=task.explain)
        Image.fromarray(answer.mask.astype(np.uint8) * 255).save(task.out / f"{path.stem}.mask.png")
        (task.out / f"{path.stem}.json").write_text(json.dumps(answer.report), "utf-8")
        for name, picture in answer.pictures.items():
            Image.fromarray(picture).save(task.out / f"{path.stem}.{name}.png")
        count = len(answer.report["candidates"])
        what = answer.reason or f"{count} candidate{'s' if count != 1 else ''}"
        LOG.info("%s: %s (s: %s)", path, what, _stages(answer.seconds))

    return _each(task, one)


def _each(task: LocalRun | ReferringRun, work: Callable[[LocalSegmenter, Path], None]) -> int:
    """Do the work for every image; one that fails is reported, and the others go on."""
    task.out.mkdir(parents=True, exist_ok=True)
    segmenter = LocalSegmenter(task.settings)
    failed = 0
    for path in track(task.images, "Segmenting"):
        try:
            work(segmenter, path)
        except OSError as error:
            LOG.error("%s: cannot be read: %s", path, error.strerror or error)
            failed += 1
        except ValueError as error:  # of the raster and the algorithm: fit for users
            LOG.error("%s: %s", path, error)
            failed += 1
        except Exception:
            LOG.exception("%s: an internal error", path)
            failed += 1
    return 1 if failed else 0


def _check(task: LocalRun) -> None:
    _check_stems(task.images)
    if len(task.config.labels) > MOST_LABELS:
        raise LocalError(
            f"{len(task.config.labels)} labels: a class map holds at most {MOST_LABELS}"
        )
    if not task.config.controls:
        raise LocalError("; ".join(task.config.problems))


def _check_stems(images: Sequence[Path]) -> None:
    stems = Counter(path.stem for path in images)
    twice = sorted(stem for stem, count in stems.items() if count > 1)
    if twice:
        raise LocalError(f"several images are called {', '.join(twice)}: run them one by one")


def _segment(segmenter: LocalSegmenter, path: Path, task: LocalRun) -> None:
    answer = segmenter.segment(path, task.config.labels, task.config.colours)
    stem = task.out / path.stem
    prediction = writing.to_prediction(answer.reply, task.config, segmenter.model_version)
    classes = Image.fromarray(answer.class_map.astype(np.uint8))
    classes.save(stem.with_name(f"{path.stem}.classes.png"))
    Image.fromarray(answer.overlay).save(stem.with_name(f"{path.stem}.overlay.png"))
    stem.with_name(f"{path.stem}.json").write_text(json.dumps(prediction), "utf-8")
    stages = _stages(answer.reply.seconds)
    LOG.info("%s: %d regions (s: %s)", path, len(prediction["result"]), stages)


def _stages(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
