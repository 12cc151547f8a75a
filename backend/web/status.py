"""How things stand with the queue and its workers, in one reading for all who ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.web.reaching import StudioWatch
from workers.messages import DELIVERY_QUEUE, INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue import server_checks, tallies, waiting
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError, reaching_redis, task_of_delivery
from workers.queue.failures import TaskFailure
from workers.queue.heartbeats import Heartbeat
from workers.queue.running import Running
from workers.queue.server_checks import ServerState
from workers.queue.supervision import Supervised, supervised
from workers.queue.tallies import Tallies

NO_WORKER = "no segment worker is ready: it is loading its model, or `dgl-rsis worker` does not run"
DUTIES: Mapping[str, str] = {
    SEGMENT_QUEUE: "makes masks",
    INTERACTIVE_QUEUE: "answers clicks",
    DELIVERY_QUEUE: "delivers to Label Studio",
}


@dataclass(frozen=True)
class WorkerView:
    """A worker as it is shown.

    Attributes:
        name: of the RQ worker.
        duty: what it does, in words.
        queue: its queue.
        live: it serves; else it was killed, hangs or lost the queue.
        device: where its model is; "" without one.
        model: version of that; "" without one.
        host, pid: the machine and the process there.
        age: seconds since its last beat.
        resident: bytes of its memory that are in RAM; 0 where that cannot be told.
        task: id of the task in work; "" when idle.
        stage: of that, in words.
        since: when that was begun, seconds since the epoch; None where that is not known.
    """

    name: str
    duty: str
    queue: str
    live: bool
    device: str
    model: str
    host: str
    pid: int
    age: float
    resident: int
    task: str
    stage: str
    since: float | None


@dataclass(frozen=True)
class State:
    """The queue and its workers right now.

    Attributes:
        problem: why no task can be served, or none delivered; "" when all is well.
        workers: those that beat within the last half minute, of all queues.
        waiting: jobs that wait, by queue; empty when Redis does not answer.
        segmenters: live segment workers; None when Redis does not answer.
        failures: the last tasks that were given up, in any process, newest first.
        given_up: how many there were, by stage.
        oldest: seconds that a job of each queue has waited; empty when Redis does not answer.
        tallies: what all processes counted.
        server: the queue's server, as it describes itself.
        processes: what `dgl-rsis up` supervises, here or elsewhere.
    """

    problem: str
    workers: tuple[WorkerView, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    segmenters: int | None = None
    failures: tuple[TaskFailure, ...] = ()
    given_up: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    tallies: Tallies = field(default_factory=Tallies)
    server: ServerState = field(default_factory=ServerState)
    processes: tuple[Supervised, ...] = ()


def read_state(client: SegmentClient, watch: StudioWatch | None = None) -> State:
    """Ask the queue; an unreachable one is a state, not an error.

    Args:
        client: the queue.
        watch: says whether predictions reach Label Studio; None where that does not matter.
    """
    try:
        client.check_writes()
        beats = client.workers()
        segmenters = sum(worker.queue == SEGMENT_QUEUE and worker.is_live for worker in beats)
        problem = "" if segmenters else NO_WORKER
        if watch is not None and not problem:
            problem = watch.problem(beats)
        workers = tuple(_views(beats, client.running(beats)))
        failures, given_up = tuple(client.failures()), client.failure_counts()
        lengths, server = client.waiting(), client.server
        with reaching_redis():
            seen = waiting.oldest(server), tallies.read(server), server_checks.check(server)
            processes = tuple(supervised(server))
        return State(
            problem, workers, lengths, segmenters, failures, given_up, *seen, processes=processes
        )
    except QueueError as error:
        return State(str(error))


def _views(beats: Sequence[Heartbeat], running: Sequence[Running]) -> list[WorkerView]:
    in_hand = {each.worker: each for each in running}
    return [_view(worker, in_hand.get(worker.name)) for worker in beats]


def _view(worker: Heartbeat, held: Running | None) -> WorkerView:
    if held:
        task, stage = held.task_id, held.stage
    else:
        task = task_of_delivery(worker.job)
        stage = "delivering" if task else ""
    return WorkerView(
        name=worker.name,
        duty=DUTIES.get(worker.queue, worker.queue),
        queue=worker.queue,
        live=worker.is_live,
        device=worker.device,
        model=worker.model,
        host=worker.host,
        pid=worker.pid,
        age=worker.age,
        resident=worker.resident,
        task=task if worker.is_live else "",
        stage=stage if worker.is_live else "",
        since=held.since if held and worker.is_live else None,
    )
