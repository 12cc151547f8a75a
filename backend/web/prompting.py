"""What a backend does with a prompt: somebody points or types in an open task, and waits.

A prompt is answered or refused within the call, and never stored. Label Studio 1.23 shows nothing
of a failure, so what is refused is said in the log, on the page, and, where the project has a field
for it, to the person: an answer without a mask but with text is shown.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, as_task, one_line, task_id_of
from backend.prompts import answers, context
from backend.prompts.answers import NoSuggestionError
from backend.prompts.context import InteractivePrompt
from backend.prompts.memory import Memory
from backend.web.metrics import Metrics
from dgl_rsis.types import Json
from workers.messages import SegmentReply, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.failures import TaskFailure
from workers.queue.replies import Failure

LOG = logging.getLogger(__name__)

INTERACTIVE = "interactive"  # stage of a failure
NO_WORKER = "no segment worker has announced its model yet; start `dgl-rsis worker`"
TOO_LATE = "no mask in time: the workers are busy with other images; ask again"


class PromptService:
    """Answers prompts through the queue.

    Args:
        client: the queue.
        seconds: how long a person waits at most.
        metrics: counts the answers.
        slot: whether this request may wait, for the length of a `with` block.
    """

    def __init__(
        self,
        client: SegmentClient,
        seconds: float,
        metrics: Metrics,
        slot: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        self.client = client
        self._seconds = seconds
        self._metrics = metrics
        self._slot = slot
        self._memory = Memory()

    def answer(
        self,
        project: str,
        config: LabelConfig,
        task: Any,
        sent: Any,
        model: Callable[[], str | None],
    ) -> Json:
        """What is suggested; a prediction without a mask where nothing is.

        Args:
            project: Label Studio's id, digits; empty when unknown.
            config: of the project.
            task: as Label Studio sends it.
            sent: `params.context` of the call.
            model: names the model that answers; None before a worker was ready.
        """
        started, version = time.monotonic(), ""
        try:
            if _is_over(sent):
                return self._refused("", config, task, version, sent)
            version = model() or ""
            if not version:
                raise NoSuggestionError(NO_WORKER)
            answer = self._suggested(config, as_task(task), sent, version, started)
        except (NoSuggestionError, TaskError, QueueError) as error:
            cause = one_line(str(error))
            self._tell(TaskFailure(INTERACTIVE, task_id_of(task), cause, project=project))
            return self._refused(cause, config, task, version, sent)
        if self._memory.reasons.note(task_id_of(task), said=False):
            answer["result"] += answers.unsaid(config)
        self._metrics.tasks.labels("answered").inc()
        seconds = time.monotonic() - started
        LOG.info("task %s: a prompt was answered, %.3f s", task_id_of(task), seconds)
        return answer

    def _suggested(
        self, config: LabelConfig, task: Any, sent: Any, version: str, started: float
    ) -> Json:
        """The answer to a prompt.

        Raises:
            TaskError: the prompt cannot be asked.
            NoSuggestionError: it gets no mask.
            QueueError: Redis cannot be reached.
        """
        plain = config.to_request(task, version)
        prompt = context.read(sent, config, task, self._memory)
        request = context.to_request(plain, prompt)
        reply = self._reply(request, started)
        seed = f"{request.task_id}\n{request.key}"
        answer = answers.suggest(reply, prompt, config, seed)
        self._remember(request.task_id, answer, prompt)
        return answer

    def _reply(self, request: SegmentRequest, started: float) -> SegmentReply:
        self.client.submit([request], at_front=True, interactive=True)
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

    def _refused(self, cause: str, config: LabelConfig, task: Any, version: str, sent: Any) -> Json:
        answer = answers.refuse(cause, config, version, drawn=context.is_drawn(sent))
        self._memory.reasons.note(task_id_of(task), said=bool(answer["result"]))
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
