"""One request → its reply: classes and objects, or what words mean or somebody shows."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.runs import to_runs
from dgl_rsis.types import ImageError, InputError, Label, Mask, Prompt, Segment
from workers.engine import looks
from workers.engine.learnt import Recall
from workers.engine.prompts import agreement, to_mask, to_prompt
from workers.images.download import FetchError
from workers.images.pictures import Picture, Pictures
from workers.messages import (
    Exemplar,
    Look,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
    versioned,
)

if TYPE_CHECKING:
    from dgl_rsis.classes.pipeline import ClassSegmentation
    from dgl_rsis.expressions.exemplars import Alike
    from dgl_rsis.expressions.pipeline import ExpressionSegmentation
    from workers.engine.model import Model

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MOST_CANDIDATES = 30  # of an expression, when somebody points at one of them
BEST_CANDIDATES = 3  # of those, in the reply
TOLD_SECONDS = 0.5  # of an image that took less, nobody would see the last stage
NOTHING_ALIKE = "nothing else here is enough like it: show another one, or click the others"
NOTHING_LIKE_IT = "nothing here is enough like the exemplar"
LEAST_AGREEMENT = 0.5  # of a candidate with what is pointed at


class OtherModelError(Exception):
    """The request is for another model than this worker's, as while models are exchanged."""


@dataclass(frozen=True)
class _Answer:
    """What was found.

    Attributes:
        segments: the masks, as runs or still to be encoded.
        seconds: wall-clock seconds of each stage.
        reason: why there is none.
        margin: how sure the classes are, [0, 1]; None for what are no classes.
        look: of the exemplar that was asked about; None for any other question.
    """

    segments: Callable[[], tuple[SegmentResult, ...]]
    seconds: Mapping[str, float]
    reason: str = ""
    margin: float | None = None
    look: Look | None = None


def _unheard(stage: str) -> None:
    """For whom no one listens."""


def answer(
    request: SegmentRequest,
    segmenter: "Model",
    pictures: Pictures,
    recall: Recall | None = None,
    say: Callable[[str], None] = _unheard,
) -> SegmentReply:
    """Answer one request, for each of its images.

    Args:
        request: what is asked.
        segmenter: the model.
        pictures: opens its images.
        recall: what projects learnt; None where no request names any of it.
        say: is told which stage begins, in words for people.

    Raises:
        OtherModelError: it is for another model.
        FetchError, ImageError: its image cannot be had, or is none.
        InputError: it cannot be answered as it is.
    """
    _check_version(request, segmenter)
    if not request.more:
        return _answer(request, segmenter, pictures, recall, say)
    references = request.images
    left = pictures.max_pixels
    every: list[SegmentReply] = []
    for number, reference in enumerate(references, 1):
        say(f"image {number} of {len(references)}")
        alone = replace(request, image=reference, more=())
        with _named(f"image {number} of {len(references)}"):
            every.append(_answer(alone, segmenter, pictures, recall, say, left))
        left -= every[-1].height * every[-1].width
    first, *more = every
    margins = [each.margin for each in (first, *more) if each.margin is not None]
    margin = sum(margins) / len(margins) if margins else None
    found = any(each.segments for each in (first, *more))
    return replace(first, margin=margin, reason="" if found else first.reason, more=tuple(more))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Have errors say which of several images they are of.

    Raises:
        FetchError, ImageError, InputError: as what is done raises them.
    """
    try:
        yield
    except FetchError as error:
        error.args = (f"{name}: {error}",)
        raise
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _answer(
    request: SegmentRequest,
    segmenter: "Model",
    pictures: Pictures,
    recall: Recall | None,
    say: Callable[[str], None],
    left: int | None = None,
) -> SegmentReply:
    """Answer a request for its first image, which may have so many pixels."""
    picture, seconds = pictures.open(request.image, request.metres, left)
    used, learnt = recall.prototypes(request.prototypes) if recall is not None else ("", None)
    if request.exemplar is not None:
        outcome = _alike(segmenter, picture, request.exemplar, request.label)
    elif request.look is not None:
        outcome = _alike_elsewhere(segmenter, picture, request.look, request.label)
    elif request.pointed is not None:
        outcome = _pointed(segmenter, picture, request)
    elif request.expression:
        outcome = _referred(segmenter, picture, request)
    else:
        outcome = _segmented(segmenter, picture, request, learnt)
    answered = time.perf_counter()
    if sum(seconds.values()) + sum(outcome.seconds.values()) > TOLD_SECONDS:
        say("writing the masks")
    segments = outcome.segments()
    seconds = {**seconds, **outcome.seconds, "runs": time.perf_counter() - answered}
    height, width = picture.pixels.shape[:2]
    version = versioned(segmenter.model_version, used)
    reason, margin, look = outcome.reason, outcome.margin, outcome.look
    return SegmentReply(height, width, version, segments, seconds, reason, margin, look=look)


def to_results(
    segmentation: "ClassSegmentation", *, classes: bool, objects: bool
) -> tuple[SegmentResult, ...]:
    """The masks of a segmentation as runs: those of classes, then those of objects."""
    by_class = [_result(item, "class") for item in segmentation.classes] if classes else []
    by_object = [_result(item, "object") for item in segmentation.objects] if objects else []
    return (*by_class, *by_object)


def _check_version(request: SegmentRequest, segmenter: "Model") -> None:
    """See that a request is for this model.

    Raises:
        OtherModelError: its reply would be stored, and shown in Label Studio, under the wrong
            version.
    """
    expected = versioned(segmenter.model_version, request.prototypes)
    if request.model_version != expected:
        raise OtherModelError(
            f"this is for the model {request.model_version}, but the worker has "
            f"{expected}: retrieve the prediction again"
        )


def _segmented(
    segmenter: "Model",
    picture: Picture,
    request: SegmentRequest,
    learnt: Prototypes | None,
) -> _Answer:
    segmentation = _in_memory(
        segmenter, picture, lambda batch: segmenter.segment(picture, request.labels, batch, learnt)
    )
    return _Answer(
        lambda: to_results(segmentation, classes=request.classes, objects=request.objects),
        segmentation.seconds,
        margin=float(segmentation.margin),
    )


def _referred(segmenter: "Model", picture: Picture, request: SegmentRequest) -> _Answer:
    segmentation, fitting = _in_memory(
        segmenter,
        picture,
        lambda batch: segmenter.refer(picture, request.expression, request.labels, batch),
    )
    label = request.label or fitting
    segments = [Segment(label, each.score, each.mask) for each in segmentation.candidates]
    return _Answer(lambda: _candidates(segments), segmentation.seconds, segmentation.reason)


def _pointed(segmenter: "Model", picture: Picture, request: SegmentRequest) -> _Answer:
    assert request.pointed is not None
    prompt = to_prompt(request.pointed, *picture.pixels.shape[:2])
    if not request.expression:
        return _refined(segmenter, picture, prompt, request.label, request.labels)
    segmentation, fitting = _in_memory(
        segmenter,
        picture,
        lambda batch: segmenter.refer(
            picture, request.expression, request.labels, batch, MOST_CANDIDATES
        ),
    )
    label = request.label or fitting
    agreeing = _agreeing(segmentation, prompt, label)
    if agreeing:
        return _Answer(lambda: _candidates(agreeing), segmentation.seconds)
    # Whoever points at a thing knows better where it is than the words do.
    refined = _refined(segmenter, picture, prompt, label, request.labels)
    return _Answer(refined.segments, {**segmentation.seconds, **refined.seconds}, refined.reason)


def _alike(segmenter: "Model", picture: Picture, exemplar: Exemplar, label: str) -> _Answer:
    """Everything else that is like an exemplar, and what that looks like."""
    shape, started = picture.pixels.shape[:2], time.perf_counter()
    mask = to_mask(exemplar.mask, "exemplar", *shape)
    marked = to_mask(exemplar.marked, "mask of what is known", *shape)
    alike = _in_memory(
        segmenter, picture, lambda batch: segmenter.alike(picture, mask, marked, batch)
    )
    look = _in_memory(segmenter, picture, lambda batch: segmenter.look(picture, mask, batch))
    seconds = {"alike": time.perf_counter() - started}
    reason = "" if len(alike) else NOTHING_ALIKE
    return _Answer(lambda: _every(alike, label), seconds, reason, look=looks.to_message(look))


def _alike_elsewhere(segmenter: "Model", picture: Picture, look: Look, label: str) -> _Answer:
    """Everything that is like the exemplar of another image."""
    started, wanted = time.perf_counter(), looks.from_message(look)
    alike = _in_memory(
        segmenter, picture, lambda batch: segmenter.alike_elsewhere(picture, wanted, label, batch)
    )
    seconds = {"alike": time.perf_counter() - started}
    return _Answer(lambda: _every(alike, label), seconds, "" if len(alike) else NOTHING_LIKE_IT)


def _every(alike: "Alike", label: str) -> tuple[SegmentResult, ...]:
    return tuple(_result(each, "candidate") for each in alike.segments(label))


def _agreeing(segmentation: "ExpressionSegmentation", prompt: Prompt, label: str) -> list[Segment]:
    """The candidates that hold the positive points and no negative one, best first."""
    rated = [(agreement(each.mask, prompt), each) for each in segmentation.candidates]
    rated = [(share, each) for share, each in rated if share >= LEAST_AGREEMENT]
    points = Prompt(prompt.positive, prompt.negative)
    segments = [
        Segment(label, share * each.score, each.mask)
        for share, each in rated
        if agreement(each.mask, points) == 1.0
    ]
    return sorted(segments, key=lambda each: -each.score)[:BEST_CANDIDATES]


def _refined(
    segmenter: "Model", picture: Picture, prompt: Prompt, label: str, labels: Sequence[Label]
) -> _Answer:
    """One mask by pointing alone."""
    started = time.perf_counter()
    refined = _in_memory(segmenter, picture, lambda _: segmenter.point(picture, prompt))
    seconds = {"point": time.perf_counter() - started}
    if not refined.mask.any():
        return _Answer(lambda: (), seconds, "nothing was found where you point: point elsewhere")
    if not label:
        label = _label_of(segmenter, picture, refined.mask, labels)
        seconds["label"] = time.perf_counter() - started - seconds["point"]
    segment = Segment(label, refined.score, refined.mask)
    return _Answer(lambda: _candidates([segment]), seconds)


def _label_of(segmenter: "Model", picture: Picture, mask: Mask, labels: Sequence[Label]) -> str:
    return _in_memory(
        segmenter, picture, lambda batch: segmenter.label_of(picture, mask, labels, batch)
    )


def _candidates(segments: list[Segment]) -> tuple[SegmentResult, ...]:
    return tuple(_result(segment, "candidate") for segment in segments)


def _result(item: Segment, level: str) -> SegmentResult:
    return SegmentResult(item.label, float(item.score), level, to_runs(item.mask))


def _in_memory(segmenter: "Model", picture: Picture, work: Callable[[int], Result]) -> Result:
    """Do the work; when the memory is full, once more with half the batch."""
    try:
        return work(segmenter.batch)
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        batch = max(1, segmenter.batch // 2)
    # Outside the handler: the error's traceback holds the tensors that must go first.
    torch.cuda.empty_cache()
    log.warning("the memory is full: again with %d crops at a time", batch)
    try:
        return work(batch)
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        height, width = picture.pixels.shape[:2]
        message = (
            f"the image of {width} × {height} pixels does not fit in the memory "
            "of the worker's device: tile it, or give the worker more"
        )
    torch.cuda.empty_cache()
    raise InputError(message)


def _is_full(error: Exception) -> bool:
    """Whether an error says that memory is full: CUDA's, NumPy's, or PyTorch's on the CPU."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "DefaultCPUAllocator" in str(error)
