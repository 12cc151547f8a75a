"""Whether a prediction may be stored with a task of Label Studio.

The work came over HTTP, from whoever reaches the web server: he names the project, the task, its
image and the label config as he likes, and what is stored is stored with this backend's own key. So
Label Studio is asked: the task must be one of a project that is connected here, and must itself ask
what was answered, of the same image, by the same label config.
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
OTHER_CONFIG = (
    "the label config is not, or no longer, that of the project: retrieve the prediction again"
)
OTHER_TASK = (
    "the task in Label Studio is not, or no longer, what was segmented, with its image, sentence "
    "and resolution: retrieve the prediction again"
)


def refusal(
    request: DeliveryRequest, reply: SegmentReply, client: SegmentClient, studio: StudioClient
) -> str:
    """Why a prediction must not be stored, with the way out; empty when it may.

    Args:
        request: what is to be stored where.
        reply: what was answered.
        client: the queue.
        studio: Label Studio.

    Raises:
        StudioError: Label Studio is away, or refuses to say.
        QueueError: Redis cannot be reached.
    """
    if not request.project:
        return NO_PROJECT
    connection = connection_of(request.project, client, studio)
    if connection is None:
        return NOT_CONNECTED
    if not _is_config(request.config, connection.config, client):
        return OTHER_CONFIG
    listed = studio.tasks_of(int(request.project), [request.task_id])
    if not listed:
        return f"project {request.project} has no task {request.task_id}: it may have been deleted"
    xml = client.config(connection.config)
    config = label_config.parse(xml or "")
    return "" if _asks(listed[0], config, request.like, reply) else OTHER_TASK


def _is_config(given: str, real: str, client: SegmentClient) -> bool:
    """Whether two label configs, by their digests, say the same; also of one no longer kept.

    Nothing can be stored by that one, which the delivery says.
    """
    if given == real or (xml := client.config(given)) is None:
        return True
    return label_config.parse(xml) == label_config.parse(client.config(real) or "")


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
