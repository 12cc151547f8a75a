"""An interactive call's context → the prompt behind it.

Label Studio sends the regions of the current prompt, measured on 1.23: a TextArea as
`{"type": "textarea", "value": {"text": […]}}` without the size of the image; smart regions with
their label. Points, boxes and strokes are not answered yet, and say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.label_config import LabelConfig
from backend.tasks import TaskError, image_of, short_expression, task_id_of
from workers.messages import SegmentRequest


@dataclass(frozen=True)
class Prompt:
    """What somebody asks for.

    Attributes:
        text: a referring expression.
        label: the label that is selected; empty when none is.
    """

    text: str
    label: str = ""


def read(context: Any, config: LabelConfig) -> Prompt:
    """The prompt of a context.

    Args:
        context: `params.context` of an interactive /predict.
        config: the label that is selected must be one of its own.

    Raises:
        TaskError: no list of regions, a prompt without text, or one of another kind.
    """
    regions = context.get("result") if isinstance(context, Mapping) else None
    if not isinstance(regions, list) or not all(isinstance(r, Mapping) for r in regions):
        raise TaskError("The context holds no list of regions under 'result'.")
    texts = [text for region in regions for text in _texts(region)]
    if not texts:
        kinds = ", ".join(sorted({str(region.get("type"))[:40] for region in regions})) or "nothing"
        raise TaskError(
            f"A prompt of {kinds} got no mask: this version answers text prompts only. Write what "
            "to find into the TextArea."
        )
    known = {name for control in config.controls for name in control.labels}
    selected = [name for region in regions for name in _labels(region) if name in known]
    # Each further line of a TextArea is a further prompt: the last one is what was just asked.
    return Prompt(short_expression(texts[-1], "The prompt"), selected[-1] if selected else "")


def to_request(task: Any, config: LabelConfig, prompt: Prompt, version: str) -> SegmentRequest:
    """The job that answers a prompt.

    Raises:
        TaskError: no usable control, or no usable image.
    """
    if not isinstance(task, Mapping):
        raise TaskError(f"A task must be an object, got {type(task).__name__}.")
    if not config.controls:
        raise TaskError(" ".join(config.problems))
    return SegmentRequest(
        image=image_of(task, config.image_key),
        labels=config.prompts,
        model_version=version,
        expression=prompt.text,
        label=prompt.label,
        task_id=task_id_of(task),
    )


def _texts(region: Mapping[str, Any]) -> list[str]:
    value = region.get("value")
    if region.get("type") != "textarea" or not isinstance(value, Mapping):
        return []
    text = value.get("text")
    lines = text if isinstance(text, list) else [text]
    return [line for line in lines if isinstance(line, str) and line.strip()]


def _labels(region: Mapping[str, Any]) -> list[str]:
    """Labels of a region: under "labels", or under a key of the region's own type."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        return []
    named = value.get(str(region.get("type"))) or value.get("labels")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
