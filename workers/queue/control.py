"""Trying tasks again, and taking them back, as people ask for it on the page.

Both may be asked for any number of times, by several people at once, and while workers and
deliveries go on. What has been taken from the queue by a worker is not interrupted: its masks are
kept for the next who asks, and nothing is delivered.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from workers.messages import DeliveryRequest, SegmentRequest
from workers.queue.cancelling import Cancelling
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, reaching_redis, segment_job_id
from workers.queue.ledger import OPEN, RETRIABLE, Entry, Outcome
from workers.queue.replies import (
    attempts_key,
    failure_key,
    keep_request,
    kept_requests,
    reply_key,
    tries_key,
)

LOOKED_AT = 100  # of the longest waiting, when it is looked what was lost
LEAST_AGE_SECONDS = 60.0  # of what may be lost: a job and its note are not written at once
GONE = "open the task in Label Studio again: what was asked is no longer kept"
NO_REQUEST = "correct the task's data in Label Studio and open it again"
FULL = "the queue is full: ask again when some of it is done, or raise MAX_WAITING"
KEPT_SECONDS = 24 * 3600  # how long what found no room can be asked for again
LOST = "its job is gone from the queue: open the task in Label Studio again"


@dataclass(frozen=True)
class Retried:
    """What became of the wish to have tasks tried again.

    Attributes:
        again: how many were asked for again.
        refused: task ids with why they cannot be.
        full: the queue has no room for more.
    """

    again: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    full: bool = False


Update = Callable[[SegmentRequest], SegmentRequest]


class Control:
    """Retry and cancel tasks of a project.

    Args:
        client: the queue.
        delivers: whether masks can be pushed to Label Studio.
    """

    def __init__(self, client: SegmentClient, *, delivers: bool) -> None:
        redis = self._redis = client.server
        self._client = client
        self._delivers = delivers
        self._cancelling = Cancelling(redis)

    @reaching_redis()
    def retry(self, project: str, entries: Sequence[Entry], update: Update) -> Retried:
        """Try tasks again that are without masks in Label Studio; others are left alone.

        Where the masks are there, only their delivery: one that waits for its next try goes at
        once.

        Args:
            project: Label Studio's id of theirs.
            entries: as they stand in the ledger.
            update: puts the present model version into a request.
        """
        wanted = [each for each in entries if each.state in RETRIABLE]
        keys = [each.key for each in wanted if each.key]
        if not wanted:
            return Retried()
        ready = self._client.answered(keys)
        kept = kept_requests(self._redis, keys)
        asked: list[SegmentRequest] = []
        pushed: list[DeliveryRequest] = []
        refused: list[tuple[str, str]] = []
        for entry in wanted:
            failed = kept.get(entry.key)
            if not entry.key:
                refused.append((entry.task_id, NO_REQUEST))
            elif entry.key in ready and entry.config and self._delivers:
                pushed.append(_delivery(project, entry, entry.key))
            elif failed is None or failed.request is None:
                refused.append((entry.task_id, GONE))
            else:
                request = update(replace(failed.request, task_id=entry.task_id))
                asked.append(request)
                if entry.config and self._delivers:
                    pushed.append(_delivery(project, entry, request.key))
        self._forget([*keys, *(request.key for request in asked)])
        unasked = {each.task_id for each in self._client.submit(asked, project=project)}
        pushed = [each for each in pushed if str(each.task_id) not in unasked]
        unasked |= {str(each.task_id) for each in self._client.deliver(pushed)}
        self._client.ledger.settle(project, self._unasked(asked, pushed, unasked))
        refused += [(task, FULL) for task in sorted(unasked)]
        again = {each.task_id for each in asked} | {str(each.task_id) for each in pushed}
        return Retried(len(again - unasked), tuple(refused), bool(unasked))

    def _unasked(
        self,
        asked: Sequence[SegmentRequest],
        pushed: Sequence[DeliveryRequest],
        tasks: Collection[str],
    ) -> list[Outcome]:
        """Where those stand that the queue has no room for; their requests are kept."""
        for each in asked:
            if each.task_id in tasks:
                keep_request(self._redis, each, FULL, KEPT_SECONDS)
        keys = {str(each.task_id): each.key for each in pushed}
        keys |= {each.task_id: each.key for each in asked}
        return [Outcome(task, key, "failed", FULL) for task, key in keys.items() if task in tasks]

    @reaching_redis()
    def refusal(self, entry: Entry) -> str:
        """Why a task that is without masks cannot be tried again; empty when it can."""
        if not entry.key:
            return NO_REQUEST
        if entry.config and self._delivers and self._client.answered([entry.key]):
            return ""
        failed = kept_requests(self._redis, [entry.key]).get(entry.key)
        return GONE if failed is None or failed.request is None else ""

    @reaching_redis()
    def cancel(self, project: str, entries: Sequence[Entry]) -> int:
        """Take back tasks that wait or are in work; how many there were."""
        wanted = [each for each in entries if each.state in OPEN and each.key]
        if not wanted:
            return 0
        tasks = [(each.task_id, each.key) for each in wanted]
        freed = self._cancelling.cancel(project, tasks, keep=True)
        outcomes = [
            Outcome(each.task_id, each.key, "cancelled")
            for each, free in zip(wanted, freed, strict=True)
            if free
        ]
        return self._client.ledger.settle(project, outcomes)

    @reaching_redis()
    def look_after(self, project: str) -> int:
        """See what became of the tasks that wait the longest, where nobody was there to note it.

        Returns:
            How many had ended.
        """
        before = time.time() - LEAST_AGE_SECONDS
        oldest = self._client.ledger.oldest(project, "queued", LOOKED_AT)
        oldest = [each for each in oldest if each.changed < before]
        if not oldest:
            return 0
        with self._redis.pipeline(transaction=False) as pipe:
            for each in oldest:
                pipe.hget(AllowedJob.key_for(segment_job_id(each.key)), "status")
                pipe.exists(reply_key(each.key))
                pipe.get(failure_key(each.key))
            answers = pipe.execute()
        kept = kept_requests(self._redis, [each.key for each in oldest])
        outcomes = []
        for number, each in enumerate(oldest):
            status, replied, failure = answers[3 * number : 3 * number + 3]
            if replied or status not in (None, b"finished", b"failed"):
                continue
            failed = kept.get(each.key)
            why = failure.decode() if failure else failed.message if failed else LOST
            outcomes.append(Outcome(each.task_id, each.key, "failed", why))
        return self._client.ledger.settle(project, outcomes)

    def _forget(self, keys: Sequence[str]) -> None:
        """Let what failed be tried anew, from the first try on."""
        names = [name(key) for key in keys for name in (failure_key, attempts_key, tries_key)]
        if names:
            self._redis.delete(*names)


def _delivery(project: str, entry: Entry, key: str) -> DeliveryRequest:
    return DeliveryRequest(int(entry.task_id), key, entry.config, project)
