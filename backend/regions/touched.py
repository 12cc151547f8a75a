"""Which classes a person worked on: what an annotation changed of the prediction it started from.

Measured with Label Studio 1.23.2: a region that was erased from, painted on or given another label
has the origin "prediction-changed", one that was drawn "manual". One that was deleted is gone, one
that came from an accepted suggestion has an id of its own and may have the origin "prediction", and
the run lengths of a mask that nobody touched may be other bytes of the same mask.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from backend.regions.geometry import RegionError, form_of, size_of, value_of
from backend.regions.reading import READERS, Decode, mask
from backend.regions.results import identity_of, labels_of, whole
from dgl_rsis.types import Json

UNTOUCHED = "prediction"
DIGITS = 3  # of percents: an editor writes more of them than it was given


@dataclass
class _Mark:
    """All that is marked under one id.

    Attributes:
        labels: of any of them.
        shapes: those that hold a mask.
        changed: a person drew or changed one.
    """

    labels: set[str] = field(default_factory=set)
    shapes: list[Json] = field(default_factory=list)
    changed: bool = False


def touched(result: Any, predicted: Any = None, decode: Decode = mask) -> frozenset[str] | None:
    """The labels that an annotation changed anything of.

    Args:
        result: of the annotation, as Label Studio has it.
        predicted: the same of the prediction that it started from; None where that is not known:
            then origins alone decide, and what was deleted cannot be seen.
        decode: gives the mask of a region as `mask` does, perhaps up to a limit.

    Returns:
        Labels of what was drawn, changed or deleted, and of what it was before; None where nothing
        was, which confirms the whole.
    """
    marks = _marks(result)
    before = _marks(predicted) if isinstance(predicted, list) else None
    labels: set[str] = set()
    changed = False
    for identity, mark in marks.items():
        was = None if before is None else before.get(identity)
        if mark.changed or (before is not None and (was is None or not _same(mark, was, decode))):
            changed = True
            labels |= mark.labels | (was.labels if was is not None else set())
    for identity, was in (before or {}).items():
        if identity not in marks:
            changed = True
            labels |= was.labels
    return frozenset(labels) if changed else None


def _marks(result: Any) -> dict[str, _Mark]:
    """Region → what it marks; what is no mask has none."""
    marks: dict[str, _Mark] = {}
    for region in whole(result):
        if form_of(region) in READERS:
            mark = marks.setdefault(identity_of(region), _Mark())
            mark.labels.update(labels_of(region))
            mark.changed |= region.get("origin", "manual") != UNTOUCHED
            mark.shapes.append(region)
    return marks


def _same(mark: _Mark, was: _Mark, decode: Decode) -> bool:
    """Whether two marks have the same labels and, but for rounding, the same pixels."""
    if mark.labels != was.labels or len(mark.shapes) != len(was.shapes):
        return False
    pairs = zip(mark.shapes, was.shapes, strict=True)
    return all(_same_shape(shape, other, decode) for shape, other in pairs)


def _same_shape(shape: Json, was: Json, decode: Decode) -> bool:
    if _rounded(shape) == _rounded(was):
        return True
    size = size_of(shape)
    if size is None or size != size_of(was):
        return False
    try:
        return decode(shape, size) == decode(was, size)
    except RegionError:
        return False


def _rounded(shape: Json) -> Any:
    value = value_of(shape)
    if "rle" in value or "imageDataURL" in value:
        return value
    return json.loads(json.dumps(value), parse_float=lambda digits: round(float(digits), DIGITS))
