"""An annotation as Label Studio has it → what there is to learn from it.

Of its masks only those count that say what the person thought: of the classes that somebody
touched or, of an annotation submitted as predicted, all (decision 30).
"""

import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.project.tasks import task_id_of
from backend.regions.allowance import Allowance, Budget
from backend.regions.findings import Findings
from backend.regions.reading import Decode, Wanted, image_size, read_regions
from backend.regions.results import whole
from backend.regions.touched import touched
from dgl_rsis.types import Json
from workers.messages import LearnRequest, Marked

MICROSECONDS = 1_000_000
# Of masks of one annotation that are decoded: ten times those of a prompt, since nobody waits.
EVENT = Budget(masks=10_000, items=20_000_000)


def to_learn(annotation: Json, task: Json, project: Json, predicted: Json | None) -> LearnRequest:
    """An annotation as something to learn from. One that was skipped has nothing to teach.

    Args:
        annotation: as Label Studio has it, with its masks.
        task: its task, with `id` and `data`.
        project: its project, with `id` and `label_config`.
        predicted: the prediction that it started from; None where that is not known.

    Raises:
        TaskError: the task has no usable image.
    """
    config = label_config.parse(str(project.get("label_config") or ""))
    result = [] if annotation.get("was_cancelled") else _answers(annotation.get("result"), config)
    before = None if predicted is None else predicted.get("result")
    decode = Allowance(EVENT).mask
    taught = touched(result, _answers(before, config), decode)
    images, where = config.pictures.of(task), f"task {task_id_of(task)}"
    first, *more = (
        (image, _regions(each, taught, config, where, decode))
        for image, each in zip(images, _by_image(result, config, len(images)), strict=True)
    )
    return LearnRequest(
        project=str(project["id"]),
        annotation=str(annotation["id"]),
        stamp=_stamp(annotation.get("updated_at")),
        image=first[0],
        regions=first[1],
        task_id=task_id_of(task),
        more=tuple(more),
    )


def _by_image(result: Any, config: LabelConfig, count: int) -> list[list[Any]]:
    """The regions of a result by the image of the task that they lie on."""
    held: list[list[Any]] = [[] for _ in range(count)]
    for region in result if isinstance(result, list) else []:
        if isinstance(region, Mapping):
            number = config.pictures.number_of(dict(region), count)
            if number is not None:
                held[number].append(region)
    return held


def _answers(result: Any, config: LabelConfig) -> Any:
    """What stands in controls that the model is asked about, put together.

    A box that a prompt left behind, or a mask in a control with model_skip, is no answer to that.
    """
    if not isinstance(result, list):
        return result
    return [region for region in whole(result) if _from_name(region) not in config.skipped]


def _from_name(region: Any) -> str:
    name = region.get("from_name") if isinstance(region, Mapping) else None
    return name if isinstance(name, str) else ""


def _regions(
    result: Any, taught: Collection[str] | None, config: LabelConfig, where: str, decode: Decode
) -> Marked:
    """Label and mask of the regions of some classes; None for all.

    The regions of other classes are as good as not there: nobody looked at them.
    """
    size = image_size(result)
    if size is None or (taught is not None and not taught):
        return ()
    known = None if taught is None else {config.names.get(name, name) for name in taught}
    regions = read_regions(result, size, where, Findings(), Wanted(names=config.names), decode)
    return tuple((r.label, r.runs) for r in regions if known is None or r.label in known)


def _stamp(updated: Any) -> int:
    """Microseconds since the epoch; now, where Label Studio does not say."""
    try:
        seconds = datetime.fromisoformat(updated).timestamp()
    except (TypeError, ValueError, OverflowError):
        seconds = time.time()
    return round(seconds * MICROSECONDS)
