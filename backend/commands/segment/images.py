"""`dgl-rsis segment`: image files in, masks and JSON out, with no server."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from backend.commands.progress import track
from backend.commands.refusals import DISK, told
from backend.commands.segment.image_work import LocalSegmenter, resolution_json
from backend.commands.segment.inputs import Inputs, Work
from backend.project.label_config import LabelConfig
from backend.regions import writing
from workers.engine.loading import load_model
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

MOST_LABELS = 255  # of a uint8 class map


def untold(path: Path) -> None:
    """For whom nobody keeps count."""


class LocalError(ValueError):
    """The command cannot run as it was given; the message says the way out."""


@dataclass(frozen=True)
class LocalRun:
    """What to segment.

    Attributes:
        images: files.
        config: the vocabulary, and the form of the predictions.
        out: folder for the results.
        stems: what the results of a file are called; its own stem where nothing is said.
        done: is told each file whose results are there.
    """

    images: Sequence[Path]
    config: LabelConfig
    out: Path
    stems: Mapping[Path, str] = field(default_factory=dict)
    done: Callable[[Path], None] = untold


@dataclass(frozen=True)
class ReferringRun:
    """What to find.

    Attributes:
        inputs: files.
        expression: what to find in each of them.
        top_k: candidates at most, 1 or more.
        explain: draw the activation maps, too.
        out: folder for the results.
        settings: the model, where it runs, and the budget of an image.
    """

    inputs: Inputs
    expression: str
    top_k: int
    explain: bool
    out: Path
    settings: WorkerSettings


def run(task: LocalRun, segmenter: LocalSegmenter) -> int:
    """Segment all images: `<stem>.classes.png`, `<stem>.json` and `<stem>.overlay.png` of each.

    An image that cannot be segmented is reported in one line, or with its traceback when nobody
    foresaw why; the others go on.

    Returns:
        Exit status: 0, or 1 when an image could not be segmented.
    """

    def one(path: Path) -> None:
        _segment(segmenter, path, task)
        task.done(path)

    return _each(task.images, task.out, one)


def refer(task: ReferringRun) -> int:
    """Find an expression in all images: `<stem>.mask.png`, `<stem>.json` and pictures of each.

    Returns:
        Exit status: 0, or 1 when an image could not be segmented. To find nothing is an answer: an
        empty mask, and the reason in the log and the JSON.

    Raises:
        ModelError: there is no such model.
        JournalError: the folder holds the results of another run.
    """
    if not task.inputs.files:
        return 0
    loaded = load_model(task.settings)
    segmenter = LocalSegmenter(loaded, task.settings.max_image_pixels)
    about = {
        "model": segmenter.model_version,
        "expression": task.expression,
        "options": (task.top_k, task.explain),
    }

    def one(path: Path) -> None:
        stem = work.stems[path]
        answer = segmenter.refer(path, task.expression, task.top_k, explain=task.explain)
        Image.fromarray(answer.mask.astype(np.uint8) * 255).save(task.out / f"{stem}.mask.png")
        (task.out / f"{stem}.json").write_text(json.dumps(answer.report), "utf-8")
        for name, picture in answer.pictures.items():
            Image.fromarray(picture).save(task.out / f"{stem}.{name}.png")
        count = len(answer.report["candidates"])
        what = answer.reason or f"{count} candidate{'s' if count != 1 else ''}"
        LOG.info("%s: %s (s: %s)", path, what, _stages(answer.seconds))
        work.done(path)

    with Work(task.inputs, task.out, about) as work:
        return _each(work.left(), task.out, one)


def _each(images: Sequence[Path], out: Path, work: Callable[[Path], None]) -> int:
    """Do the work for every image; one that fails is reported, and the others go on."""
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in track(images, "Segmenting"):
        try:
            work(path)
        except OSError as error:
            LOG.error("%s: %s", path, _fault(error, path))
            failed += 1
        except ValueError as error:  # of the raster and the algorithm: fit for users
            LOG.error("%s: %s", path, error)
            failed += 1
        except Exception:
            LOG.exception("%s: an internal error", path)
            failed += 1
    return 1 if failed else 0


def _fault(error: OSError, path: Path) -> str:
    """What went wrong with a picture, or with the disk that its results go to."""
    if error.errno in DISK and error.filename != str(path):
        return told(error)
    return f"cannot be read: {error.strerror or error}"


def check(task: LocalRun) -> None:
    """See that the task can be done, before a model is loaded for it.

    Raises:
        LocalError: there are more labels than a class map holds, or no control that could hold
            masks.
    """
    if len(task.config.labels) > MOST_LABELS:
        raise LocalError(
            f"{len(task.config.labels)} labels: a class map holds at most {MOST_LABELS}"
        )
    if not task.config.controls:
        raise LocalError("; ".join(task.config.problems))


def _segment(segmenter: LocalSegmenter, path: Path, task: LocalRun) -> None:
    answer = segmenter.segment(path, task.config.labels, task.config.colours)
    name = task.stems.get(path, path.stem)
    stem = task.out / name
    prediction = writing.to_prediction(answer.reply, task.config, segmenter.model_version)
    prediction["resolution"] = resolution_json(answer.resolution)
    classes = Image.fromarray(answer.class_map.astype(np.uint8))
    classes.save(stem.with_name(f"{name}.classes.png"))
    Image.fromarray(answer.overlay).save(stem.with_name(f"{name}.overlay.png"))
    stem.with_name(f"{name}.json").write_text(json.dumps(prediction), "utf-8")
    stages = _stages(answer.reply.seconds)
    LOG.info("%s: %d regions (s: %s)", path, len(prediction["result"]), stages)


def _stages(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
