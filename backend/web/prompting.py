"""What a backend does with a prompt: somebody points or types in an open task, and waits.

A prompt is answered or refused within the call, and never stored. Label Studio 1.23 shows nothing
of a failure, so what is refused is said in the log, on the page, and, where the project has a field
for it, to the person: an answer without a mask but with text is shown.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, as_task, one_line, task_id_of
from backend.prompts import answers, context
from backend.prompts.answers import NoSuggestionError
from backend.prompts.context import InteractivePrompt
from backend.prompts.memory import Memory
from backend.studio import everywhere
from backend.studio.client import StudioClient
from backend.studio.everywhere import Sought
from backend.web.metrics import Metrics
from dgl_rsis.types import Json
from workers.messages import SegmentReply, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.control import FULL
from workers.queue.failures import TaskFailure
from workers.queue.replies import Failure

LOG = logging.getLogger(__name__)

INTERACTIVE = "interactive"  # stage of a failure
NO_WORKER = "no segment worker has announced its model yet; start `dgl-rsis worker`"
TOO_LATE = "no mask in time: the workers are busy with other images; ask again"


@dataclass(frozen=True)
class Asked:
    """One call of a person who points or types.

    Attributes:
        project: Label Studio's id, digits; empty when unknown.
        xml: the label config.
        config: the same, read.
        task: as Label Studio sends it.
        sent: `params.context` of the call.
    """

    project: str
    xml: str
    config: LabelConfig
    task: Any
    sent: Any


class PromptService:
    """Answers prompts through the queue.

    Args:
        client: the queue.
        seconds: how long a person waits at most.
        metrics: counts the answers.
        slot: whether this request may wait, for the length of a `with` block.
        studio: makes a client of Label Studio, whose tasks are searched for all like one; None
            where nothing can be pushed.
    """

    def __init__(
        self,
        client: SegmentClient,
        seconds: float,
        metrics: Metrics,
        slot: Callable[[], AbstractContextManager[bool]],
        studio: Callable[[], StudioClient] | None = None,
    ) -> None:
        self.client = client
        self._seconds = seconds
        self._metrics = metrics
        self._slot = slot
        self._studio = studio
        self._memory = Memory()

    def answer(self, asked: Asked, model: Callable[[], str | None]) -> Json:
        """What is suggested; a prediction without a mask where nothing is.

        Args:
            asked: by a person who waits.
            model: names the model that answers; None before a worker was ready.
        """
        started, version, task = time.monotonic(), "", task_id_of(asked.task)
        try:
            if _is_over(asked.sent):
                return self._refused("", asked, version)
            version = model() or ""
            if not version:
                raise NoSuggestionError(NO_WORKER)
            answer = self._suggested(asked, version, started)
        except (NoSuggestionError, TaskError, QueueError) as error:
            cause = one_line(str(error))
            self._tell(TaskFailure(INTERACTIVE, task, cause, project=asked.project))
            return self._refused(cause, asked, version)
        said = answers.says(answer)
        if self._memory.reasons.note(task, said=said) and not said:
            answer["result"] += answers.unsaid(asked.config)
        self._metrics.tasks.labels("answered").inc()
        seconds = time.monotonic() - started
        LOG.info("task %s: a prompt was answered, %.3f s", task, seconds)
        return answer

    def _suggested(self, asked: Asked, version: str, started: float) -> Json:
        """The answer to a prompt.

        Raises:
            TaskError: the prompt cannot be asked.
            NoSuggestionError: it gets no mask.
            QueueError: Redis cannot be reached.
        """
        config, task = asked.config, as_task(asked.task)
        plain = config.to_request(task, version)
        prompt = context.read(asked.sent, config, task, self._memory)
        request = context.to_request(plain, prompt)
        reply = self._reply(request, started)
        told = self._seek(asked, prompt, reply, request)
        seed = f"{request.task_id}\n{request.key}"
        try:
            answer = answers.suggest(reply, prompt, config, seed)
        except NoSuggestionError as error:
            raise NoSuggestionError(f"{error}; {told}" if told else str(error)) from None
        self._remember(request.task_id, answer, prompt)
        answer["result"] += answers.tell(config, told)
        return answer

    def _seek(
        self,
        asked: Asked,
        prompt: InteractivePrompt,
        reply: SegmentReply,
        request: SegmentRequest,
    ) -> str:
        """Have the project's other tasks searched, too, where somebody asks for that.

        Returns:
            What happens now; empty where nobody asks.

        Raises:
            QueueError: Redis cannot be reached.
        """
        if prompt.meant is None or not prompt.meant.everywhere or reply.look is None:
            return ""
        label, version = prompt.meant.label, reply.model_version
        where = request.task_id, request.image
        sought = Sought(asked.project, asked.xml, label, reply.look, version, *where)
        studio = None if self._studio is None else self._studio()  # one of its own a thread
        told = everywhere.seek(sought, self.client, studio)
        LOG.info("task %s: %s", request.task_id, one_line(told))
        return told

    def _reply(self, request: SegmentRequest, started: float) -> SegmentReply:
        if self.client.submit([request], at_front=True, interactive=True):
            raise NoSuggestionError(FULL)
        with self._slot() as free:
            left = max(0.0, started + self._seconds - time.monotonic()) if free else 0.0
            reply = self.client.wait([request.key], left)[request.key]
        if isinstance(reply, SegmentReply):
            return reply
        raise NoSuggestionError(reply.message if isinstance(reply, Failure) else TOO_LATE)

    def _remember(self, task_id: str, answer: Json, prompt: InteractivePrompt) -> None:
        result, points = answer["result"], prompt.pointed.positive if prompt.pointed else ()
        self._memory.suggestions.remember(task_id, result, prompt.asked_by)
        if prompt.meant is None:  # "more like this" means the same thing again, not one of these
            self._memory.shown.remember(task_id, result, prompt.asked_by, points)

    def _refused(self, cause: str, asked: Asked, version: str) -> Json:
        drawn = context.is_drawn(asked.sent)
        answer = answers.refuse(cause, asked.config, version, drawn=drawn)
        self._memory.reasons.note(task_id_of(asked.task), said=bool(answer["result"]))
        return answer

    def _tell(self, failure: TaskFailure) -> None:
        """Say in the log and on the page that somebody waited for nothing."""
        self._metrics.tasks.labels("failed").inc()
        LOG.warning("task %s gets no mask: %s", failure.task_id, failure.message)
        try:
            self.client.record_failures([failure])
        except QueueError as error:
            LOG.error("task %s: not on the page: %s", failure.task_id, error)


def _is_over(sent: Any) -> bool:
    """Whether nothing is asked any more: the last point or box was deleted or replaced."""
    return isinstance(sent, dict) and sent.get("result") == []
