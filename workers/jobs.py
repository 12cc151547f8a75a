"""`segment`: the one function that RQ may call on the segment queue.

It raises nothing that it can name. What the user can put right becomes a failure message and one
line in the log. What may pass by itself is tried again, and what nobody foresaw is tried again with
its traceback in the log; after `MOST_ATTEMPTS` each becomes a failure, too.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from redis import Redis
from rq import Retry, get_current_job
from rq.timeouts import JobTimeoutException

from dgl_rsis import masks, rasters
from dgl_rsis.types import RGB, InputError, Label, Segment
from workers import failures
from workers.download import FetchError
from workers.failures import TaskFailure
from workers.messages import SEGMENT_QUEUE, Runs, SegmentReply, SegmentRequest, SegmentResult
from workers.queues import JOB_SECONDS
from workers.replies import attempts_key, reply_key, store_failure, store_reply

if TYPE_CHECKING:
    from dgl_rsis.pipelines import ClassSegmentation
    from dgl_rsis.referring import ExpressionSegmentation

log = logging.getLogger(__name__)

Found = TypeVar("Found")

MOST_ATTEMPTS = 3
RETRY_SECONDS = (15, 60)  # Label Studio restarting must not empty the queue into failures
ATTEMPTS_KEPT_SECONDS = 24 * 3600
DEADLY = (
    f"the worker process died {MOST_ATTEMPTS} times while it worked on this image: save it again "
    "as PNG, make it smaller, or give the worker more memory"
)


class OtherModelError(Exception):
    """The request is for another model than this worker's, as while models are exchanged."""


@dataclass
class Engine:
    """What a worker needs for its jobs; set once, by the process that loaded the model.

    Attributes:
        segment: (image, labels, batch) → segmentation; `batch` crops at a time.
        refer: (image, expression, labels, batch) → candidates and the label that fits them.
        batch: crops at a time that fit the device, as far as known.
        model_version: of the model behind `segment`.
        fetch: image reference → bytes.
        redis: where replies go.
        max_pixels: budget of an image.
        reply_seconds: how long a reply is kept.
        suspect: set when a job ended unexpectedly: the worker then tests the model again.
    """

    segment: Callable[[RGB, Sequence[Label], int], "ClassSegmentation"]
    refer: Callable[[RGB, str, Sequence[Label], int], tuple["ExpressionSegmentation", str]]
    batch: int
    model_version: str
    fetch: Callable[[str], bytes]
    redis: Redis
    max_pixels: int
    reply_seconds: int
    suspect: bool = False


EXPECTED = (OtherModelError, InputError, FetchError, rasters.ImageError, JobTimeoutException)

_engine: Engine | None = None


def use(engine: Engine) -> None:
    """Answer all further jobs of this process with this engine."""
    global _engine
    _engine = engine


def segment(payload: dict[str, Any]) -> Retry | None:
    """Answer one `SegmentRequest`; the reply or the failure is stored under its key.

    Args:
        payload: `SegmentRequest.to_json()`.

    Returns:
        None when it is decided; how to try again when not.
    """
    if _engine is None:
        raise RuntimeError("no engine in this process: only a segment worker runs segment jobs")
    request = SegmentRequest.from_json(payload)
    if _engine.redis.exists(reply_key(request.key)):
        return None  # a job of a worker that was taken for dead, and was not
    attempt = _count_attempt(_engine.redis, request.key)
    if attempt > MOST_ATTEMPTS:
        # Counted, and nothing came of it: the process was killed each time.
        _give_up(_engine, request, DEADLY)
        return None
    try:
        reply = _answer(_engine, request)
    except EXPECTED as error:
        return _expected(_engine, request, error, attempt)
    except Exception:
        return _unexpected(_engine, request, attempt)
    store_reply(_engine.redis, request.key, reply, _engine.reply_seconds)
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in reply.seconds.items())
    log.info("task %s: %d segments (s: %s)", request.task_id, len(reply.segments), stages)
    return None


def _count_attempt(redis: Redis, key: str) -> int:
    """Count before the work, so that a try that kills the process is counted, too."""
    with redis.pipeline() as pipe:
        pipe.incr(attempts_key(key))
        pipe.expire(attempts_key(key), ATTEMPTS_KEPT_SECONDS)
        count, _ = pipe.execute()
    return int(count)


def _answer(engine: Engine, request: SegmentRequest) -> SegmentReply:
    if request.model_version != engine.model_version:
        # Its reply would be stored, and shown in Label Studio, under the wrong version.
        raise OtherModelError(
            f"this is for the model {request.model_version}, but the worker has "
            f"{engine.model_version}: retrieve the prediction again"
        )
    started = time.perf_counter()
    data = engine.fetch(request.image)
    fetched = time.perf_counter()
    image = rasters.read_rgb(data, engine.max_pixels)
    decoded = time.perf_counter()
    labels = [Label(x.name, x.synonyms, x.threshold, x.background) for x in request.labels]
    reason = ""
    if request.expression:
        referred, label = _in_memory(
            engine, image, lambda batch: engine.refer(image, request.expression, labels, batch)
        )
        segmented, stages, reason = time.perf_counter(), referred.seconds, referred.reason
        segments = to_candidates(referred, request.label or label)
    else:
        found = _in_memory(engine, image, lambda batch: engine.segment(image, labels, batch))
        segmented, stages = time.perf_counter(), found.seconds
        segments = to_results(found, classes=request.classes, objects=request.objects)
    seconds = {"fetch": fetched - started, "decode": decoded - fetched, **stages}
    seconds["runs"] = time.perf_counter() - segmented
    height, width = image.shape[:2]
    return SegmentReply(height, width, engine.model_version, segments, seconds, reason)


def _in_memory(engine: Engine, image: RGB, work: Callable[[int], Found]) -> Found:
    """Do the work; when the memory is full, once more with half the batch."""
    try:
        return work(engine.batch)
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        batch = max(1, engine.batch // 2)
    # Outside the handler: the error's traceback holds the tensors that must go first.
    torch.cuda.empty_cache()
    log.warning("the memory is full: again with %d crops at a time", batch)
    try:
        return work(batch)
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        message = (
            f"the image of {image.shape[1]} × {image.shape[0]} pixels does not fit in the memory "
            "of the worker's device: tile it, or give the worker more"
        )
    torch.cuda.empty_cache()
    raise InputError(message)


def _is_full(error: Exception) -> bool:
    """Whether an error says that memory is full: CUDA's, NumPy's, or PyTorch's on the CPU."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "DefaultCPUAllocator" in str(error)


def to_results(
    found: "ClassSegmentation", *, classes: bool, objects: bool
) -> tuple[SegmentResult, ...]:
    """The masks of a segmentation as runs: those of classes, then those of objects."""
    by_class = [_result(item, "class") for item in found.classes] if classes else []
    by_object = [_result(item, "object") for item in found.objects] if objects else []
    return (*by_class, *by_object)


def to_candidates(found: "ExpressionSegmentation", label: str) -> tuple[SegmentResult, ...]:
    """The candidates of an expression as runs, best first."""
    return tuple(_result(Segment(label, c.score, c.mask), "candidate") for c in found.candidates)


def _result(item: Segment, level: str) -> SegmentResult:
    height, width = item.mask.shape
    runs = Runs(height, width, masks.to_runs(item.mask))
    return SegmentResult(item.label, float(item.score), level, runs)


def _expected(
    engine: Engine, request: SegmentRequest, error: Exception, attempt: int
) -> Retry | None:
    if isinstance(error, JobTimeoutException):
        error = InputError(
            f"the image took longer than {JOB_SECONDS} s: make it smaller, or tile it"
        )
    elif _may_pass(error) and attempt < MOST_ATTEMPTS:
        log.info("task %s: try %d: %s", request.task_id, attempt, _one_line(error))
        return _again(attempt)
    _give_up(engine, request, _one_line(error))
    return None


def _may_pass(error: Exception) -> bool:
    """Whether a later try, perhaps on another worker, may succeed."""
    return isinstance(error, OtherModelError) or (isinstance(error, FetchError) and error.transient)


def _unexpected(engine: Engine, request: SegmentRequest, attempt: int) -> Retry | None:
    """Called in an exception handler: the traceback goes to this log and nowhere else."""
    job = get_current_job()
    name = job.id if job is not None else request.key
    log.exception("task %s: try %d: job %s failed", request.task_id, attempt, name)
    engine.suspect = True
    if attempt < MOST_ATTEMPTS:
        return _again(attempt)
    _give_up(engine, request, f"an internal error: the worker's log has it under job {name}")
    return None


def _again(attempt: int) -> Retry:
    return Retry(max=MOST_ATTEMPTS, interval=RETRY_SECONDS[attempt - 1])


def _give_up(engine: Engine, request: SegmentRequest, message: str) -> None:
    store_failure(engine.redis, request.key, message)
    failures.record(engine.redis, [TaskFailure(SEGMENT_QUEUE, request.task_id, message)])
    log.warning("task %s: %s", request.task_id, message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
