"""Tiles of one scene: each is segmented with what surrounds it, and agrees with those before it.

What a tile's own border cuts is judged badly, so a tile is asked for together with a strip of its
neighbours, and only its own part of the answer is kept. Where tiles overlap, the second one takes
over what the first one said: there is one answer to a place, and `untile` finds no seam. What was
said waits in a folder of the results until the run is finished, so that a later run agrees, too.
"""

import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.commands.prelabel.items import PrelabelItem
from backend.project.label_config import LabelConfig
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import RGB, Mask
from workers.messages import SegmentReply, SegmentResult

CONTEXT = 64  # pixels of its neighbours that a tile is seen with, on each side
FOLDER = "overlaps"
LEAST_OBJECT, MOST_OBJECTS = 32, 300  # as `OvssParameters` has them
COMPRESSION = 1  # of PNG, 0-9: it is read once, on this machine or the next

Classes = NDArray[np.uint16]  # (h, w), 0 = none


@dataclass(frozen=True)
class Part:
    """A part of a scene, pixels; right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def shared(self, other: "Part") -> "Part | None":
        """What both have; None for nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Part(left, top, right, bottom) if left < right and top < bottom else None

    def grown(self, by: int, width: int, height: int) -> "Part":
        """With so many pixels more on each side, inside a scene of this size."""
        return Part(
            max(0, self.left - by), max(0, self.top - by),
            min(width, self.right + by), min(height, self.bottom + by),
        )  # fmt: skip

    def inside(self, whole: "Part") -> tuple[slice, slice]:
        """Its rows and columns in an array of a part that holds it."""
        return (
            slice(self.top - whole.top, self.bottom - whole.top),
            slice(self.left - whole.left, self.right - whole.left),
        )


@dataclass(frozen=True)
class Tile:
    """A tile of a scene.

    Attributes:
        scene: name.
        size: of the scene, width and height in pixels.
        part: of the scene that it shows.
        file: PNG of it.
    """

    scene: str
    size: tuple[int, int]
    part: Part
    file: Path

    @cached_property
    def name(self) -> str:
        """Of the file that its classes wait in."""
        text = f"{self.scene}\n{self.size}\n{self.part}"
        return f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


@dataclass(frozen=True)
class Overlaps:
    """The tiles of a run, and what was said of them.

    Attributes:
        config: names the labels.
        folder: for the classes of the tiles that were answered.
        tiles: by the names of their items; those without a neighbour are not among them.
    """

    config: LabelConfig
    folder: Path
    tiles: Mapping[str, Tile]
    _near: dict[str, list[Tile]] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Iterable[PrelabelItem], config: LabelConfig, out: Path) -> "Overlaps":
        """Find the tiles among items; tasks of `tile` say where in a scene they lie."""
        found = {item.name: tile for item in items if (tile := _tile(item)) is not None}
        overlaps = cls(config, out / FOLDER, found)
        return replace(overlaps, tiles={n: t for n, t in found.items() if overlaps.near(t)})

    def near(self, tile: Tile) -> list[Tile]:
        """The others that overlap a tile and its surroundings, in order of their place."""
        if tile.name not in self._near:
            tiles, (left, top, right, bottom) = self._scenes[tile.scene, tile.size]
            around = tile.part.grown(CONTEXT, *tile.size)
            across = (left < around.right) & (around.left < right)
            down = (top < around.bottom) & (around.top < bottom)
            within = np.flatnonzero(across & down).tolist()
            self._near[tile.name] = [tiles[i] for i in within if tiles[i] != tile]
        return self._near[tile.name]

    @cached_property
    def _scenes(self) -> dict[tuple[str, tuple[int, int]], tuple[list[Tile], NDArray[np.int64]]]:
        """The tiles of each scene, and (4, n) their sides."""
        scenes: dict[tuple[str, tuple[int, int]], list[Tile]] = {}
        for tile in self.tiles.values():
            scenes.setdefault((tile.scene, tile.size), []).append(tile)
        return {
            key: (tiles, np.array([astuple(tile.part) for tile in tiles], dtype=np.int64).T)
            for key, tiles in scenes.items()
        }

    def surrounded(self, item: PrelabelItem) -> bytes | None:
        """A tile and its surroundings as a PNG; None for what is no tile with neighbours.

        Raises:
            OSError: a file is gone.
        """
        tile = self.tiles.get(item.name)
        if tile is None:
            return None
        around = tile.part.grown(CONTEXT, *tile.size)
        canvas: RGB = np.zeros(
            (around.bottom - around.top, around.right - around.left, 3), np.uint8
        )
        for each in (*self.near(tile), tile):  # its own pixels last: these are what is asked for
            shared = each.part.shared(around)
            assert shared is not None
            canvas[shared.inside(around)] = _pixels(each)[shared.inside(each.part)]
        buffer = io.BytesIO()
        Image.fromarray(canvas).save(buffer, "PNG", compress_level=COMPRESSION)
        return buffer.getvalue()

    def settled(self, item: PrelabelItem, reply: SegmentReply) -> SegmentReply:
        """The answer to a tile alone, that agrees with those that came before.

        Args:
            item: that was asked for.
            reply: to `surrounded`; of any other item it comes back as it is.

        Raises:
            OSError: what was said of it cannot be kept.
        """
        tile = self.tiles.get(item.name)
        if tile is None:
            return reply
        around = tile.part.grown(CONTEXT, *tile.size)
        if (reply.height, reply.width) != (around.bottom - around.top, around.right - around.left):
            return reply  # of a worker that saw the tile alone
        labels = [label.name for label in self.config.labels]
        inside = tile.part.inside(around)
        classes = _classes(reply, labels)[inside].copy()
        scores = {each.label: each.score for each in reply.segments if each.level == _level(reply)}
        for other in self.near(tile):
            shared = other.part.shared(tile.part)
            file = self.folder / other.name
            if shared is None or not file.is_file():
                continue
            with np.load(file) as said:
                classes[shared.inside(tile.part)] = said["classes"][shared.inside(other.part)]
                theirs = dict(zip(labels, said["scores"].tolist(), strict=True))
            scores = theirs | scores
        self.folder.mkdir(parents=True, exist_ok=True)
        known = np.array([scores.get(label, 0.0) for label in labels])
        np.savez_compressed(self.folder / tile.name, classes=classes, scores=known)
        segments = tuple(_segments(reply, tile.part.inside(around), classes, labels, scores))
        height, width = classes.shape
        return replace(reply, height=height, width=width, segments=segments)

    def forget(self) -> None:
        """The run is finished: nobody has to agree any more."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _tile(item: PrelabelItem) -> Tile | None:
    data = item.task.get("data")
    if item.file is None or not isinstance(data, Mapping):
        return None
    scene = data.get("scene")
    window, size = _numbers(data.get("window"), 4), _numbers(data.get("scene_size"), 2)
    if not (isinstance(scene, str) and window and size):
        return None
    column, row, width, height = window
    part = Part(column, row, column + width, row + height)
    fits = min(width, height) > 0 and part.right <= size[0] and part.bottom <= size[1]
    return Tile(scene, (size[0], size[1]), part, item.file) if fits else None


def _numbers(value: Any, count: int) -> list[int]:
    """So many whole numbers from 0 on; none for anything else."""
    known = isinstance(value, list) and len(value) == count
    return value if known and all(isinstance(each, int) and each >= 0 for each in value) else []


def _pixels(tile: Tile) -> RGB:
    """(h, w, 3) uint8.

    Raises:
        OSError: no picture, or one of another size than the task says.
    """
    with Image.open(tile.file, formats=("PNG",)) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected = tile.part.bottom - tile.part.top, tile.part.right - tile.part.left
    if pixels.shape[:2] != expected:
        raise OSError(f"{tile.file} has another size than its task says: tile the scene again")
    return pixels


def _level(reply: SegmentReply) -> str:
    """What of a reply says most of its classes."""
    return "class" if any(each.level == "class" for each in reply.segments) else "object"


def _classes(reply: SegmentReply, labels: list[str]) -> Classes:
    """(h, w), 0 = none, i = the i-th label."""
    classes: Classes = np.zeros((reply.height, reply.width), dtype=np.uint16)
    level = _level(reply)
    for segment in reply.segments:
        if segment.level == level:
            classes[from_runs(segment.runs)] = labels.index(segment.label) + 1
    return classes


def _segments(
    reply: SegmentReply,
    inside: tuple[slice, slice],
    classes: Classes,
    labels: list[str],
    scores: Mapping[str, float],
) -> Iterator[SegmentResult]:
    """Masks of the levels that the reply has, of these classes, which lie `inside` its image."""
    levels = {each.level for each in reply.segments} or {"class", "object"}
    found = [(label, classes == number) for number, label in enumerate(labels, start=1)]
    found = [(label, mask) for label, mask in found if mask.any()]
    for label, mask in found if "class" in levels else ():
        yield SegmentResult(label, scores.get(label, 0.0), "class", to_runs(mask))
    own: dict[str, list[Mask]] = {label: [] for label in labels}
    for each in reply.segments:
        if each.level == "object":
            own[each.label].append(from_runs(each.runs)[inside])
    for label, mask in found if "object" in levels else ():
        for part in _objects(mask, own[label]):
            yield SegmentResult(label, scores.get(label, 0.0), "object", to_runs(part))


def _objects(mask: Mask, own: Sequence[Mask]) -> list[Mask]:
    """The objects of a class, the largest first.

    Those of the reply, as far as they are of the class still: things that touch are told apart
    there. What other tiles said of the class besides joins the object that it touches.
    """
    from skimage.measure import label  # loaded where tiles do overlap
    from skimage.segmentation import watershed

    from dgl_rsis import masks

    numbers = np.zeros(mask.shape, dtype=np.int32)
    for number, each in enumerate(own, start=1):
        numbers[each] = number
    numbers = watershed(np.zeros(mask.shape, np.uint8), np.where(mask, numbers, 0), 2, mask=mask)
    numbers[mask & (numbers == 0)] = len(own) + 1
    connected: NDArray[np.int64] = label(numbers, background=0, connectivity=2)
    return list(islice(masks.parts(connected, LEAST_OBJECT), MOST_OBJECTS))
