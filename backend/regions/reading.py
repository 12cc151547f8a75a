"""Label Studio's regions → masks of the image's size: what is stored as well as what is asked for.

A brush and a bitmask hold their pixels. Of a polygon, a rectangle and an ellipse, turned or not, a
pixel belongs to it when its centre does. A vector that is closed is such an outline; any other is a
line of one pixel's width.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.regions import bitmask, brush, geometry, results, shapes, sizes
from backend.regions.findings import Findings
from backend.regions.geometry import RegionError, form_of, kind_of, size_of, value_of
from backend.regions.records import Region
from backend.regions.results import labels_of, readable
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs, area
from dgl_rsis.types import Json


@dataclass(frozen=True)
class Wanted:
    """Which labels are read.

    Attributes:
        labels: those that are known; empty for all.
        ignored: those that are passed over without a message.
        names: what is stored → what it is called here, where that differs, as of an alias.
        chosen: the labels are a choice: a mask of another one is left out, but was read.
    """

    labels: Collection[str] = ()
    ignored: Collection[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    chosen: bool = False


EVERYTHING = Wanted()
Decode = Callable[[Json, Size], Runs]


def read_regions(
    result: Any,
    size: Size,
    where: str,
    findings: Findings,
    wanted: Wanted = EVERYTHING,
    decode: Decode | None = None,
) -> Iterator[Region]:
    """The masks among the regions of an annotation or a prediction.

    What is no mask (relations, choices, keypoints, …) is counted; a mask that cannot be read or has
    no label is a problem. Sentences that were written beside a mask are its own.

    Args:
        result: as Label Studio has it.
        size: height and width of the image, pixels.
        where: names the task in messages.
        findings: what could not be used.
        wanted: which labels.
        decode: gives the mask of a region as `mask` does, perhaps up to a limit; None for `mask`.
    """
    _count_others(result, findings)
    regions = results.whole(result)
    texts = _texts(regions)
    masks = {_identity(region) for region in regions if form_of(region) in READERS}
    points = [each for each in regions if form_of(each) == "keypoint" and labels_of(each)]
    if points and not masks:
        findings.unreadable(where, f"{len(points)} keypoints alone mark it, which hold no mask")
    for region in regions:
        kind = kind_of(region)
        if form_of(region) not in READERS:
            if kind != "textarea" or _identity(region) not in masks:
                findings.skip(f"{kind or 'unknown'} regions")
            continue
        place = readable(f"{where}, region {region.get('id', '?')}")
        known = _known(region, place, findings, wanted)
        if known and (runs := _mask(region, size, place, findings, decode or mask)) is not None:
            for name in known:
                record = _record(region, name, runs)
                yield replace(record, texts=texts.get(record.id, ()))


def _known(region: Json, place: str, findings: Findings, wanted: Wanted) -> list[str]:
    """Its labels that are wanted, as they are called here; says of the others that they are not."""
    names = list(dict.fromkeys(wanted.names.get(name, name) for name in labels_of(region)))
    if not names:
        findings.unreadable(place, "it has no label: give it one in Label Studio, or delete it")
    known = [name for name in names if not wanted.labels or name in wanted.labels]
    for name in sorted({*names} - {*known} - {*wanted.ignored}):
        what = f"the label {name!r} is not among the labels asked for"
        say = findings.problem if known or wanted.chosen else findings.unreadable
        say(place, what, once=True)
    return known


def mask(region: Json, size: Size) -> Runs:
    """The mask of one region, whatever its label.

    Args:
        region: a brush, a bitmask, a polygon, a rectangle, an ellipse or a vector.
        size: height and width of its image, pixels.

    Returns:
        Runs of that size; without a pixel where the region lies outside the image.

    Raises:
        RegionError: another kind, or its geometry cannot be read.
    """
    form = form_of(region)
    if form not in READERS:
        raise RegionError("it is no mask")
    if form != "brush":  # its run lengths cost what they are long, whatever the image
        geometry.check_drawable(size)
    try:
        return READERS[form](region, size)
    except bitmask.UNREADABLE as error:
        raise RegionError(str(error)) from None


def is_mask(region: Json) -> bool:
    """Whether its type is one of those that hold a mask."""
    return form_of(region) in READERS


def image_size(result: Any) -> Size | None:
    """The size that the first region with one says; None when none does."""
    for region in result if isinstance(result, list) else []:
        if isinstance(region, dict) and (size := size_of(region)) is not None:
            return size
    return None


def _count_others(result: Any, findings: Findings) -> None:
    """Count what is no region at all."""
    for each in result if isinstance(result, list) else []:
        if not isinstance(each, dict):
            findings.skip("unknown regions")


def _identity(region: Json) -> str:
    return readable(str(region.get("id", "")))


def _texts(regions: Iterable[Json]) -> dict[str, tuple[str, ...]]:
    """Id of a region → the sentences of a `<TextArea perRegion="true">`: entries of the same id."""
    texts: dict[str, tuple[str, ...]] = {}
    for region in regions:
        if kind_of(region) == "textarea":
            text = value_of(region).get("text")
            every = text if isinstance(text, list) else [text]
            held = tuple(readable(each) for each in every if isinstance(each, str) and each.strip())
            texts[_identity(region)] = texts.get(_identity(region), ()) + held
    return texts


def _mask(region: Json, size: Size, place: str, findings: Findings, decode: Decode) -> Runs | None:
    """Its mask; None, with a message, when it cannot be had."""
    said = size_of(region) or size
    if said != size and not sizes.is_scaled(said, size):
        findings.unreadable(
            place,
            f"it is of an image of {said[1]} × {said[0]} pixels, the others of {size[1]} × "
            f"{size[0]}: the image was replaced after it was marked",
        )
        return None
    try:
        painted = form_of(region) in PAINTED and said != size
        runs = sizes.scaled(decode(region, said), size) if painted else decode(region, size)
    except RegionError as error:
        findings.unreadable(place, f"its mask cannot be read: {error}")
        return None
    if area(runs):
        return runs
    if form_of(region) in PAINTED:
        findings.skip("masks without a pixel")  # what the eraser left
    else:
        findings.unreadable(
            place, "no pixel's centre lies in it: it is outside the image, or smaller than a pixel"
        )
    return None


def _record(region: Json, label: str, runs: Runs) -> Region:
    return Region(
        id=_identity(region),
        label=label,
        runs=runs,
        kind=form_of(region),
        score=score_of(region),
        origin=readable(str(region.get("origin", "manual"))),
    )


def score_of(marked: Json) -> float | None:
    """What a model gave a region or a prediction; None for nothing that one can compare with."""
    score = marked.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    # An int of JSON has no end; one that is no float is none that anything can be compared with.
    return float(score) if abs(score) <= sys.float_info.max else None


def _brush(region: Json, size: Size) -> Runs:
    """Its run lengths, or, while it is being drawn, its lines."""
    rle, touches = value_of(region).get("rle"), value_of(region).get("touches")
    if rle and not isinstance(rle, list):  # of a number, bytes() makes as many zeros
        raise RegionError("its run lengths are no list of integers 0-255")
    if rle:
        return brush.decode(rle, *size)
    if touches and isinstance(touches, list):
        return geometry.painted(touches, size)
    raise RegionError("it is empty: neither run lengths nor lines of a brush")


def _bitmask(region: Json, size: Size) -> Runs:
    return bitmask.decode(value_of(region).get("imageDataURL"), *size)


def _polygon(region: Json, size: Size) -> Runs:
    return shapes.polygon(geometry.polygon(region, size), size)


def _rectangle(region: Json, size: Size) -> Runs:
    return shapes.polygon(geometry.rectangle(region, size), size)


def _ellipse(region: Json, size: Size) -> Runs:
    return shapes.ellipse(*geometry.ellipse(region, size), size)


def _vector(region: Json, size: Size) -> Runs:
    pieces, closed = geometry.vector(region, size)
    return shapes.polygon(pieces[0], size) if closed else geometry.lines(pieces, size)


PAINTED = frozenset({"brush", "bitmask"})
READERS: Mapping[str, Callable[[Json, Size], Runs]] = {
    "brush": _brush,
    "bitmask": _bitmask,
    "polygon": _polygon,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "vector": _vector,
}
