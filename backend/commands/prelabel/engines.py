"""Who answers: the workers of a queue, or a model in this process."""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from backend.commands.prelabel.items import Answered, ItemError, PrelabelError, PrelabelItem, Stop
from backend.commands.prelabel.requests import Requests
from workers.messages import SEGMENT_QUEUE, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.replies import Failure
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

Reply = TypeVar("Reply")
Request = SegmentRequest | Failure  # a failure where an item cannot be asked for

WINDOW = 256  # tasks in the queue at once: enough for many workers, little memory of Redis
WINDOW_BYTES = 64_000_000  # of images that are sent along
LOOK_UP = 32  # replies at a time: those of large images are large
POLL_SECONDS = 0.05
QUIET_SECONDS = 30.0  # without an answer: look for what went wrong
OUTAGE_SECONDS = 600.0  # how long a queue may be away
LOST_PAUSE_SECONDS = 2.0
LATER_SECONDS = 60.0  # before what Label Studio, or another server, did not give is tried once more
START = "start one with `dgl-rsis worker` (or `dgl-rsis up`), or take --local"


class Engine(Protocol):
    """Answers items."""

    @property
    def model_version(self) -> str:
        """Of the model that answers."""

    def answers(
        self, requests: Requests, items: Iterable[PrelabelItem]
    ) -> Iterator[list[Answered]]:
        """Items with their answers, some at a time, in any order."""

    def taken(self, keys: Sequence[str]) -> None:
        """The answers under these keys are kept elsewhere now."""


class QueueEngine:
    """Has items answered through the queue, a bounded window of them at a time.

    A key is computed once however often it is asked for, so a run that goes on picks up what was
    in the queue when the last one ended.

    Args:
        client: the queue.
        stop: ends the run, with what is in the window left in the queue.
        again: names of items that failed before: the queue is to forget that.
        kept_seconds: how long the queue keeps an answer that was taken.

    Raises:
        PrelabelError: the queue cannot be reached, or no worker is alive to begin with.
    """

    def __init__(
        self, client: SegmentClient, stop: Stop, again: Collection[str], kept_seconds: int
    ) -> None:
        self._client = client
        self._stop = stop
        self._again = again
        self._kept_seconds = kept_seconds
        self._pending: dict[str, list[PrelabelItem]] = {}  # by key
        self._sizes: dict[str, int] = {}  # bytes sent along, by key
        self.model_version = self._announced()

    def _announced(self) -> str:
        try:
            announced = self._client.announced()
            alive = bool(self._client.ready())
        except QueueError as error:
            raise PrelabelError(str(error)) from None
        if announced is None or not alive:
            raise PrelabelError(f"no segment worker is alive: {START}")
        return announced.model_version

    def learnt(self, project: int) -> str:
        """What a project learnt so far, as `SegmentRequest.prototypes`; empty for nothing."""
        return self._reach(partial(self._client.corrections.prototypes, str(project)))

    def answers(
        self, requests: Requests, items: Iterable[PrelabelItem]
    ) -> Iterator[list[Answered]]:
        """Items with their answers, some at a time, in any order.

        Raises:
            PrelabelError: the queue was away for too long, or its model changed.
        """
        supply, heard = iter(items), time.monotonic()
        while not self._stop.asked:
            if unasked := self._fill(requests, supply):
                yield unasked
            elif not self._pending:
                return
            if ready := self._ready():
                heard = time.monotonic()
                yield ready
            elif time.monotonic() - heard > QUIET_SECONDS:
                heard = time.monotonic()
                self._look_around(requests)
            if len(ready) < LOOK_UP:
                time.sleep(POLL_SECONDS)

    def taken(self, keys: Sequence[str]) -> None:
        """These answers are kept elsewhere now: Redis may forget them soon."""
        self._reach(partial(self._client.keep_briefly, keys, self._kept_seconds))

    def _fill(self, requests: Requests, supply: Iterator[PrelabelItem]) -> list[Answered]:
        """Ask for more items while there is room; returns those that cannot be asked for."""
        asked: list[SegmentRequest] = []
        unasked: list[Answered] = []
        failed: list[str] = []
        while len(self._pending) < WINDOW and sum(self._sizes.values()) < WINDOW_BYTES:
            if (item := next(supply, None)) is None:
                break
            try:
                request = requests.of(item)
            except ItemError as error:
                unasked.append(Answered(item, Failure(str(error))))
                if len(unasked) >= WINDOW:
                    break
                continue
            self._pending.setdefault(request.key, []).append(item)
            self._sizes[request.key] = sum(map(len, request.images))
            asked.append(request)
            if item.name in self._again:
                failed.append(request.key)
        if asked:
            self._reach(partial(self._client.forget_failures, failed))
            self._submit(asked)
        return unasked

    def _submit(self, requests: Sequence[SegmentRequest]) -> None:
        """Ask for items; while the queue is full, wait."""
        said = False
        while requests and not self._stop.asked:
            requests = self._reach(partial(self._client.submit, requests))
            if requests:
                if not said:
                    LOG.warning("the queue is full: waiting for room")
                said = True
                self._stop.rest(LOST_PAUSE_SECONDS)

    def _ready(self) -> list[Answered]:
        """Answers that are there now, some of them at most."""
        keys = list(self._pending)
        for start in range(0, len(keys), LOOK_UP):
            part = keys[start : start + LOOK_UP]
            answers = self._reach(partial(self._client.look_up, part))
            arrived = {key: answer for key, answer in answers.items() if answer is not None}
            if arrived:
                return [
                    Answered(item, answer, key)
                    for key, answer in arrived.items()
                    for item in self._release(key)
                ]
        return []

    def _release(self, key: str) -> list[PrelabelItem]:
        del self._sizes[key]
        return self._pending.pop(key)

    def _look_around(self, requests: Requests) -> None:
        """Nothing was answered for a while: say why, and see that nothing was lost."""
        alive = [w for w in self._reach(self._client.workers) if w.queue == SEGMENT_QUEUE]
        if not alive:
            LOG.warning("no segment worker is alive: waiting for one; %s", START)
        announced = self._reach(self._client.announced)
        version = self.model_version
        if announced is not None and announced.model_version != version:
            raise PrelabelError(
                f"the workers' model changed from {version} to {announced.model_version}: go on "
                "with the former, or begin anew with another --out"
            )
        if not any(worker.job for worker in alive):  # else it is a slow model
            self._ask_again(requests)

    def _ask_again(self, requests: Requests) -> None:
        """Submit what is pending once more; the queue leaves alone what it still has."""
        for items in list(self._pending.values()):
            try:
                request = requests.of(items[0])
            except ItemError:
                continue  # its file is gone meanwhile: its job has the bytes, or fails
            self._submit([request])

    def _reach(self, call: Callable[[], Reply]) -> Reply:
        """Call the queue; while it is away, wait.

        Raises:
            PrelabelError: it stayed away.
        """
        deadline, said = time.monotonic() + OUTAGE_SECONDS, False
        while True:
            try:
                reply = call()
            except QueueError as error:
                if self._stop.asked or not error.passes or time.monotonic() > deadline:
                    raise PrelabelError(f"{error}; the same command goes on from here") from None
                if not said:
                    LOG.warning("%s; waiting for it for %.0f s", error, OUTAGE_SECONDS)
                said = True
                time.sleep(LOST_PAUSE_SECONDS)
                continue
            if said:
                LOG.info("the queue is back")
            return reply


class LocalEngine:
    """Answers items in this process, one after the other; others may prepare the next images.

    Args:
        settings: of the model, and of what may be fetched.
        stop: ends the run after the item in work.

    Raises:
        ModelError: there is no such model.
    """

    def __init__(self, settings: WorkerSettings, stop: Stop) -> None:
        from workers.engine.answers import answer
        from workers.processes import jobs, segment

        self._answer = answer
        self._expected: tuple[type[Exception], ...] = jobs.EXPECTED
        self._may_pass = jobs.may_pass
        self._segmenter, self._pictures, self._ahead = segment.load_model(settings)
        self._stop = stop
        self.model_version = self._segmenter.model_version

    def answers(
        self, requests: Requests, items: Iterable[PrelabelItem]
    ) -> Iterator[list[Answered]]:
        """Items with their answers, one at a time, in order; last what may be had later."""
        later: list[PrelabelItem] = []
        for item, request in self._asked(requests, items):
            if self._stop.asked:
                return
            if (answer := self._one(item, request)) is None:
                later.append(item)
            else:
                yield [Answered(item, answer)]
        if later:
            LOG.warning("%d images were not to be had: %.0f s until the next try of them",
                        len(later), LATER_SECONDS)  # fmt: skip
            self._stop.rest(LATER_SECONDS)
        for item in later:
            if self._stop.asked:
                return
            yield [Answered(item, self._one(item, _request(requests, item), last=True))]

    def taken(self, keys: Sequence[str]) -> None:
        """Nothing is kept here."""

    def _asked(
        self, requests: Requests, items: Iterable[PrelabelItem]
    ) -> Iterator[tuple[PrelabelItem, Request]]:
        """Items with what is asked; images of the next ones are prepared meanwhile."""
        drawn: deque[tuple[PrelabelItem, Request]] = deque()
        supply = iter(items)
        while True:
            for item in islice(supply, 1 + self._ahead.most - len(drawn)):
                drawn.append((item, _request(requests, item)))
            if not drawn:
                return
            now, *after = (_images(request) for _, request in drawn)
            self._ahead.prepare([image for images in after for image in images], held=now)
            yield drawn.popleft()

    def _one(self, item: PrelabelItem, request: Request, *, last: bool = False) -> Any:
        """The answer for an item; None where a later try may give one."""
        if isinstance(request, Failure):
            return request
        try:
            return self._answer(request, self._segmenter, self._pictures)
        except self._expected as error:
            if not last and self._may_pass(error):
                return None
            return Failure(" ".join(str(error).split()))
        except Exception:
            LOG.exception("%s: an internal error", item.name)
            return Failure("an internal error: its traceback is in this command's log")


def _request(requests: Requests, item: PrelabelItem) -> Request:
    try:
        return requests.of(item)
    except ItemError as error:
        return Failure(" ".join(str(error).split()))


def _images(request: Request) -> tuple[str, ...]:
    return () if isinstance(request, Failure) else request.images
