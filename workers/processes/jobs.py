"""`segment` and `learn`: the functions that RQ may call on the segment queue, for a worker's bench.

They raise nothing that they can name. What the user can put right becomes a failure message and one
line in the log. What may pass by itself is tried again, and what nobody foresaw is tried again with
its traceback in the log; after `MOST_ATTEMPTS` each becomes a failure, too. Somebody who points at
something waits for the answer, so that has one try, and its answer is forgotten soon.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Retry, get_current_job
from rq.timeouts import JobTimeoutException

from dgl_rsis.types import ImageError, InputError
from workers import logs
from workers.engine import learning
from workers.engine.answers import OtherModelError, answer
from workers.engine.learnt import Recall
from workers.images.download import FetchError
from workers.images.pictures import Pictures
from workers.messages import (
    SEGMENT_QUEUE,
    LearnRequest,
    SegmentReply,
    SegmentRequest,
    learn_job_id,
)
from workers.processes.sender import Sender
from workers.processes.stages import Stages
from workers.queue import failures, tallies
from workers.queue.connection import JOB_SECONDS, segment_job_id
from workers.queue.failures import TaskFailure
from workers.queue.following import REFRESH_SECONDS, FollowingClient
from workers.queue.packing import read_or_drop
from workers.queue.prototypes import PrototypeStore
from workers.queue.replies import (
    FAILURE_SECONDS,
    attempts_key,
    keep_request,
    reply_key,
    store_failure,
    store_reply,
    tries_key,
)

if TYPE_CHECKING:
    from workers.engine.model import Model
    from workers.engine.scenes import SceneJudge
    from workers.processes.ahead import Ahead

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # that end the process, or that nobody can explain
# Label Studio that is away for a quarter of an hour must not empty the queue into failures; nor is
# it asked later than a minute after it is back.
RETRY_SECONDS = (15, 30, *[60] * 14)
DOUBTFUL_TRIES = 3  # of what Label Studio refuses, as while it starts
LEARN_RETRY_SECONDS = (15, 60, 300)
ATTEMPTS_KEPT_SECONDS = 24 * 3600
# The next click is another request; and what a project learnt or unlearnt in the meantime must not
# answer for the version that was asked for, should that come back.
PASSING_REPLY_SECONDS = 3600
POINTED_FAILURE_SECONDS = 10  # whoever waits may try the same again at once
DEADLY = (
    f"the worker process died {MOST_ATTEMPTS} times while it worked on this image: save it again "
    "as PNG, make it smaller, or give the worker more memory"
)
DEADLY_POINTED = (
    "the worker process died while it worked on this prompt: try again; if it dies again, save the "
    "image as PNG, make it smaller, or give the worker more memory"
)


# What the user can put right, or time: each with its cause in the tally `job_failures`.
CAUSES: Mapping[type[Exception], str] = {
    OtherModelError: "model",
    InputError: "input",
    FetchError: "fetch",
    ImageError: "image",
    JobTimeoutException: "time",
}
EXPECTED = tuple(CAUSES)


@dataclass
class Workbench:
    """What a worker with a model has at hand for its jobs.

    Attributes:
        segmenter: the model.
        pictures: opens images.
        redis: where replies go, and where what projects learnt is kept.
        reply_seconds: how long a reply is kept.
        refresh_seconds: how long a project must have learnt nothing before its open tasks get new
            predictions.
        suspect: set when a job ended unexpectedly: the worker then tests the model again.
        scenes: judges windows of scenes; None judges none.
        ahead: prepares images of the next jobs; None prepares none.
        windows_from: by the monotonic clock, before which the worker takes no windows.
        recall: what projects learnt.
        stages: is told how far a job is.
        sender: sends what a window says, beside the next one.
    """

    segmenter: "Model"
    pictures: Pictures
    redis: Redis
    reply_seconds: int
    refresh_seconds: float = REFRESH_SECONDS
    suspect: bool = False
    scenes: "SceneJudge | None" = None
    ahead: "Ahead | None" = None
    windows_from: float = 0.0
    recall: Recall = field(init=False)
    stages: Stages = field(init=False)
    sender: Sender = field(init=False, default_factory=Sender)

    def __post_init__(self) -> None:
        """What is learnt is kept where replies are."""
        self.recall = Recall(PrototypeStore(self.redis))
        self.known_as("")

    def close(self) -> None:
        """End what works beside the worker."""
        self.sender.wait()
        if self.ahead is not None:
            self.ahead.close()

    def known_as(self, worker: str) -> None:
        """Tell the stages of jobs under a worker's name."""
        self.stages = Stages(self.redis, worker)


def segment(bench: Workbench, payload: dict[str, Any]) -> Retry | None:
    """Answer one `SegmentRequest`; the reply or the failure is stored under its key.

    Args:
        bench: of the worker that performs the job.
        payload: `SegmentRequest.to_json()`.

    Returns:
        None when it is decided; how to try again when not.
    """
    request, started = read_or_drop(SegmentRequest.from_json, payload), time.perf_counter()
    if request is None:
        return None
    logs.add(task=request.task_id)
    if bench.redis.exists(reply_key(request.key)):
        return None  # a job of a worker that was taken for dead, and was not
    attempt = _count_attempt(bench, request)
    if attempt > _most_attempts(request):
        # Counted, and nothing came of it: the process was killed each time.
        _give_up(bench, request, DEADLY_POINTED if request.awaited else DEADLY, "worker-died")
        return None
    try:
        reply = answer(request, bench.segmenter, bench.pictures, bench.recall, bench.stages)
    except EXPECTED as error:
        return _expected(bench, request, error)
    except Exception:
        return _unexpected(bench, request, attempt)
    kept = bench.reply_seconds
    if request.awaited or reply.model_version != request.model_version:
        kept = min(kept, PASSING_REPLY_SECONDS)
    _keep(bench, request, reply, kept)
    _tally(bench, reply.seconds | {"total": time.perf_counter() - started})
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in reply.seconds.items())
    log.info("task %s: %d segments (s: %s)", request.task_id, len(reply.segments), stages)
    return None


def _tally(bench: Workbench, seconds: Mapping[str, float]) -> None:
    """Count an answered job with its stages, and where what its images cost was found."""
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "jobs", "answered")
        for stage, spent in seconds.items():
            tallies.observe(pipe, "job_stage_seconds", stage, spent)
        for tier, times in bench.pictures.cache_uses().items():
            tallies.count(pipe, "image_cache", tier, times)


def _keep(bench: Workbench, request: SegmentRequest, reply: SegmentReply, seconds: int) -> None:
    """Store a reply; while the queue is away, that waits (`workers.queue.patience`)."""
    stored = replace(reply, subject=request.subject, stored_at=time.time())
    store_reply(bench.redis, request.key, stored, seconds)


def learn(bench: Workbench, payload: dict[str, Any]) -> Retry | None:
    """Learn from one annotation. Nobody waits for it, so what goes wrong is only said.

    Args:
        bench: of the worker that performs the job.
        payload: `LearnRequest.to_json()`.

    Returns:
        None when it is decided; how to try again when not.
    """
    request = read_or_drop(LearnRequest.from_json, payload)
    if request is None:
        return None
    logs.add(project=request.project, task=request.task_id)
    started = time.perf_counter()
    with bench.redis.pipeline() as pipe:
        job, stage = learn_job_id(request), "learning from its masks"
        bench.stages.begin(pipe, job, request.key, request.task_id, stage)
        pipe.execute()
    try:
        store = PrototypeStore(bench.redis)
        before = store.revision(request.project)
        outcome = learning.update_share(request, bench.segmenter, bench.pictures, store)
    except EXPECTED as error:
        return _not_learnt(bench, request, _one_line(error), may_pass=may_pass(error))
    except Exception as error:
        log.exception("task %s: learning failed", request.task_id)
        bench.suspect = True
        return _not_learnt(
            bench, request, f"an internal error: {type(error).__name__}", may_pass=True
        )
    if store.revision(request.project) != before:
        FollowingClient(bench.redis, bench.refresh_seconds).changed(request.project)
    seconds = time.perf_counter() - started
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "jobs", "learnt")
    log.info("task %s: learnt %s (%.2f s)", request.task_id, outcome, seconds)
    return None


def _not_learnt(
    bench: Workbench, request: LearnRequest, cause: str, *, may_pass: bool
) -> Retry | None:
    job = get_current_job()
    tries = (job.number_of_retries or 0) if job is not None else 0
    again = may_pass and tries < len(LEARN_RETRY_SECONDS)
    level = logging.INFO if again else logging.WARNING
    log.log(level, "task %s: nothing is learnt: %s", request.task_id, cause)
    if not again:
        with tallies.quietly(bench.redis) as pipe:
            tallies.count(pipe, "jobs", "not-learnt")
        return None
    return Retry(max=len(LEARN_RETRY_SECONDS), interval=list(LEARN_RETRY_SECONDS))


def _most_attempts(request: SegmentRequest) -> int:
    return 1 if request.awaited else MOST_ATTEMPTS


def _count_attempt(bench: Workbench, request: SegmentRequest) -> int:
    """Count before the work, so that a try that kills the process is counted, too."""
    key = request.key
    with bench.redis.pipeline() as pipe:
        pipe.incr(attempts_key(key))
        pipe.expire(attempts_key(key), ATTEMPTS_KEPT_SECONDS)
        bench.stages.begin(pipe, segment_job_id(key), key, request.task_id)
        count, *_ = pipe.execute()
    return int(count)


def _expected(bench: Workbench, request: SegmentRequest, error: Exception) -> Retry | None:
    cause = next(cause for kind, cause in CAUSES.items() if isinstance(error, kind))
    if isinstance(error, JobTimeoutException):
        what, way_out = "the image", "make it smaller, or tile it"
        if request.more:
            what = f"its {1 + len(request.more)} images together"
            way_out = "make them smaller, or import them as several tasks"
        error = InputError(f"{what} took longer than {JOB_SECONDS} s: {way_out}")
    elif may_pass(error) and not request.awaited:
        tries = _count_survived(bench, request)
        if tries <= _most_tries(error):
            log.info("task %s: try %d: %s", request.task_id, tries, _one_line(error))
            return _again(bench, tries)
    _give_up(bench, request, _one_line(error), cause)
    return None


def _count_survived(bench: Workbench, request: SegmentRequest) -> int:
    """Tries that ended with a cause that may pass: none of those that the process dies of."""
    tries = tries_key(request.key)
    with bench.redis.pipeline() as pipe:
        pipe.incr(tries)
        pipe.expire(tries, ATTEMPTS_KEPT_SECONDS)
        pipe.decr(attempts_key(request.key))
        count, *_ = pipe.execute()
    return int(count)


def may_pass(error: Exception) -> bool:
    """Whether a later try, perhaps on another worker, may succeed."""
    if isinstance(error, FetchError):
        return error.transient or error.doubtful
    return isinstance(error, OtherModelError)


def _most_tries(error: Exception) -> int:
    doubtful = isinstance(error, FetchError) and error.doubtful
    return DOUBTFUL_TRIES if doubtful else len(RETRY_SECONDS)


def _unexpected(bench: Workbench, request: SegmentRequest, attempt: int) -> Retry | None:
    """Called in an exception handler: the traceback goes to this log and nowhere else."""
    job = get_current_job()
    name = job.id if job is not None else request.key
    log.exception("task %s: try %d: job %s failed", request.task_id, attempt, name)
    bench.suspect = True
    if attempt < _most_attempts(request):
        return _again(bench, attempt)
    message = f"an internal error: the worker's log has it under job {name}"
    _give_up(bench, request, message, "internal")
    return None


def _again(bench: Workbench, tries: int) -> Retry:
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "jobs", "retried")
    return Retry(max=len(RETRY_SECONDS), interval=RETRY_SECONDS[tries - 1])


def _give_up(bench: Workbench, request: SegmentRequest, message: str, cause: str) -> None:
    """Leave word of a failure; `cause` is one of the tally `job_failures`."""
    if bench.redis.exists(reply_key(request.key)):
        return  # another worker had more luck, while this one was taken for dead
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "jobs", "failed")
        tallies.count(pipe, "job_failures", cause)
    kept = POINTED_FAILURE_SECONDS if request.awaited else FAILURE_SECONDS
    store_failure(bench.redis, request.key, message, kept)
    if not request.awaited:  # else the web side, which waits for it, says it: once is enough
        keep_request(bench.redis, request, message, bench.reply_seconds)
        failures.record(bench.redis, [TaskFailure(SEGMENT_QUEUE, request.task_id, message)])
    log.warning("task %s: %s", request.task_id, message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
