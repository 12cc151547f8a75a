"""The web side's door to what projects learnt: note corrections, look up revisions, switch.

What Label Studio says of an annotation is looked up there by a job of the delivery queue, which has
the key and waits where Label Studio is away; what is found becomes a job for a worker with a model.
Every method raises `QueueError` when Redis cannot be reached.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from redis import Redis

from workers.messages import (
    DELIVERY_QUEUE,
    EVENT_FUNCTION,
    LEARN_FUNCTION,
    SEGMENT_QUEUE,
    LearnRequest,
    StudioEvent,
    learn_job_id,
    names,
)
from workers.queue import notes
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    AllowedJob,
    fields_of,
    open_queue,
    reaching_redis,
)
from workers.queue.following import FollowingClient
from workers.queue.prototypes import Amount, Learnt, PrototypeStore

# A job that waits or runs is left alone: its content is its name. KEYS: job, queue.
_PUSH = """
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'finished' and status ~= 'failed' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
"""

# To the front: somebody is correcting, and it is done in a moment. A job that still waits will see
# the newest state; one that runs may have read an older one. KEYS: the job that waits, queue. ARGV:
# job, prefix of jobs, how long it is known, fields.
_LOOK = """
local held = redis.call('GET', KEYS[1])
local status = held and redis.call('HGET', ARGV[2] .. held, 'status')
if status == 'queued' or status == 'scheduled' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('HSET', ARGV[2] .. ARGV[1], unpack(ARGV, 4))
redis.call('LPUSH', KEYS[2], ARGV[1])
return 1
"""
EARLY_KEY = "dgl:early"
EARLY_SECONDS, MOST_EARLY = 600, 100
LOOK_SECONDS = 24 * 3600  # longer than all tries of such a job together


class CorrectionsClient:
    """What the web process and the commands may do with a project's prototypes.

    What takes something back, or switches, has the project follow the version that it is served.

    Args:
        redis: the queue's server; without `decode_responses`.
        following: to be told.
    """

    def __init__(self, redis: Redis, following: FollowingClient) -> None:
        self._redis = redis
        self._following = following
        self._store = PrototypeStore(redis)
        self._queue = open_queue(SEGMENT_QUEUE, redis)
        self._events = open_queue(DELIVERY_QUEUE, redis)
        self._push = redis.register_script(_PUSH)
        self._look = redis.register_script(_LOOK)

    @reaching_redis()
    def prototypes(self, project: str) -> str:
        """What `SegmentRequest.prototypes` must say now; empty for none."""
        return names(project, self._store.revision(project))

    @reaching_redis()
    def notice(self, event: StudioEvent) -> bool:
        """Have Label Studio asked what became of annotations.

        Returns:
            False when a job that waits will see it all the same.
        """
        subject = f"{event.project}:{'-'.join(event.annotations)}"
        if event.deleted:
            subject = f"{event.project}:{uuid.uuid4().hex}"  # each has ids of its own
        job = self._events.create_job(
            EVENT_FUNCTION,
            args=[event.to_json()],
            job_id=f"event-{event.project}-{uuid.uuid4().hex}",
            description=f"look at annotations of project {event.project}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
        )
        arguments = [job.id, AllowedJob.key_for(""), LOOK_SECONDS, *fields_of(job)]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(self._events.redis_queues_keys, self._events.key)
            self._look([f"dgl:event:{subject}", self._events.key], arguments, pipe)
            return bool(pipe.execute()[1])

    @reaching_redis()
    def note_early(self, annotations: Sequence[str]) -> None:
        """Keep for some minutes what was submitted before its webhook had the secret, perhaps.

        Anybody may say so: it is looked at for the project that gets the secret, and only if it is
        that project's.
        """
        if not annotations:
            return
        with self._redis.pipeline() as pipe:
            pipe.lpush(EARLY_KEY, *annotations)
            pipe.ltrim(EARLY_KEY, 0, MOST_EARLY - 1)
            pipe.expire(EARLY_KEY, EARLY_SECONDS)
            pipe.execute()

    @reaching_redis()
    def early(self) -> list[str]:
        """Annotations that `note_early` kept, of whatever project."""
        return sorted({notes.text(each) for each in self._redis.lrange(EARLY_KEY, 0, -1)})

    @reaching_redis()
    def known(self, project: str) -> Mapping[str, str]:
        """The annotations of a project that are known, each with its task, by ids."""
        return self._store.tasks(project)

    @reaching_redis()
    def is_off(self, project: str) -> bool:
        """Whether a project is switched off."""
        return self._store.is_off(project)

    @reaching_redis()
    def submit(self, request: LearnRequest) -> bool:
        """Have a worker learn from an annotation, behind all that waits.

        Returns:
            False when a newer change of the annotation is known, or the project is switched off.
        """
        if self._store.is_off(request.project) or not self._store.expect(
            request.project, request.annotation, request.stamp, request.task_id
        ):
            return False
        job = self._queue.create_job(
            LEARN_FUNCTION,
            args=[request.to_json()],
            job_id=learn_job_id(request),
            description=f"learn task {request.task_id}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
        )
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(self._queue.redis_queues_keys, self._queue.key)
            self._push([job.key, self._queue.key], [job.id, *fields_of(job)], pipe)
            pipe.execute()
        return True

    @reaching_redis()
    def forget(self, project: str, annotations: Sequence[str]) -> None:
        """Take back what was learnt from annotations that are gone, for good and at once."""
        with self._followed(project):
            self._store.remove(project, annotations)

    @reaching_redis()
    def projects(self) -> list[str]:
        """Those that learnt something or were switched off."""
        return self._store.projects()

    @reaching_redis()
    def amounts(self, projects: Sequence[str]) -> list[Amount]:
        """How much each of some projects learnt, and whether it is switched off."""
        return self._store.amounts(projects)

    @reaching_redis()
    def learnt(self, project: str) -> Learnt:
        """How a project stands."""
        return self._store.learnt(project)

    @reaching_redis()
    def switch(self, project: str, *, on: bool) -> None:
        """Let a project learn and use what it learnt, or not."""
        with self._followed(project):
            self._store.switch(project, on=on)

    @reaching_redis()
    def reset(self, project: str) -> None:
        """Forget all that a project learnt."""
        with self._followed(project):
            self._store.reset(project)

    @contextmanager
    def _followed(self, project: str) -> Iterator[None]:
        before = self._store.revision(project)
        yield
        if self._store.revision(project) != before:
            self._following.changed(project)
