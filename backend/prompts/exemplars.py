"""Which mask somebody means who writes "all like this", and how far.

With a line of a TextArea Label Studio 1.23 sends neither what is selected nor what is suggested,
only the task as it is stored. So the mask that was asked for or drawn last is meant: what a prompt
got a moment ago, unless it was rejected, else the last region of the newest draft or annotation
that a person drew, accepted or changed. Of a mask that was clicked on, the clicked part.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.project.tasks import TaskError
from backend.prompts import stored
from backend.prompts.stored import WHOLE, StoredMask, View
from backend.regions.allowance import Allowance
from backend.regions.geometry import size_of
from backend.regions.writing import CHANGED
from dgl_rsis.runs import Runs, from_runs, to_runs
from dgl_rsis.types import Json
from workers.messages import Exemplar, Point

DRAWN = frozenset({"manual", CHANGED})  # origins of what a person had a hand in
WORDS = re.compile(
    r"(please )?((find|show|mark|select|add|get) )?(me )?"
    r"((all|more|any|everything|every one|the|of|others?|things|objects|ones) )+"
    r"(like|similar to) (this|that|these|those|it|them)( ones?)?"
    r"(?P<everywhere>,? (everywhere|(in|over|across|throughout) (the (whole |entire )?project"
    r"|(all|every)( the)?( other)? (images?|tasks?|pictures?|tiles?))))?[.!]?",
    re.IGNORECASE,
)
NONE = (
    "There is no mask to go by: click or draw one such thing, accept it, and write '{text}' again."
)


@dataclass(frozen=True)
class Meant:
    """What all things are to be like.

    Attributes:
        exemplar: its mask, and where nothing is sought.
        label: its label.
        everywhere: the project's other images are to be searched, too.
        pending: regions that are suggested and not accepted yet: the answer takes their place on
            the screen, so it has to repeat them.
    """

    exemplar: Exemplar
    label: str
    everywhere: bool = False
    pending: tuple[Json, ...] = ()


def asks(text: str) -> bool:
    """Whether a prompt asks for all things like one: "all like this", "more like these"."""
    return _asked(text) is not None


def _asked(text: str) -> re.Match[str] | None:
    return WORDS.fullmatch(" ".join(text.split()))


def read(text: str, task: Mapping[str, Any], last: Sequence[Json], view: View = WHOLE) -> Meant:
    """The mask that a person means, what has its label already, and how far is to be searched.

    Args:
        text: the prompt, of which `asks` is true.
        task: as Label Studio sends it.
        last: the last answer to a prompt on it, see `memory.Suggestions.recent`; or none.
        view: of the prompt.

    Raises:
        TaskError: there is no such mask, or it has no label.
    """
    regions = list(stored.newest_regions(task, last, view))
    region = _last(regions, last)
    allowance = Allowance()
    mask = None if region is None else _decoded(region, regions, allowance, view)
    if region is None or mask is None:
        raise TaskError(NONE.format(text=text))
    if not mask.label:
        raise TaskError(f"The mask that '{text}' goes by has no label: give it one.")
    points = [point for answer in last if _holds(answer, region) for point in answer["points"]]
    shown = _pointed_at(mask.runs, points)
    marked = _marked(regions, mask, allowance, view)
    pending = tuple(each for answer in last if _is_of(answer, region) for each in answer["result"])
    asked = _asked(text)
    everywhere = asked is not None and asked["everywhere"] is not None
    return Meant(Exemplar(shown, marked), mask.label, everywhere, pending)


def _last(regions: Sequence[Json], last: Sequence[Json]) -> Json | None:
    """The newest mask that was asked for or drawn."""
    for region in filter(stored.is_mask, regions):
        if str(region.get("origin")) in DRAWN or any(_holds(answer, region) for answer in last):
            return region
    return None


def _holds(answer: Json, region: Json) -> bool:
    """Whether a region is one that an answer made or corrected, in whatever state."""
    name = region.get("id")  # of ours, text
    return isinstance(name, str) and any(each.get("id") == name for each in answer["result"])


def _is_of(answer: Json, region: Json) -> bool:
    """Whether a region is still the one of an answer: nobody accepted or rejected it yet."""
    return any(each is region for each in answer["result"])


def _decoded(
    region: Json, regions: Sequence[Json], allowance: Allowance, view: View
) -> StoredMask | None:
    """The mask of a region, with the labels that stand beside it; None if it has no pixels."""
    size = size_of(region)
    if size is None:
        return None
    name = region.get("id")
    beside = [each for each in regions if each.get("id") == name and not stored.is_mask(each)]
    mask = next(stored.stored([region, *beside], size, lambda _: True, view, allowance), None)
    return mask if mask is not None and any(mask.runs.counts[1::2]) else None


def _pointed_at(runs: Runs, points: Sequence[Point]) -> Runs:
    """The parts of a mask that were clicked on; all of it where none was."""
    inside = [point for point in points if stored.holds(runs, point)]
    return stored.parts_at(runs, inside) if inside else runs


def _marked(regions: Sequence[Json], mask: StoredMask, allowance: Allowance, view: View) -> Runs:
    """Everything that has the label of a mask, with it: the union of its label's regions."""
    union, size = from_runs(mask.runs), (mask.runs.height, mask.runs.width)
    for other in stored.stored(regions, size, lambda names: mask.label in names, view, allowance):
        union |= from_runs(other.runs)
    return to_runs(np.asarray(union, dtype=np.bool_))
