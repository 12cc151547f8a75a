"""An interactive call's context → the prompt behind it.

Label Studio sends the regions of the type, label and image of the one that was just drawn, oldest
first (read in the editor of 1.23 and measured): so mostly one kind at a time, with whatever earlier
prompts left behind. Any mix of kinds is read alike: of keypoints those of the present prompt
(`clicks`), of boxes, strokes and outlines the newest each, of the lines of a TextArea
the last. A TextArea comes as `{"type": "textarea", "value": {"text": […]}}` without the size of the
image. The label of the newest region is the label of the mask.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from backend.project.controls import FORMS, REASON
from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, short_expression, task_id_of
from backend.prompts import clicks, exemplars, stored
from backend.prompts.clicks import Clicks, Correction
from backend.prompts.exemplars import Meant
from backend.prompts.memory import Memory
from backend.prompts.stored import View
from backend.regions import geometry, results
from backend.regions.allowance import Allowance
from backend.regions.geometry import RegionError, form_of, kind_of
from dgl_rsis.runs import Runs, area
from dgl_rsis.types import Json
from workers.messages import SegmentRequest, VisualPrompt

POINTS = frozenset({"keypoint"})
BOXES = frozenset({"rectangle", "ellipse"})
STROKES = frozenset({"brush", "bitmask"})
OUTLINES = frozenset({"polygon"})

T = TypeVar("T")


@dataclass(frozen=True)
class InteractivePrompt:
    """What somebody asks for: by words, by pointing, or by both.

    Attributes:
        text: a referring expression; empty for none.
        label: the label that is selected; empty when none is.
        pointed: what is pointed at; None for nothing.
        correction: the mask that is to become another one; None for a new one.
        meant: what all things are to be like, in place of text and pointing; None for nothing.
        asked_by: ids of the regions that it was read from.
        picture: number of the task's picture that it is on.
    """

    text: str = ""
    label: str = ""
    pointed: VisualPrompt | None = None
    correction: Correction | None = None
    meant: Meant | None = None
    asked_by: frozenset[str] = frozenset()
    picture: int = 0


def read(
    context: Any, config: LabelConfig, task: Mapping[str, Any], memory: Memory
) -> InteractivePrompt:
    """The prompt of a context.

    Args:
        context: `params.context` of an interactive /predict.
        config: has to have a control; one of them takes the mask.
        task: with the masks that Label Studio holds for it, of which a click corrects one.
        memory: of earlier calls; learns the signs of this one's keypoints.

    Raises:
        TaskError: no list of regions, nothing to go by, or something that cannot be a prompt.
    """
    held = context.get("result") if isinstance(context, dict) else None
    if not isinstance(held, list) or not all(isinstance(r, dict) for r in held):
        raise TaskError("The context holds no list of regions under 'result'.")
    regions = results.whole(held)
    drawn = [region for region in regions if form_of(region) in FORMS]
    view = _view(drawn or regions, config, task)
    label = _own_label(drawn[-1], view) if drawn else _label(regions, view)
    text = _text(regions, config)
    if exemplars.asks(text):
        return replace(_alike(text, config, task, memory, view), picture=view.number)
    if not drawn and not text:
        kinds = {(kind_of(region) or "unknown")[:40] for region in regions} or {"nothing"}
        raise TaskError(
            f"A prompt of {', '.join(sorted(kinds))} got no mask: click or draw a box with a smart "
            "tool, or write what to find into the TextArea."
        )
    if not drawn:
        known = label if label in _answerable(config) else ""
        return InteractivePrompt(text, known, picture=view.number)
    _check(drawn[-1], label, config)
    try:
        prompt = _pointing(text, label, drawn, task, memory, view)
        return replace(prompt, picture=view.number)
    except RegionError as error:
        raise TaskError(f"The prompt cannot be read: {error}.") from None


def is_drawn(context: Any) -> bool:
    """Whether a context holds something that was drawn, and not only text."""
    regions = context.get("result") if isinstance(context, dict) else None
    every = regions if isinstance(regions, list) else []
    return any(isinstance(region, dict) and form_of(region) in FORMS for region in every)


def to_request(plain: SegmentRequest, prompt: InteractivePrompt) -> SegmentRequest:
    """The job that answers a prompt.

    Args:
        plain: the same task without a prompt.
        prompt: takes the place of the task's own expression.
    """
    return replace(
        plain,
        image=plain.images[prompt.picture],
        more=(),
        classes=True,  # the modes of the controls say nothing here: equal prompts get equal keys
        objects=False,
        expression=prompt.text,
        label=prompt.label,
        pointed=prompt.pointed,
        exemplar=None if prompt.meant is None else prompt.meant.exemplar,
    )


def _view(regions: Sequence[Json], config: LabelConfig, task: Mapping[str, Any]) -> View:
    """What a prompt sees of its task: the picture that its newest region is on.

    Raises:
        TaskError: the task has no usable image, or not this one.
    """
    pictures, number = config.pictures, 0
    count = len(pictures.of(task)) if pictures.listed else 1
    if regions and count > 1:
        found = pictures.number_of(regions[-1], count)
        if found is None:
            raise TaskError(f"The prompt is on none of the task's {count} images.")
        number = found
    return View(config.names, pictures, number, count)


def _alike(
    text: str, config: LabelConfig, task: Mapping[str, Any], memory: Memory, view: View
) -> InteractivePrompt:
    """What is asked for by "all like this".

    Raises:
        TaskError: there is no mask to go by, or none can have its label.
    """
    meant = exemplars.read(text, task, memory.shown.recent(task_id_of(task), ()), view)
    if meant.label not in _answerable(config):
        raise _unanswerable(meant.label, config)
    return InteractivePrompt(label=meant.label, meant=meant)


def _pointing(
    text: str,
    label: str,
    drawn: Sequence[Json],
    task: Mapping[str, Any],
    memory: Memory,
    view: View,
) -> InteractivePrompt:
    """What the regions of the newest one's label point at.

    Raises:
        TaskError: too many clicks.
        RegionError: a region that cannot be a prompt.
    """
    mine = [each for each in drawn if _own_label(each, view) == label and view.shows(each)]
    allowance = Allowance()
    clicked = _clicked(_of(mine, POINTS), label, task, memory, allowance, view)
    correction = clicked.correction
    pointed = VisualPrompt(
        positive=clicked.positive,
        negative=clicked.negative,
        box=_newest(_of(mine, BOXES), geometry.box),
        strokes=_newest(_of(mine, STROKES), lambda region: _mask(region, allowance)),
        outline=_newest(_of(mine, OUTLINES), lambda region: _mask(region, allowance)),
        prior=None if correction is None else correction.prior,
    )
    return InteractivePrompt(text, label, pointed, correction, asked_by=_ids(mine))


def _clicked(
    keypoints: Sequence[Json],
    label: str,
    task: Mapping[str, Any],
    memory: Memory,
    allowance: Allowance,
    view: View,
) -> Clicks:
    """The clicks among what was drawn."""
    task_id = task_id_of(task)
    recent = memory.suggestions.recent(task_id, _ids(keypoints))
    regions = list(stored.newest_regions(task, recent, view)) if keypoints else []
    return clicks.read(keypoints, regions, label, memory.signs, task_id, view, allowance)


def _ids(regions: Sequence[Json]) -> frozenset[str]:
    return frozenset(name for region in regions if isinstance(name := region.get("id"), str))


def _mask(region: Json, allowance: Allowance) -> Runs:
    """What a stroke or an outline covers.

    Raises:
        RegionError: it cannot be read, covers no pixel, costs too much, or is of an image of
            unknown size.
    """
    size = geometry.size_of(region)
    if size is None:
        raise RegionError(f"the {form_of(region)} does not say how large its image is")
    mask = allowance.mask(region, size)
    if not area(mask):
        raise RegionError(f"the {form_of(region)} is empty: draw it over or around the object")
    return mask


def _newest(regions: Sequence[Json], read_one: Callable[[Json], T]) -> T | None:
    return read_one(regions[-1]) if regions else None


def _of(regions: Sequence[Json], forms: frozenset[str]) -> list[Json]:
    return [region for region in regions if form_of(region) in forms]


def _check(region: Json, label: str, config: LabelConfig) -> None:
    """See that a control can take the mask.

    Raises:
        TaskError: it is on another image, or no control has its label.
    """
    image, named = config.controls[0].to_name, region.get("to_name")
    if named is not None and named != image and not config.pictures.repeated:
        raise TaskError(
            f"The prompt is on {_quoted(named)}, but masks are made for the image '{image}'."
        )
    if label and label not in _answerable(config):
        raise _unanswerable(label, config)


def _unanswerable(label: str, config: LabelConfig) -> TaskError:
    names = ", ".join(f"'{control.name}'" for control in config.controls)
    return TaskError(
        f"The prompt's label {_quoted(label)} is none that a mask can have: add it to the "
        f"labels of {names}, or choose another. Backgrounds and labels with model_skip get no "
        "mask."
    )


def _answerable(config: LabelConfig) -> frozenset[str]:
    """Labels that a mask can have."""
    return frozenset(name for control in config.controls for name in control.labels)


def _text(regions: Sequence[Json], config: LabelConfig) -> str:
    """The last line: each further line of a TextArea is a further prompt.

    Raises:
        TaskError: too long to be one sentence.
    """
    asked = [region for region in regions if kind_of(region) == "textarea"]
    if config.reason_on:  # what the last answer said why there is no mask comes along, too
        asked = [region for region in asked if region.get("from_name") != REASON]
    texts = [text for region in asked for text in _lines(region)]
    return short_expression(texts[-1], "The prompt") if texts else ""


def _lines(region: Json) -> list[str]:
    text = geometry.value_of(region).get("text")
    lines = text if isinstance(text, list) else [text]
    return [line for line in lines if isinstance(line, str) and line.strip()]


def _label(regions: Sequence[Json], view: View) -> str:
    """Label of the newest region that has one; empty when none has."""
    return next((name for region in reversed(regions) if (name := _own_label(region, view))), "")


def _own_label(region: Json, view: View) -> str:
    """The first that it has; empty when it has none."""
    return next(iter(view.labels(results.labels_of(region))), "")


def _quoted(text: Any) -> str:
    return f"'{str(text)[:40]}'"
