"""The web side's only door to the queue: submit, wait, look up, deliver, claim.

Every method is a few round trips whatever the number of requests, and raises `QueueError` when
Redis cannot be reached, which the web side turns into "nothing yet".
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Self

from redis import Redis

from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentRequest,
    Served,
)
from workers.queue import failures, heartbeats, notes, reach, replies, windows
from workers.queue.asking import MOST_WAITING, RESERVE, Asking, parts
from workers.queue.asking import refused as no_room
from workers.queue.cancelling import Cancelling
from workers.queue.claims import Claims
from workers.queue.connection import (
    AllowedJob,
    open_queue,
    reaching_redis,
    segment_job_id,
)
from workers.queue.corrections import CorrectionsClient
from workers.queue.failures import TaskFailure
from workers.queue.following import REFRESH_SECONDS, FollowingClient
from workers.queue.heartbeats import Announcement, Heartbeat
from workers.queue.identity import Identity
from workers.queue.ledger import MOST_PROJECTS, Ledger
from workers.queue.reach import Refusal
from workers.queue.replies import Answer
from workers.queue.running import Running, in_hand
from workers.queue.servers import connect

FIRST_POLL_SECONDS = 0.01
LAST_POLL_SECONDS = 0.15  # somebody may be waiting
POLL_GROWTH = 1.3  # a click that takes 100 ms must not be seen at 160


class SegmentClient(Claims):
    """Submit requests, wait for replies, have them delivered, claim tasks.

    Args:
        redis: the queue's server; without `decode_responses`.
        reply_days: how long replies and configs are kept.
        refresh_seconds: how long a project must have learnt nothing before its open tasks get new
            predictions.
        most_waiting: tasks that may wait at once; some more of people who wait themselves.

    Attributes:
        corrections: what projects learn from.
        following: has projects follow the version that they are served.
        ledger: what became of each task.
        identity: tells Label Studio's word from that of others.
    """

    def __init__(
        self,
        redis: Redis,
        reply_days: int = 7,
        refresh_seconds: float = REFRESH_SECONDS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        super().__init__(redis)
        self.following = FollowingClient(redis, refresh_seconds)
        self.corrections = CorrectionsClient(redis, self.following)
        self.identity = Identity(redis)
        self._seconds = reply_days * 24 * 3600
        self._most_waiting = most_waiting
        self.ledger = Ledger(redis, self._seconds)
        self._segment = open_queue(SEGMENT_QUEUE, redis)
        self._interactive = open_queue(INTERACTIVE_QUEUE, redis)
        self._delivery = open_queue(DELIVERY_QUEUE, redis)
        self._cancelling = Cancelling(redis)
        self._asking = Asking(redis)

    @classmethod
    def from_url(
        cls,
        url: str,
        reply_days: int = 7,
        refresh_seconds: float = REFRESH_SECONDS,
        most_waiting: int = MOST_WAITING,
    ) -> Self:
        """A client with the short time-outs that a web server needs."""
        return cls(connect(url), reply_days, refresh_seconds, most_waiting)

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

    def known_projects(self) -> list[str]:
        """Projects of which tasks were asked for, of late, or that learnt something."""
        asked = [each.project for each in self.ledger.projects(MOST_PROJECTS)]
        return list(dict.fromkeys([*asked, *self.corrections.projects()]))

    def renew_secret(self) -> int:
        """Have the webhooks of all known projects carry another secret; how many projects."""
        self.identity.renew()
        projects = self.known_projects()
        for project in projects:
            self.following.now(project)
        return len(projects)

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

        The queue for people who wait, and windows of scenes, only where something waits: many
        have neither.
        """
        counts = {queue.name: len(queue) for queue in (self._segment, self._delivery)}
        others = {
            INTERACTIVE_QUEUE: len(self._interactive),
            "windows": windows.waiting(self._redis),
        }
        return counts | {name: count for name, count in others.items() if count}

    @reaching_redis()
    def check_writes(self) -> None:
        """See that the server takes what is written: a replica, or one that is full, does not."""
        self._redis.set("dgl:written", 1, ex=60)

    @reaching_redis()
    def studio_refusal(self) -> Refusal | None:
        """Since when and why deliveries do not reach Label Studio; None while they do."""
        return reach.refusal(self._redis)

    @reaching_redis()
    def studio_answers(self) -> None:
        """Label Studio was asked, and is back."""
        reach.answers(self._redis)

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
    ) -> list[SegmentRequest]:
        """Have requests answered; what is answered, failed lately or waiting is left alone.

        What waits to be delivered for one of these tasks under another key, as of an older label
        config or model version, is taken back: nobody could cancel it any more.

        Args:
            requests: any number; equal ones count once.
            at_front: before all others, for a person who waits.
            interactive: by a worker that is reserved for people who wait, if one is alive; else at
                the front of the others' queue.
            project: Label Studio's id of theirs, to be noted in the ledger; empty notes nothing.

        Returns:
            Those for which the queue has no room: as many wait as may.
        """
        reserved = interactive and self._is_reserved()
        queue = self._interactive if reserved else self._segment
        push = "LPUSH" if interactive or at_front else "RPUSH"
        most = self._most_waiting + (RESERVE if interactive or at_front else 0)
        refused: list[SegmentRequest] = []
        former: list[tuple[str, str]] = []
        for part in parts(requests):
            tasks = [(each.task_id, each.key) for each in part]
            superseded = self.ledger.superseded(project, tasks)
            with self._redis.pipeline(transaction=False) as pipe:
                self.ledger.ask(pipe, project, tasks)
                count = self._asking.submit(pipe, part, queue, push, most)
                unasked = no_room(part, pipe.execute()[-count:])
            kept = {each.task_id for each in unasked}
            former += [each for each in superseded if each[0] not in kept]
            refused += unasked
        self._cancelling.cancel(project, former, keep=False)
        return refused

    def _is_reserved(self) -> bool:
        """Whether a worker reserved for people who wait serves now."""
        return bool(heartbeats.live(self._redis, INTERACTIVE_QUEUE))

    @reaching_redis()
    def look_up(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Replies and failures; None for a key that is pending or unknown."""
        return replies.look_up(self._redis, keys)

    @reaching_redis()
    def is_coming(self, key: str) -> bool:
        """Whether a request waits or is in work, so that there will be an answer."""
        status = self._redis.hget(AllowedJob.key_for(segment_job_id(key)), "status")
        return status is not None and notes.text(status) not in ("finished", "failed")

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
        return "" if held is None else notes.text(held)

    @reaching_redis()
    def deliver(
        self, deliveries: Sequence[DeliveryRequest], *, at_front: bool = False
    ) -> list[DeliveryRequest]:
        """Have replies pushed to Label Studio: now, or when their segment job is done.

        What is like an exemplar has no place in the ledger, where a task has one state: that of
        what the model says of it by itself.

        Each is claimed first (`claim_push`), so it is left alone when somebody is answering.

        Args:
            deliveries: any number.
            at_front: they are of a person who waits, for whom there is room beyond the others'.

        Returns:
            Those for which the queue has no room: as many wait as may.
        """
        for project, config in _grouped(deliveries):
            self.identity.expect(project, config)
        most = self._most_waiting + (RESERVE if at_front else 0)
        refused: list[DeliveryRequest] = []
        for part in parts(deliveries):
            with self._redis.pipeline(transaction=False) as pipe:
                own = [each for each in part if not each.like]
                for (project, config), some in _grouped(own).items():
                    tasks = [(str(each.task_id), each.key) for each in some]
                    self.ledger.ask(pipe, project, tasks, config, anew=False)
                count = self._asking.deliver(pipe, part, most)
                refused += no_room(part, pipe.execute()[-count:])
        return refused


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
