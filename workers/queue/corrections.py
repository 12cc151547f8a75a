"""The web side's door to what projects learnt: note corrections, look up revisions, switch.

Every method raises `QueueError` when Redis cannot be reached.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis import Redis

from workers.messages import LEARN_FUNCTION, SEGMENT_QUEUE, LearnRequest, learn_job_id, names
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
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
        self._push = redis.register_script(_PUSH)

    @reaching_redis()
    def prototypes(self, project: str) -> str:
        """What `SegmentRequest.prototypes` must say now; empty for none."""
        return names(project, self._store.revision(project))

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
    def forget(
        self, project: str, annotations: Sequence[str] = (), tasks: Sequence[str] = ()
    ) -> None:
        """Take back what was learnt from annotations, and from all those of tasks, at once."""
        of_tasks = self._store.annotations_of(project, tasks) if tasks else []
        with self._followed(project):
            self._store.remove(project, [*annotations, *of_tasks])

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
