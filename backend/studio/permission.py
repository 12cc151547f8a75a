"""Whether a prediction may be stored with a task of Label Studio, and by which label config.

The work came over HTTP, from whoever reaches the web server: he names the project, the task, its
image and the label config as he likes, and what is stored is stored with this backend's own key. So
Label Studio is asked: the task must be one of a project that is connected here, and must itself ask
what was answered, of the same image. It is written by the label config that the project has.
"""

from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError
from backend.studio import everywhere
from backend.studio.client import StudioClient
from backend.studio.connection import NOT_CONNECTED, connection_of
from dgl_rsis.types import Json
from workers.messages import DeliveryRequest, SegmentReply
from workers.queue.client import SegmentClient

NO_PROJECT = "Label Studio did not say of which project the task is: retrieve the prediction there"
OTHER_TASK = (
    "the task in Label Studio is not, or no longer, what was segmented, with its image, sentence "
    "and resolution and its project's labels: retrieve the prediction again"
)


class NotPermittedError(Exception):
    """A prediction must not be stored; the message says why, and the way out."""


def permitted(
    request: DeliveryRequest, reply: SegmentReply, client: SegmentClient, studio: StudioClient
) -> LabelConfig:
    """See that a prediction may be stored.

    Args:
        request: what is to be stored where.
        reply: what was answered.
        client: the queue.
        studio: Label Studio.

    Returns:
        The label config of the task's project, as Label Studio has it.

    Raises:
        NotPermittedError: it must not be.
        StudioError: Label Studio is away, or refuses to say.
        QueueError: Redis cannot be reached.
    """
    if not request.project:
        raise NotPermittedError(NO_PROJECT)
    connection = connection_of(request.project, client, studio)
    if connection is None:
        raise NotPermittedError(NOT_CONNECTED)
    tasks = studio.tasks_of(int(request.project), [request.task_id])
    if not tasks:
        raise NotPermittedError(
            f"project {request.project} has no task {request.task_id}: it may have been deleted"
        )
    config = label_config.parse(client.config(connection.config) or "")
    if not _asks(tasks[0], config, request.like, reply):
        raise NotPermittedError(OTHER_TASK)
    return config


def _asks(task: Json, config: LabelConfig, like: str, reply: SegmentReply) -> bool:
    """Whether a task of Label Studio asks what was answered.

    What was answered before replies named their subject counts: by now nobody can ask for it.
    """
    if not reply.subject:
        return True
    try:
        asked = config.to_request(task, "")
    except TaskError:
        return False
    return reply.subject == (everywhere.sought_in(asked, like) if like else asked).subject
