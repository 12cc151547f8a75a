"""Masks of a reply → one Label Studio prediction with the regions that the config's controls hold.

Formats: brush and bitmask carry the mask to the pixel. Polygons and rectangles are made of outlines
in percent of the image. A polygon has no holes. An outline runs along pixel corners, not pixel
centres, so a rectangle of pixels keeps its exact size; it is simplified by at most
`POLYGON_TOLERANCE` pixels. Outlines of fewer than `SMALLEST_OUTLINE` pixels are dropped: on a
screen nobody can correct them. An ellipse is the one with the same centre, area and elongation.

Where a <Labels> has the labels of a shape, a region is two results of one id, as Label Studio
stores it. Of a task with several pictures each region says, by `item_index` or by the names of a
<Repeater>, which one it is on.
"""

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.project.controls import form_named
from backend.project.label_config import Control, LabelConfig
from backend.regions import brush, shapes
from backend.regions.geometry import LABELS
from dgl_rsis.runs import Runs, area, cropped, from_runs, to_runs
from dgl_rsis.types import Json
from workers.messages import SegmentReply, SegmentResult

Outline = np.ndarray[tuple[int, int], np.dtype[np.int32]]  # (N, 2) XY corners of pixels, pixels

CHANGED = "prediction-changed"  # Label Studio's word for a prediction that a person changed
LEVELS = {"semantic": "class", "instance": "object"}
POLYGON_TOLERANCE = 1.0  # pixels
SMALLEST_OUTLINE = 16  # pixels
DIGITS = 4


def to_prediction(reply: SegmentReply, config: LabelConfig, model_version: str) -> Json:
    """The prediction of one task, as /predict returns it and as it is pushed.

    Args:
        reply: masks of the task's image, or images.
        config: says which controls take them; other labels than a control's own never reach it.
        model_version: the one that /setup reports. Label Studio takes a task as predicted when
            both are the same string.

    Returns:
        `result`: regions; `score`: the mean of the segments' scores weighted by their areas, in
        [0, 1], 0 when nothing was found; `model_version`. An empty `result` is an answer too:
        nothing of the vocabulary is in the image.
    """
    result: list[Json] = []
    for number, each in enumerate((reply, *reply.more)):
        for control in config.controls:
            seed = _seed(f"{model_version}\n{control.name}", number)
            result += _on(config, number, _regions(each, control, seed))
    score = _score((reply, *reply.more)) if result else 0.0
    return {"result": result, "score": score, "model_version": model_version}


def to_predictions(
    reply: SegmentReply, config: LabelConfig, model_version: str, *, by_margin: bool = False
) -> list[Json]:
    """All predictions of one task, in the order in which they are to be stored.

    Of an expression there is one for each candidate, the worst first: Label Studio opens the one
    that was stored last, and the others are a click away. Else there is one, also for an expression
    that nothing answers, then without regions.

    Args:
        reply: masks of the task's image, or images.
        config: says which controls take them.
        model_version: the one that /setup reports.
        by_margin: the prediction's `score` is the reply's margin instead: the mean over the pixels
            of p(best class) − p(second), so that a data manager sorted by prediction score,
            ascending, shows the most doubtful task first. Regions keep their own scores. A reply
            without a margin (of an expression, or of an older worker) keeps the usual score.
    """
    replies = (reply, *reply.more)
    ranked = [[each for each in r.segments if each.level == "candidate"] for r in replies]
    if not any(ranked):
        prediction = to_prediction(reply, config, model_version)
        if by_margin and reply.margin is not None:
            prediction["score"] = _unit(reply.margin)
        return [prediction]
    predictions = []
    for rank in reversed(range(max(map(len, ranked)))):
        regions: list[Json] = []
        score = 0.0
        for number, (each, segments) in enumerate(zip(replies, ranked, strict=True)):
            if rank < len(segments):
                seed = _seed(f"{model_version}\n{rank}", number)
                regions += to_regions(each, segments[rank], config, seed, number)
                score = max(score, segments[rank].score)
        predictions.append(
            {"result": regions, "score": _unit(score), "model_version": model_version}
        )
    return predictions


def to_regions(
    reply: SegmentReply, segment: SegmentResult, config: LabelConfig, seed: str, picture: int = 0
) -> list[Json]:
    """The regions of one candidate, in the first control that has its label.

    Args:
        reply: that it is of.
        segment: the candidate.
        config: says which controls there are.
        seed: the same for the same candidate; what another has too gives equal ids.
        picture: number of the task's picture that it is on.

    Returns:
        None where no control has its label, or its outline is too small to be corrected.
    """
    control = next((c for c in config.controls if segment.label in c.labels), None)
    drawn = _drawn(reply, control, [segment], seed) if control else ()
    return list(_on(config, picture, drawn))


def to_changed(region: Json, runs: Runs, score: float, seed: str) -> list[Json]:
    """A stored region with another mask: under its own id, so that it takes its own place.

    Args:
        region: a brush, a bitmask or a polygon, as Label Studio has it.
        runs: its new mask.
        score: of that mask.
        seed: the same for the same change, and for no other region and no other change: of what
            has no id yet. A part named after its region alone would take the place of a part that
            was cut off before.

    Returns:
        One region, of an outline that falls apart several, the largest under the id; none where
        nothing is left that could be drawn.
    """
    form = form_named(str(region["type"]))
    names = {key: each for key, each in region["value"].items() if key.endswith("labels")}
    kept = {key: each for key, each in region.items() if key not in ("is_positive", "value")}
    changed = kept | {"origin": CHANGED, "score": _unit(score)}
    regions = []
    for number, value in enumerate(_changed_geometry(form, runs)):
        name = str(region.get("id", ""))
        name = _region_id(f"{seed}\n{name}\n{number}") if number or not name else name
        regions.append({**changed, "id": name, "value": {**value, **names}})
    return regions


def _regions(reply: SegmentReply, control: Control, seed: str) -> Iterator[Json]:
    """Regions of one control, with ids that are the same whenever they are made again."""
    level = LEVELS[control.mode]
    wanted = [s for s in reply.segments if s.level == level and s.label in control.labels]
    return _drawn(reply, control, wanted, seed)


def _drawn(
    reply: SegmentReply, control: Control, segments: Sequence[SegmentResult], seed: str
) -> Iterator[Json]:
    number = 0
    for segment in segments:
        for value in _values(control, segment):
            number += 1
            region = {
                "id": _region_id(f"{seed}\n{number}"),
                "from_name": control.name,
                "to_name": control.to_name,
                "type": control.kind,
                "original_width": reply.width,
                "original_height": reply.height,
                "image_rotation": 0,
                "origin": "prediction",
                "score": _unit(segment.score),
            }
            names = [control.stored.get(segment.label, segment.label)]
            yield from _labelled(region, control, value, names)


def _labelled(region: Json, control: Control, value: Json, names: Sequence[str]) -> Iterator[Json]:
    """A region with its labels: in its value, or in a result beside it."""
    if not control.labelled_by:
        yield {**region, "value": {**value, control.kind: list(names)}}
        return
    yield {**region, "value": value}
    # Label Studio repeats the geometry there; of a mask that would be all of its bytes once more.
    shape = {} if "rle" in value or "imageDataURL" in value else value
    beside = {"from_name": control.labelled_by, "type": LABELS}
    yield {**region, **beside, "value": {**shape, LABELS: list(names)}}


def _on(config: LabelConfig, number: int, regions: Iterable[Json]) -> Iterator[Json]:
    """Regions of one of a task's pictures."""
    pictures = config.pictures
    for region in regions:
        names = {key: pictures.name(region[key], number) for key in ("from_name", "to_name")}
        yield {**region, **names, **pictures.place(number)}


def _seed(seed: str, picture: int) -> str:
    """Another one for each picture of a task; the first has that of a task with one."""
    return f"{seed}\n{picture}\n" if picture else seed


def _region_id(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:10]


def _values(control: Control, segment: SegmentResult) -> Iterator[Json]:
    """The geometry of a segment in the control's format: none, one or several regions."""
    form = form_named(control.kind)
    return _geometry(form, segment.runs, largest_only=segment.level == "object")


def _geometry(form: str, runs: Runs, *, largest_only: bool) -> Iterator[Json]:
    """A mask drawn in a form: none, one or several values."""
    if form == "brush" and area(runs):
        yield {"format": "rle", "rle": brush.encode(runs)}
    elif form == "bitmask" and area(runs):
        yield {"imageDataURL": _data_url(runs)}
    elif form in ("polygon", "rectangle"):
        for outline in _outlines(runs, largest_only=largest_only):
            size = np.array([runs.width, runs.height])
            make = _polygon if form == "polygon" else _rectangle
            yield make(outline, size)
    elif form == "ellipse":
        for outline in _outlines(runs, largest_only=largest_only):
            yield _ellipse(outline, np.array([runs.width, runs.height]))


def _changed_geometry(form: str, runs: Runs) -> Iterator[Json]:
    """As `_geometry`, but outlines have holes: a click may have made one."""
    if form != "polygon":
        yield from _geometry(form, runs, largest_only=False)
        return
    size = np.array([runs.width, runs.height])
    for outline in _outlines_with_holes(runs):
        yield {"points": np.round(outline / size * 100, DIGITS).tolist(), "closed": True}


def _data_url(runs: Runs) -> str:
    """PNG with black pixels on a transparent ground: a palette of two, one bit a pixel."""
    image = Image.fromarray(from_runs(runs).view(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=1, transparency=b"\x00\xff")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outlines(runs: Runs, *, largest_only: bool) -> list[Outline]:
    """Outer outlines of the connected parts of a mask, largest first.

    Connected as in OpenCV: also by corners.
    """
    crop = cropped(runs)
    if crop is None:
        return []
    # A pixel corner is inside when one of its four pixels is: (h, W) → (h + 1, W + 1).
    padded = np.pad(crop.mask.view(np.uint8), 1)
    corners = padded[1:, 1:] | padded[:-1, 1:] | padded[1:, :-1] | padded[:-1, :-1]
    contours, _ = cv2.findContours(
        corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(0, crop.top)
    )
    kept = [c for c in contours if cv2.contourArea(c) >= SMALLEST_OUTLINE]
    kept.sort(key=cv2.contourArea, reverse=True)
    outlines = [np.asarray(c, dtype=np.int32).reshape(-1, 2) for c in kept]
    return outlines[:1] if largest_only else outlines


def _outlines_with_holes(runs: Runs) -> list[Outline]:
    """Outlines of the connected parts of a mask, largest first, in few points.

    A hole is joined to the outline by a line there and back, which covers nothing: Label Studio's
    polygons are a single ring. Holes of fewer than `SMALLEST_OUTLINE` pixels are filled.
    """
    size = (runs.height, runs.width)
    count, numbered = cv2.connectedComponents(from_runs(runs).view(np.uint8), connectivity=8)
    parts = [numbered == number for number in range(1, count)]
    rings = []
    for part in sorted(parts, key=np.count_nonzero, reverse=True):
        for outline in _outlines(to_runs(part), largest_only=True):
            filled = from_runs(shapes.polygon(outline.astype(np.float64), size))
            ring = _simple(outline)
            for hole in _outlines(to_runs(filled & ~part), largest_only=False):
                ring = _bridged(ring, _simple(hole))
            rings.append(ring)
    return rings


def _bridged(ring: Outline, hole: Outline) -> Outline:
    """A ring with a hole in it, entered and left at the two corners that are nearest."""
    apart = ((ring[:, None] - hole[None]) ** 2).sum(axis=2)  # (N, M)
    at, to = np.unravel_index(int(apart.argmin()), apart.shape)
    around = np.roll(hole, -int(to), axis=0)
    joined = np.concatenate([ring[: at + 1], around, around[:1], ring[at:]])
    return joined.reshape(-1, 2)


def _simple(outline: Outline) -> Outline:
    """The outline with fewer points."""
    simple = cv2.approxPolyDP(outline, POLYGON_TOLERANCE, closed=True).reshape(-1, 2)
    # A strip that is no wider than the tolerance would collapse into a line.
    return np.asarray(simple, dtype=np.int32).reshape(-1, 2) if len(simple) >= 3 else outline


def _polygon(outline: Outline, size: NDArray[np.int_]) -> Json:
    """The outline with fewer points, in percent of the image."""
    points = _simple(outline)
    return {"points": np.round(points / size * 100, DIGITS).tolist(), "closed": True}


def _rectangle(outline: Outline, size: NDArray[np.int_]) -> Json:
    """The upright bounding box of the outline, in percent of the image."""
    start, end = outline.min(axis=0), outline.max(axis=0)
    x, y = np.round(start / size * 100, DIGITS).tolist()
    width, height = np.round((end - start) / size * 100, DIGITS).tolist()
    return {"x": x, "y": y, "width": width, "height": height, "rotation": 0}


def _ellipse(outline: Outline, size: NDArray[np.int_]) -> Json:
    """The ellipse with the moments of an outline's inside, in percent of the image.

    Its half axes are twice the roots of the eigenvalues of the covariance of the inside's points.
    """
    moments = cv2.moments(outline)
    mass = moments["m00"]
    centre = np.array([moments["m10"], moments["m01"]]) / mass
    mixed = moments["mu11"] / mass
    covariance = np.array([[moments["mu20"] / mass, mixed], [mixed, moments["mu02"] / mass]])
    spreads, axes = np.linalg.eigh(covariance)  # ascending
    radii = 2 * np.sqrt(np.maximum(spreads[::-1], 0))
    turn = math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180
    x, y = np.round(centre / size * 100, DIGITS).tolist()
    across, down = np.round(radii / size * 100, DIGITS).tolist()
    return {"x": x, "y": y, "radiusX": across, "radiusY": down, "rotation": round(turn, DIGITS)}


def _score(replies: Iterable[SegmentReply]) -> float:
    """Mean score of the segments weighted by area; objects repeat their class, so either level."""
    every = [segment for reply in replies for segment in reply.segments]
    level = "class" if any(s.level == "class" for s in every) else "object"
    weighted = [(area(s.runs), s.score) for s in every if s.level == level]
    total = sum(pixels for pixels, _ in weighted)
    return _unit(sum(pixels * score for pixels, score in weighted) / total) if total else 0.0


def _unit(score: float) -> float:
    """Clipped to [0, 1] and rounded; NaN, which JSON cannot carry, becomes 0."""
    return round(min(max(score, 0.0), 1.0), DIGITS) if score == score else 0.0
