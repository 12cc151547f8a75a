"""What a backend does with Label Studio's calls, whoever carries them: `app` or `ml_backend`.

Facts about Label Studio 1.23 behind it, all measured: it stores nothing for a task that is answered
`[]` and asks again later, so that is the answer for a task that is pending or failed; it takes
`{"result": []}` as a prediction; one answer too few loses the whole batch; two parallel opens of
a task store two predictions if both are answered.
"""

import contextlib
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from typing import Any

from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, as_task, one_line, task_id_of
from backend.regions import writing
from backend.studio.client import StudioClient
from backend.studio.everywhere import READ_SECONDS
from backend.web.metrics import Metrics
from backend.web.prompting import NO_WORKER, Asked, PromptService
from backend.web.settings import Settings
from dgl_rsis.caching import kept
from dgl_rsis.types import Json
from workers import logs
from workers.messages import DeliveryRequest, SegmentReply, SegmentRequest, Served
from workers.queue.client import SegmentClient
from workers.queue.connection import STORED_TASK, QueueError
from workers.queue.control import FULL
from workers.queue.failures import TaskFailure
from workers.queue.ledger import Outcome, State
from workers.queue.replies import Failure

LOG = logging.getLogger(__name__)

Answer = Json | list[Any]  # a prediction, or [] for none yet

NOTHING: list[Any] = []
# Long enough for Label Studio to store the answer, after which it does not ask again. It took 11 s
# for a batch of 250, and begins when the whole batch is answered.
CLAIM_SECONDS = 10
BATCH_CLAIM_SECONDS = 60
PIECE = 1000  # tasks that are queued at a time: a call may have 100,000
OUTAGE_SECONDS = 5  # /setup does not wait for a queue that did not answer a moment ago
PROJECT = re.compile(r"([0-9]{1,18})(\..*)?")  # id, and when it was made

CONFIG_BYTES = 16 * 2**20  # of label configs that stay read, with their XML

read_config = kept(CONFIG_BYTES)(label_config.parse)


@dataclass(frozen=True)
class _Ask:
    """One task that became a job; its key is dear, so it is computed once."""

    task_id: str
    key: str


@dataclass(frozen=True)
class _Call:
    """What the tasks of one /predict that waits have in common.

    Attributes:
        project: Label Studio's id, digits; empty when unknown.
        xml: the label config.
        owner: name of its claims.
        single: it is one task, so that the answer is complete with it.
        deadline: when it waits no longer, monotonic seconds.
    """

    project: str
    xml: str
    owner: str
    single: bool
    deadline: float

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @property
    def claim_seconds(self) -> float:
        return CLAIM_SECONDS if self.single else self.seconds_left + BATCH_CLAIM_SECONDS


def open_client(settings: Settings) -> SegmentClient:
    """The queue of these settings; no connection is made yet.

    Raises:
        ValueError: no REDIS_URL.
    """
    if settings.redis_url is None:
        raise ValueError("REDIS_URL is not set: give the address of a Redis or Valkey server")
    return SegmentClient.from_url(
        settings.redis_url, settings.reply_days, settings.refresh_seconds, settings.max_waiting
    )


class PredictionService:
    """Answers /setup and /predict through the queue; never computes a mask itself."""

    def __init__(self, client: SegmentClient, settings: Settings, metrics: Metrics) -> None:
        self.client = client
        self.metrics = metrics
        self._settings = settings
        self._last_base: str | None = None
        self._last_prototypes: dict[str, str] = {}  # by the id of a project that learnt something
        self._asks_again_at = 0.0
        self._slots = threading.BoundedSemaphore(settings.waiting_requests)
        self._prompts = PromptService(
            client, settings.single_task_seconds, metrics, self._slot, studio_of(settings)
        )

    def model_version(self, project: str = "") -> str:
        """The version under which predictions are stored, as the worker announced it.

        Of a project that learnt from its annotators it names the revision of what was learnt.
        Without an answer from Redis it is the last one known, so that Label Studio does not take
        an outage for a new model.

        Args:
            project: as Label Studio names it; empty for the model alone.
        """
        number, served = _id_of(project), None
        if self._last_base is not None:
            served = Served(self._last_base, self._last_prototypes.get(number, ""))
        if served is None or time.monotonic() >= self._asks_again_at:
            try:
                served = self._served(number)
            except QueueError as error:
                LOG.warning("the model version may be an old one: %s", error)
                self._asks_again_at = time.monotonic() + OUTAGE_SECONDS
        if served is None:
            LOG.warning(NO_WORKER)
            return f"dgl-rsis-{package_version('dgl-rsis')}-no-worker-yet"
        return served.version

    def setup(self, project: str, xml: str) -> str:
        """Check the label config, say in the log what is wrong with it, return the version."""
        for problem in read_config(xml).problems:
            LOG.warning("project %s: %s", one_line(project), one_line(problem))
        version = self.model_version(project)
        if time.monotonic() >= self._asks_again_at:  # Label Studio waits for 3 s
            with contextlib.suppress(QueueError):  # it is said where it matters
                self.client.following.called(_id_of(project))
        return version

    def predict(
        self, project: str, xml: str, tasks: Sequence[Any], context: Any = None
    ) -> Iterator[Answer]:
        """One answer a task, in order; never raises for a bad task or a lost queue.

        The tasks are queued before this returns; the iterator waits for the masks and makes the
        regions one task at a time, so that a large batch never stands in memory.
        """
        logs.add(project=_id_of(project), task=task_id_of(tasks[0]) if len(tasks) == 1 else "")
        if context:
            return iter(self._prompted(project, xml, tasks, context))
        try:
            return self._queued(project, xml, tasks)
        except QueueError as error:
            LOG.error("project %s: %d tasks get []: %s", one_line(project), len(tasks), error)
            return iter([NOTHING] * len(tasks))

    def _prompted(self, project: str, xml: str, tasks: Sequence[Any], context: Any) -> list[Json]:
        """What somebody who points or types gets."""
        number, config = _id_of(project), read_config(xml)
        asked = [Asked(number, xml, config, task, context) for task in tasks]
        return [self._prompts.answer(each, self._base) for each in asked]

    def _base(self) -> str | None:
        """The model that answers, whatever a project learnt; None before a worker was ready."""
        served = self._served("")
        return None if served is None else served.base

    def _queued(self, project: str, xml: str, tasks: Sequence[Any]) -> Iterator[Answer]:
        number = _id_of(project)
        served = self._served(number)
        if served is None:
            LOG.error("project %s: %d tasks get []: %s", one_line(project), len(tasks), NO_WORKER)
            return iter([NOTHING] * len(tasks))
        single = len(tasks) == 1
        delivers = self._settings.delivers and not single
        asks: list[_Ask | None] = []
        for start in range(0, len(tasks), PIECE):
            piece = tasks[start : start + PIECE]
            submitted = self._submit(number, xml, piece, served, at_front=single)
            if delivers:
                self._deliver(submitted, number, xml)
            else:
                asks += submitted
        if delivers:
            return iter([NOTHING] * len(tasks))
        return self._wait(asks, number, xml, single=single)

    def renewed(self, project: str, request: SegmentRequest) -> SegmentRequest:
        """A request of a project as it would be made now: of the present model and examples."""
        served = self._served(project)
        if served is None:
            return request
        return replace(request, model_version=served.version, prototypes=served.prototypes)

    def _submit(
        self, project: str, xml: str, tasks: Sequence[Any], served: Served, *, at_front: bool
    ) -> list[_Ask | None]:
        """Queue what can be queued; None for a task that cannot."""
        started = time.monotonic()
        config = read_config(xml)
        version, prototypes = served.version, served.prototypes
        requests = [_request(task, config, version, prototypes) for task in tasks]
        accepted = [request for request in requests if isinstance(request, SegmentRequest)]
        full = self.client.submit(accepted, at_front=at_front, project=project)
        self._tell_full(project, [_Ask(each.task_id, each.key) for each in full])
        refused = [request for request in requests if isinstance(request, TaskFailure)]
        self._refuse([replace(failure, project=project) for failure in refused])
        self._note(project, [Outcome(f.task_id, "", "failed", f.message) for f in refused])
        unasked = {id(each) for each in (*full, *refused)}
        asks = [
            _Ask(r.task_id, r.key)
            if isinstance(r, SegmentRequest) and id(r) not in unasked
            else None
            for r in requests
        ]
        queued, seconds = len(accepted) - len(full), time.monotonic() - started
        LOG.info("%d of %d tasks are in the queue, %.3f s", queued, len(tasks), seconds)
        return asks

    def _tell_full(self, project: str, asks: Sequence[_Ask]) -> None:
        """Tasks for which there is no room: said once a call, however many there are."""
        if not asks:
            return
        self.metrics.tasks.labels("refused").inc(len(asks))
        LOG.warning("project %s: %d tasks get []: %s", project, len(asks), FULL)
        self.client.record_failures(
            [TaskFailure("predict", ask.task_id, FULL, project=project) for ask in asks]
        )
        self._note(project, [_outcome(ask, "failed", FULL) for ask in asks])

    def _served(self, project: str) -> Served | None:
        """What a project is served, kept for an outage; None before a worker was ready."""
        served = self.client.served(project, learns=self._settings.learn)
        if served is not None:
            self._last_base = served.base
            self._last_prototypes.pop(project, None)
            if served.prototypes:
                self._last_prototypes[project] = served.prototypes
        return served

    def _deliver(
        self, asks: Sequence[_Ask | None], project: str, xml: str, *, single: bool = False
    ) -> None:
        """Have the predictions pushed when they are ready."""
        wanted = [ask for ask in asks if ask is not None and STORED_TASK.fullmatch(ask.task_id)]
        if not wanted:
            return
        digest = self.client.store_config(xml)
        full = self.client.deliver(
            [DeliveryRequest(int(ask.task_id), ask.key, digest, project) for ask in wanted],
            at_front=single,
        )
        self._tell_full(project, [_Ask(str(each.task_id), each.key) for each in full])
        self.metrics.tasks.labels("queued").inc(len(wanted) - len(full))

    def _wait(
        self, asks: Sequence[_Ask | None], project: str, xml: str, *, single: bool
    ) -> Iterator[Answer]:
        """Wait for the masks within the budget; whatever is late stays for the next call."""
        budget = self._settings.single_task_seconds if single else self._settings.batch_seconds
        with self._slot() as free:
            deadline = time.monotonic() + (budget if free else 0.0)
            call = _Call(project, xml, uuid.uuid4().hex, single, deadline)
            for ask in asks:
                try:
                    yield self._answer(ask, call)
                except QueueError as error:
                    LOG.error("task %s gets []: %s", ask and ask.task_id, error)
                    yield NOTHING
                except Exception:  # the answer has begun: an error now would lose the whole batch
                    LOG.exception("task %s gets []", ask and ask.task_id)
                    yield NOTHING

    @contextlib.contextmanager
    def _slot(self) -> Iterator[bool]:
        """Whether this request may wait; the last threads are kept for /health and /setup."""
        free = self._slots.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._slots.release()

    def _answer(self, ask: _Ask | None, call: _Call) -> Answer:
        if ask is None:
            return NOTHING
        reply = self.client.wait([ask.key], call.seconds_left)[ask.key]
        if isinstance(reply, Failure):
            self._say(ask.task_id, reply.message)  # recorded by the job
            self._note(call.project, [_outcome(ask, "failed", reply.message)])
            return NOTHING
        if reply is None:
            LOG.info("task %s is not ready yet", ask.task_id)
            if self._settings.delivers:
                self._deliver([ask], call.project, call.xml, single=call.single)
            return NOTHING
        return self._claimed(ask, reply, call)

    def _claimed(self, ask: _Ask, reply: SegmentReply, call: _Call) -> Answer:
        """The prediction, unless another call or a delivery is storing it right now."""
        if not self.client.claim_open(ask.task_id, ask.key, call.owner, call.claim_seconds):
            LOG.info("task %s is being answered by another call", ask.task_id)
            self.metrics.tasks.labels("duplicate").inc()
            return NOTHING
        predictions = writing.to_predictions(reply, read_config(call.xml), reply.model_version)
        with contextlib.suppress(QueueError):  # the answer is worth more than who else hears of it
            self.client.following.landed(
                call.project, reply.model_version, ask.task_id, ask.key, call.claim_seconds
            )
        self.metrics.tasks.labels("answered").inc()
        self._note(call.project, [_outcome(ask, "answered", reply.reason)])
        if reply.reason:
            LOG.info("task %s: %s", ask.task_id, reply.reason)
        return predictions[0] if len(predictions) == 1 else list(predictions)

    def _refuse(self, failures: Sequence[TaskFailure]) -> None:
        """Tasks of which no job was made."""
        for failure in failures:
            self._say(failure.task_id, failure.message)
        self.client.record_failures(failures)

    def _note(self, project: str, outcomes: Sequence[Outcome]) -> None:
        """Say on the page what became of tasks; an answer is not lost because that fails."""
        try:
            self.client.ledger.settle(project, outcomes)
        except QueueError as error:
            LOG.warning("project %s: not noted what became of its tasks: %s", project, error)

    def _say(self, task_id: str, message: str) -> None:
        self.metrics.tasks.labels("failed").inc()
        LOG.warning("task %s gets []: %s", task_id, message)


def studio_of(
    settings: Settings, seconds: float = READ_SECONDS
) -> Callable[[], StudioClient] | None:
    """Makes clients for what a person waits for; None where nothing can be pushed.

    Args:
        settings: of the web process.
        seconds: to wait for each answer.
    """
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        return None
    token, verify = key.get_secret_value(), settings.verify
    return lambda: StudioClient(url, token, seconds, verify)


def _id_of(project: str) -> str:
    """Label Studio's id of a project, digits; empty for what is none."""
    named = PROJECT.fullmatch(project)
    return named[1] if named else ""


def _outcome(ask: _Ask, state: State, reason: str) -> Outcome:
    return Outcome(ask.task_id, ask.key, state, one_line(reason))


def _request(
    task: Any, config: LabelConfig, version: str, prototypes: str = ""
) -> SegmentRequest | TaskFailure:
    """The request of a task, or why it cannot have one."""
    try:
        return replace(config.to_request(as_task(task), version), prototypes=prototypes)
    except TaskError as error:
        return TaskFailure("predict", task_id_of(task), one_line(str(error)))
