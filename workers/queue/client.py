"""The web side's only door to the queue: submit, wait, look up, deliver, claim.

Every method is a few round trips whatever the number of requests, and raises `QueueError` when
Redis cannot be reached, which the web side turns into "nothing yet".
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Self

from redis import Redis
from rq import Queue
from rq.job import Dependency, Job, Retry
from rq.utils import as_text

from workers.messages import (
    DELIVERY_FUNCTION,
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_FUNCTION,
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentRequest,
    Served,
)
from workers.queue import failures, heartbeats, replies
from workers.queue.cancelling import Cancelling
from workers.queue.claims import WAIT_SECONDS, Claims, claim_key
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    AllowedJob,
    asker,
    connect,
    delivery_job_id,
    fields_of,
    open_queue,
    reaching_redis,
    segment_job_id,
)
from workers.queue.corrections import CorrectionsClient
from workers.queue.failures import TaskFailure
from workers.queue.following import REFRESH_SECONDS, FollowingClient
from workers.queue.heartbeats import Announcement, Heartbeat
from workers.queue.ledger import Ledger
from workers.queue.replies import Answer
from workers.queue.running import Running, in_hand

FIRST_POLL_SECONDS = 0.01
LAST_POLL_SECONDS = 0.15  # somebody may be waiting
POLL_GROWTH = 1.3  # a click that takes 100 ms must not be seen at 160
# Label Studio may be down for a night: 19 hours in all.
DELIVERY_RETRY_SECONDS = (10, 30, 60, 300, 900, 1800, *[3600] * 18)

# Check and enqueue in one step. RQ's own `unique=True` was not enough: it cannot be pipelined
# (a thousand round trips), knows nothing of our replies and failures, and refuses a job for as long
# as RQ remembers an earlier run. A SET NX marker beside RQ's job would outlive a crash between the
# two writes, or expire while a long queue still waits. The job's own hash is the one marker that
# exists exactly as long as the job does. An open moves its waiting job to the front. The job also
# holds who asked for it, so that what one of them cancels is not taken from the others.
_SUBMIT = """
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then return 0 end
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'finished' and status ~= 'failed' then
  redis.call('HSET', KEYS[1], ARGV[3], '')
  if ARGV[2] == 'LPUSH' and redis.call('LREM', KEYS[2], 1, ARGV[1]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[1])
  end
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[3], '', unpack(ARGV, 4))
redis.call(ARGV[2], KEYS[2], ARGV[1])
return 1
"""

# The same for a delivery, which waits for its segment job in RQ's own structures (as
# `Job.register_dependency` would: RQ's client needs four round trips a job for it). RQ watches the
# set of dependents while it finishes a job, so none is missed. One that waits for its next try goes
# at once: who asks for it again is Label Studio, which is back.
_DELIVER = """
local claim = redis.call('GET', KEYS[3])
if claim and claim ~= 'push' then return 0 end
redis.call('SET', KEYS[3], 'push', 'EX', ARGV[4])
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'scheduled' and redis.call('ZREM', KEYS[8], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'status', 'queued')
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
if status and status ~= 'finished' and status ~= 'failed' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
local segment = redis.call('HGET', KEYS[4], 'status')
if segment and segment ~= 'finished' and segment ~= 'failed' then
  redis.call('HSET', KEYS[1], 'status', 'deferred')
  redis.call('SADD', KEYS[5], ARGV[1])
  redis.call('SADD', KEYS[6], ARGV[2])
  redis.call('ZADD', KEYS[7], ARGV[3], ARGV[1])
else
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
return 1
"""


class SegmentClient(Claims):
    """Submit requests, wait for replies, have them delivered, claim tasks.

    Args:
        redis: the queue's server; without `decode_responses`.
        reply_days: how long replies and configs are kept.
        refresh_seconds: how long a project must have learnt nothing before its open tasks get new
            predictions.

    Attributes:
        corrections: what projects learn from.
        following: has projects follow the version that they are served.
        ledger: what became of each task.
    """

    def __init__(
        self, redis: Redis, reply_days: int = 7, refresh_seconds: float = REFRESH_SECONDS
    ) -> None:
        super().__init__(redis)
        self.following = FollowingClient(redis, refresh_seconds)
        self.corrections = CorrectionsClient(redis, self.following)
        self._seconds = reply_days * 24 * 3600
        self.ledger = Ledger(redis, self._seconds)
        self._segment = open_queue(SEGMENT_QUEUE, redis)
        self._interactive = open_queue(INTERACTIVE_QUEUE, redis)
        self._delivery = open_queue(DELIVERY_QUEUE, redis)
        self._cancelling = Cancelling(redis)
        self._submit = redis.register_script(_SUBMIT)
        self._deliver = redis.register_script(_DELIVER)

    @classmethod
    def from_url(
        cls, url: str, reply_days: int = 7, refresh_seconds: float = REFRESH_SECONDS
    ) -> Self:
        """A client with the short time-outs that a web server needs."""
        return cls(connect(url), reply_days, refresh_seconds)

    def served(self, project: str, *, learns: bool) -> Served | None:
        """What a project is served now; None before the first worker was ready.

        Args:
            project: Label Studio's id, digits; empty for the model alone.
            learns: whether anything is learnt at all (setting LEARN).
        """
        announcement = self.announced()
        if announcement is None:
            return None
        prototypes = self.corrections.prototypes(project) if learns and project else ""
        return Served(announcement.model_version, prototypes)

    def project_note(self, project: str) -> str:
        """What a person has to set in Label Studio for a project; empty for nothing."""
        return self.following.note(project)

    def follow_now(self, project: str) -> None:
        """Have a project's open tasks and its shown version follow what it is served, at once."""
        self.following.now(project)

    @property
    def server(self) -> Redis:
        """The queue's server, for `Control`."""
        return self._redis

    @reaching_redis()
    def announced(self) -> Announcement | None:
        """The model that answers; None before the first worker was ready."""
        return heartbeats.announced(self._redis)

    @reaching_redis()
    def workers(self) -> list[Heartbeat]:
        """Workers that beat within the last half minute; `Heartbeat.is_live` says who serves."""
        return heartbeats.beats(self._redis)

    @reaching_redis()
    def ready(self) -> list[Heartbeat]:
        """The live segment workers; they beat only while their self-test passes."""
        return list(heartbeats.live(self._redis, SEGMENT_QUEUE))

    @reaching_redis()
    def running(self, workers: Sequence[Heartbeat]) -> list[Running]:
        """What these workers have in hand."""
        return in_hand(self._redis, workers)

    @reaching_redis()
    def waiting(self) -> dict[str, int]:
        """Number of jobs that wait in each queue, for metrics.

        The queue for people who wait only where something waits in it: many have no worker for it.
        """
        counts = {queue.name: len(queue) for queue in (self._segment, self._delivery)}
        reserved = len(self._interactive)
        return counts | ({INTERACTIVE_QUEUE: reserved} if reserved else {})

    @reaching_redis()
    def record_failures(self, given_up: Sequence[TaskFailure]) -> None:
        """Note tasks that get no prediction, for the status page and the metrics."""
        failures.record(self._redis, given_up)

    @reaching_redis()
    def failures(self) -> list[TaskFailure]:
        """The last tasks that were given up, in whatever process; newest first."""
        return failures.last(self._redis)

    @reaching_redis()
    def failure_counts(self) -> dict[str, int]:
        """How many tasks were ever given up, by stage."""
        return failures.counts(self._redis)

    @reaching_redis()
    def submit(
        self,
        requests: Sequence[SegmentRequest],
        *,
        at_front: bool = False,
        interactive: bool = False,
        project: str = "",
    ) -> None:
        """Have requests answered; what is answered, failed lately or waiting is left alone.

        What waits to be delivered for one of these tasks under another key, as of an older label
        config or model version, is taken back: nobody could cancel it any more.

        Args:
            requests: any number; equal ones count once.
            at_front: before all others, for a person who waits.
            interactive: by a worker that is reserved for people who wait, if one is alive; else at
                the front of the others' queue.
            project: Label Studio's id of theirs, to be noted in the ledger; empty notes nothing.
        """
        reserved = interactive and self._is_reserved()
        queue = self._interactive if reserved else self._segment
        push = "LPUSH" if interactive or at_front else "RPUSH"
        tasks = [(each.task_id, each.key) for each in requests]
        former = self.ledger.superseded(project, tasks)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(queue.redis_queues_keys, queue.key)
            self.ledger.ask(pipe, project, tasks)
            for request in requests:
                job = self._segment_job(request, queue)
                answers = [replies.reply_key(request.key), replies.failure_key(request.key)]
                head = [job.id, push, asker(request.task_id)]
                self._submit([job.key, queue.key, *answers], [*head, *fields_of(job)], pipe)
            pipe.execute()
        self._cancelling.cancel(former, keep=False)

    def _is_reserved(self) -> bool:
        """Whether a worker reserved for people who wait serves now."""
        return bool(heartbeats.live(self._redis, INTERACTIVE_QUEUE))

    @reaching_redis()
    def look_up(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Replies and failures; None for a key that is pending or unknown."""
        return replies.look_up(self._redis, keys)

    @reaching_redis()
    def answered(self, keys: Sequence[str]) -> set[str]:
        """Those of some keys whose replies are there; the replies are not read."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.exists(replies.reply_key(key))
            there = pipe.execute()
        return {key for key, reply in zip(keys, there, strict=True) if reply}

    @reaching_redis()
    def wait(self, keys: Sequence[str], seconds: float) -> dict[str, Answer]:
        """As `look_up`, as soon as all keys are decided or the time is over.

        A look at the queue costs one round trip, so it may be frequent at first.
        """
        deadline = time.monotonic() + seconds
        pause = FIRST_POLL_SECONDS
        answers: dict[str, Answer] = dict.fromkeys(keys)
        while True:
            pending = [key for key, answer in answers.items() if answer is None]
            answers |= replies.look_up(self._redis, pending)
            left = deadline - time.monotonic()
            if left <= 0 or all(answer is not None for answer in answers.values()):
                return answers
            time.sleep(min(pause, left))
            pause = min(pause * POLL_GROWTH, LAST_POLL_SECONDS)

    @reaching_redis()
    def forget_failures(self, keys: Sequence[str]) -> None:
        """Let requests that failed lately be tried again."""
        if keys:
            self._redis.delete(*[replies.failure_key(key) for key in keys])

    @reaching_redis()
    def keep_briefly(self, keys: Sequence[str], seconds: int) -> None:
        """Keep these replies for some seconds at most: who wanted them has them.

        So a run over any number of images leaves no more than its last ones in Redis.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.expire(replies.reply_key(key), seconds, lt=True)
            pipe.execute()

    @reaching_redis()
    def store_config(self, xml: str) -> str:
        """Keep a label config for the deliveries.

        Returns:
            Its digest, to get it by `config`.
        """
        digest = hashlib.sha256(xml.encode()).hexdigest()
        self._redis.set(_config_key(digest), xml, ex=self._seconds)
        return digest

    @reaching_redis()
    def config(self, digest: str) -> str | None:
        """The label config of that digest; None when it is gone."""
        stored = self._redis.get(_config_key(digest))
        return str(stored, "utf-8") if isinstance(stored, bytes) else stored

    @reaching_redis()
    def seek(self, project: str, label: str, look: str) -> None:
        """Note what a project is searched for: in the place of another exemplar with its label.

        Args:
            project: Label Studio's id, digits.
            label: of the exemplar.
            look: its `Look.digest`.
        """
        self._redis.hset(_sought_key(project), label, look)
        self._redis.expire(_sought_key(project), self._seconds)

    @reaching_redis()
    def sought(self, project: str, label: str) -> str:
        """The digest of the look that a project is searched for; empty for none."""
        held = self._redis.hget(_sought_key(project), label)
        return "" if held is None else as_text(held)

    @reaching_redis()
    def deliver(self, deliveries: Sequence[DeliveryRequest]) -> None:
        """Have replies pushed to Label Studio: now, or when their segment job is done.

        What is like an exemplar has no place in the ledger, where a task has one state: that of
        what the model says of it by itself.

        Each is claimed first (`claim_push`), so it is left alone when somebody is answering.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(self._delivery.redis_queues_keys, self._delivery.key)
            own = [each for each in deliveries if not each.like]
            for (project, config), some in _grouped(own).items():
                tasks = [(str(each.task_id), each.key) for each in some]
                self.ledger.ask(pipe, project, tasks, config, anew=False)
            for delivery in deliveries:
                job = self._delivery_job(delivery)
                segment_id = segment_job_id(delivery.key)
                keys = [
                    job.key,
                    self._delivery.key,
                    claim_key(delivery.task_id, delivery.key),
                    AllowedJob.key_for(segment_id),
                    AllowedJob.dependents_key_for(segment_id),
                    job.dependencies_key,
                    self._delivery.deferred_job_registry.key,
                    self._delivery.scheduled_job_registry.key,
                ]
                arguments = [job.id, segment_id, int(time.time()), WAIT_SECONDS, *fields_of(job)]
                self._deliver(keys, arguments, pipe)
            pipe.execute()

    def _segment_job(self, request: SegmentRequest, queue: Queue) -> Job:
        return queue.create_job(
            SEGMENT_FUNCTION,
            args=[request.to_json()],
            job_id=segment_job_id(request.key),
            # RQ's default description is the whole call, with the image's address, in every log.
            description=f"segment task {request.task_id}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
        )

    def _delivery_job(self, delivery: DeliveryRequest) -> Job:
        return self._delivery.create_job(
            DELIVERY_FUNCTION,
            args=[delivery.to_json()],
            job_id=delivery_job_id(delivery.task_id, delivery.key),
            description=f"deliver task {delivery.task_id}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
            depends_on=Dependency([segment_job_id(delivery.key)], allow_failure=True),
            retry=Retry(max=len(DELIVERY_RETRY_SECONDS), interval=list(DELIVERY_RETRY_SECONDS)),
        )


def _grouped(
    deliveries: Sequence[DeliveryRequest],
) -> dict[tuple[str, str], list[DeliveryRequest]]:
    """Deliveries by project and config."""
    groups: dict[tuple[str, str], list[DeliveryRequest]] = {}
    for each in deliveries:
        groups.setdefault((each.project, each.config), []).append(each)
    return groups


def _sought_key(project: str) -> str:
    return f"dgl:sought:{project}"


def _config_key(digest: str) -> str:
    return f"dgl:config:{digest}"
