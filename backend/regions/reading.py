"""Label Studio's regions → masks of the image's size.

A brush and a bitmask hold their pixels. Of a polygon, a rectangle and an ellipse, turned or not, a
pixel belongs to it when its centre does.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.project.tasks import TaskError
from backend.regions import bitmask, brush, geometry, shapes
from backend.regions.findings import Findings
from backend.regions.geometry import MOST_PIXELS, size_of, value_of
from backend.regions.records import Region
from dgl_rsis.runs import Runs, area

Json = Mapping[str, Any]
Size = tuple[int, int]  # height, width

KINDS = {
    "brushlabels": "brush",
    "bitmasklabels": "bitmask",
    "polygonlabels": "polygon",
    "rectanglelabels": "rectangle",
    "ellipselabels": "ellipse",
}


@dataclass(frozen=True)
class Wanted:
    """Which labels are read.

    Attributes:
        labels: those that are known; empty for all.
        ignored: those that are passed over without a message.
    """

    labels: Collection[str] = ()
    ignored: Collection[str] = ()


EVERYTHING = Wanted()


def read_regions(
    result: Any, size: Size, where: str, findings: Findings, wanted: Wanted = EVERYTHING
) -> Iterator[Region]:
    """The masks among the regions of an annotation or a prediction.

    What is no mask (relations, choices, keypoints, …) and what has no label is counted. Sentences
    that were written beside a mask are its own.

    Args:
        result: as Label Studio has it.
        size: height and width of the image, pixels.
        where: names the task in messages.
        findings: what could not be used.
        wanted: which labels.
    """
    texts, drawn = _texts(result), _drawn(result)
    for region in result if isinstance(result, list) else []:
        kind = region.get("type") if isinstance(region, Mapping) else None
        if not isinstance(kind, str) or kind not in KINDS:
            if kind == "textarea" and str(region.get("id", "")) in drawn:
                continue
            findings.skip(f"{kind or 'unknown'} regions")
            continue
        names = _labels(region, kind)
        place = readable(f"{where}, region {region.get('id', '?')}")
        known = [name for name in names if not wanted.labels or name in wanted.labels]
        if not names:
            findings.skip("regions without a label")
        for name in sorted({*names} - {*known} - {*wanted.ignored}):
            what = f"the label {name!r} is not among the labels asked for"
            findings.problem(place, what, once=True)
        if known and (runs := _mask(region, kind, size, place, findings)) is not None:
            for name in known:
                found = _record(region, name, runs, KINDS[kind])
                yield replace(found, texts=texts.get(found.id, ()))


def readable(text: str) -> str:
    """Text that can be written: half a character, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def image_size(result: Any) -> Size | None:
    """The size that the first region with one says; None when none does."""
    for region in result if isinstance(result, list) else []:
        if isinstance(region, Mapping) and (size := size_of(region)) is not None:
            return size
    return None


def _drawn(result: Any) -> set[str]:
    """Ids of the regions that are masks."""
    every = result if isinstance(result, list) else []
    return {
        str(region.get("id", ""))
        for region in every
        if isinstance(region, Mapping) and region.get("type") in [*KINDS]
    }


def _texts(result: Any) -> dict[str, tuple[str, ...]]:
    """Id of a region → the sentences of a `<TextArea perRegion="true">`: entries of the same id."""
    found: dict[str, tuple[str, ...]] = {}
    for region in result if isinstance(result, list) else []:
        if isinstance(region, Mapping) and region.get("type") == "textarea":
            text = value_of(region).get("text")
            every = text if isinstance(text, list) else [text]
            identity = str(region.get("id", ""))
            held = tuple(readable(each) for each in every if isinstance(each, str) and each.strip())
            found[identity] = found.get(identity, ()) + held
    return found


def _labels(region: Json, kind: str) -> list[str]:
    value = value_of(region)
    names = value.get(kind) or value.get("labels")
    every = names if isinstance(names, list) else []
    return list(dict.fromkeys(readable(name) for name in every if isinstance(name, str) and name))


def _mask(region: Json, kind: str, size: Size, place: str, findings: Findings) -> Runs | None:
    """Its mask; None, with a message, when it cannot be had."""
    said = size_of(region)
    if said is not None and said != size:
        findings.problem(
            place,
            f"it is of an image of {said[1]} × {said[0]} pixels, the others of {size[1]} × "
            f"{size[0]}: the image was replaced after it was marked",
        )
        return None
    try:
        runs = READERS[kind]({**region, "original_height": size[0], "original_width": size[1]})
    except (TaskError, *bitmask.UNREADABLE) as error:
        findings.problem(place, f"its mask cannot be read: {error}")
        return None
    if not area(runs):
        findings.skip("masks without a pixel")
        return None
    return runs


def _record(region: Json, label: str, runs: Runs, kind: str) -> Region:
    return Region(
        id=readable(str(region.get("id", ""))),
        label=label,
        runs=runs,
        kind=kind,
        score=score_of(region),
        origin=readable(str(region.get("origin", "manual"))),
    )


def score_of(marked: Json) -> float | None:
    """What a model gave a region or a prediction; None for nothing that one can compare with."""
    score = marked.get("score")
    is_score = isinstance(score, int | float) and not isinstance(score, bool)
    return float(score) if is_score and math.isfinite(score) else None  # type: ignore[arg-type]


def _size(region: Json) -> Size:
    size = size_of(region)
    assert size is not None  # `_mask` wrote it
    return size


def _brush(region: Json) -> Runs:
    rle = value_of(region).get("rle")
    return brush.decode(rle if isinstance(rle, list) else [], *_size(region))


def _bitmask(region: Json) -> Runs:
    return bitmask.decode(value_of(region).get("imageDataURL"), *_drawable(region))


def _polygon(region: Json) -> Runs:
    size = _drawable(region)
    corners = np.array(geometry.outline(region)) * (size[1], size[0])
    return shapes.polygon(corners, size)


def _rectangle(region: Json) -> Runs:
    size = _drawable(region)
    x, y, across, down = _numbers(region, ("x", "y", "width", "height"), size)
    return shapes.polygon(shapes.rectangle((x, y), (across, down), _turn(region)), size)


def _ellipse(region: Json) -> Runs:
    size = _drawable(region)
    x, y, across, down = _numbers(region, ("x", "y", "radiusX", "radiusY"), size)
    return shapes.ellipse((x, y), (across, down), _turn(region), size)


def _numbers(region: Json, names: tuple[str, str, str, str], size: Size) -> tuple[float, ...]:
    """Position and extent, percent → pixels.

    Raises:
        ValueError: no numbers, or no extent.
    """
    value = value_of(region)
    percent = [_number(value.get(name), name) for name in names]
    if min(percent[2:]) <= 0:
        raise ValueError(f"its {names[2]} and {names[3]} must be more than 0")
    return tuple(number * size[(i + 1) % 2] / 100 for i, number in enumerate(percent))


def _turn(region: Json) -> float:
    """Clockwise, radians.

    Raises:
        ValueError: no number.
    """
    return math.radians(_number(value_of(region).get("rotation", 0), "rotation") % 360)


def _number(value: Any, name: str) -> float:
    """A number that one can compute with.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        return float(value)
    raise ValueError(f"its {name} is no number")


def _drawable(region: Json) -> Size:
    """The size of an image that is small enough to draw on.

    Raises:
        ValueError: it is not.
    """
    height, width = _size(region)
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{width} × {height} pixels are more than {MOST_PIXELS}: cut it into tiles"
        )
    return height, width


READERS: Mapping[str, Callable[[Json], Runs]] = {
    "brushlabels": _brush,
    "bitmasklabels": _bitmask,
    "polygonlabels": _polygon,
    "rectanglelabels": _rectangle,
    "ellipselabels": _ellipse,
}
