"""`judge`: the function that RQ may call on a queue of windows, for a worker's bench.

It raises nothing that it can name, and tries nothing again: whoever asked for a scene is there, and
decides. Only a worker that cannot read the scene gives the window back, says why, and leaves
windows alone for a while, so that those who can are not robbed of them.
"""

import logging
import time
from functools import partial
from typing import Any

from redis import RedisError
from rq import Retry
from rq.timeouts import JobTimeoutException

from dgl_rsis.scenes.cells import Cells
from dgl_rsis.types import InputError
from workers.engine.scenes import SceneRefusedError
from workers.engine.segmenter import Segmenter
from workers.processes.jobs import ATTEMPTS_KEPT_SECONDS, MOST_ATTEMPTS, Workbench
from workers.queue import tallies, windows
from workers.queue.connection import JOB_SECONDS
from workers.queue.packing import read_or_drop
from workers.queue.replies import attempts_key
from workers.queue.windows import WindowFailure, WindowRequest, result_key, window_job_id

log = logging.getLogger(__name__)

AWAY_SECONDS = 30.0  # without windows, for a worker that cannot read one's scene
MOST_REFUSALS = 1000  # of one window; whoever asked gives up long before
DEADLY = (
    f"the worker process died {MOST_ATTEMPTS} times while it judged this window: give a smaller "
    "--window, or the worker more memory"
)


def judge(bench: Workbench, payload: dict[str, Any]) -> Retry | None:
    """Judge one window; what came of it is kept under its key.

    Args:
        bench: of the worker that performs the job.
        payload: `WindowRequest.to_json()`.

    Returns:
        None when it is decided; how to try again when this worker cannot read the scene.
    """
    request, started = read_or_drop(WindowRequest.from_json, payload), time.perf_counter()
    if request is None or bench.redis.exists(result_key(request.key)):
        return None
    if _count_attempt(bench, request) > MOST_ATTEMPTS:
        _failed(bench, request, "worker-died", WindowFailure(DEADLY))
        return None
    try:
        cells = _cells(bench, request)
    except SceneRefusedError as error:
        return _refused(bench, request, str(error))
    except InputError as error:
        _failed(bench, request, "input", WindowFailure(str(error)))
    except JobTimeoutException:
        message = f"took longer than {JOB_SECONDS} s: give a smaller --window"
        _failed(bench, request, "time", WindowFailure(message))
    except Exception as error:
        _unexpected(bench, request, error)
    else:
        if cells is None:
            _judged(bench, request, None, started)
        else:
            windows.announce_sending(bench.redis, request.key)
            bench.sender.send(partial(_send, bench, request, cells, started))
    return None


def _send(bench: Workbench, request: WindowRequest, cells: Cells, started: float) -> None:
    """Runs beside the next job: what goes wrong is told nobody but the log.

    Whoever asked finds no result, nor a job, and asks again.
    """
    try:
        _judged(bench, request, cells, started)
    except RedisError as error:
        log.warning(
            "%s: window %d, %d was judged, and not sent: %s",
            request.scene, request.row, request.column, error,
        )  # fmt: skip


def _judged(bench: Workbench, request: WindowRequest, cells: Cells | None, started: float) -> None:
    windows.keep(bench.redis, request.key, b"" if cells is None else cells.pack())
    _forget_attempts(bench, request)
    spent = time.perf_counter() - started
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "windows", "judged")
        tallies.observe(pipe, "job_stage_seconds", "window", spent)
    log.info("%s: window %d, %d (%.2f s)", request.scene, request.row, request.column, spent)


def _cells(bench: Workbench, request: WindowRequest) -> Cells | None:
    segmenter = bench.segmenter
    if segmenter.model_version != request.model_version or not isinstance(segmenter, Segmenter):
        # It stood in the queue of another version: nobody who keeps to the rules puts it there.
        raise InputError(f"it is for model {request.model_version}, which is not this worker's")
    if bench.scenes is None:
        raise SceneRefusedError("this worker reads no scenes")
    return bench.scenes.judge(request, segmenter, bench.stages)


def _count_attempt(bench: Workbench, request: WindowRequest) -> int:
    """Count before the work, so that a try that kills the process is counted, too."""
    key = request.key
    with bench.redis.pipeline() as pipe:
        pipe.incr(attempts_key(key))
        pipe.expire(attempts_key(key), ATTEMPTS_KEPT_SECONDS)
        what = f"window {request.row}, {request.column} of {request.scene}"
        bench.stages.begin(pipe, window_job_id(key), key, what, "opening the scene")
        count, *_ = pipe.execute()
    return int(count)


def _forget_attempts(bench: Workbench, request: WindowRequest) -> None:
    bench.redis.delete(attempts_key(request.key))


def _refused(bench: Workbench, request: WindowRequest, why: str) -> Retry:
    """Give the window to another worker, and say why."""
    log.warning("%s: no window of it is judged here: %s", request.scene, why)
    windows.refuse(bench.redis, request.scene_key, bench.stages.worker, why)
    _forget_attempts(bench, request)
    bench.windows_from = time.monotonic() + AWAY_SECONDS
    return Retry(max=MOST_REFUSALS)


def _unexpected(bench: Workbench, request: WindowRequest, error: Exception) -> None:
    """Called in an exception handler: the traceback goes to this log and nowhere else."""
    job = window_job_id(request.key)
    log.exception("%s: job %s failed", request.scene, job)
    bench.suspect = True
    message = f"an internal error ({type(error).__name__}): a worker's log has it under job {job}"
    _failed(bench, request, "internal", WindowFailure(message, may_pass=True))


def _failed(bench: Workbench, request: WindowRequest, cause: str, failure: WindowFailure) -> None:
    """Leave word of a failure; `cause` is one of the tally `job_failures`."""
    windows.keep(bench.redis, request.key, failure)
    _forget_attempts(bench, request)
    with tallies.quietly(bench.redis) as pipe:
        tallies.count(pipe, "windows", "failed")
        tallies.count(pipe, "job_failures", cause)
    log.warning(
        "%s: window %d, %d: %s", request.scene, request.row, request.column, failure.message
    )
