"""Tiles that overlap get one answer to a place, in any order and in as many runs as it takes."""

import io
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.commands.labels import read_config
from backend.commands.prelabel.items import PrelabelItem
from backend.commands.prelabel.overlaps import CONTEXT, FOLDER, Overlaps
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.scenes.tiles import TileParameters, windows
from workers.messages import SegmentReply, SegmentResult

LABELS = ("ship", "water")
CONFIG = read_config(",".join(LABELS), None)
SCENE = np.random.default_rng(0).integers(1, 256, (150, 210, 3), dtype=np.uint8)


def tiled(folder: Path, size: int, overlap: int, scene: np.ndarray = SCENE) -> list[PrelabelItem]:
    """Items as of the list that `tile` writes."""
    items, (height, width) = [], scene.shape[:2]
    for column, row, across, down in windows(width, height, TileParameters(size, overlap)):
        file = folder / f"{column}_{row}.png"
        Image.fromarray(scene[row : row + down, column : column + across]).save(file)
        place = {"scene": "a.tif", "window": [column, row, across, down]}
        data = {"image": file.name, "scene_size": [width, height]} | place
        items.append(PrelabelItem(file.name, {"data": data}, file))
    return items


def reply(classes: np.ndarray) -> SegmentReply:
    height, width = classes.shape
    segments = [
        SegmentResult(label, 0.5 + number / 10, level, to_runs(classes == number))
        for number, label in enumerate(LABELS, start=1)
        for level in ("class", "object")
        if (classes == number).any()
    ]
    return SegmentReply(height, width, "v", tuple(segments))


def drawn(answer: SegmentReply) -> np.ndarray:
    classes = np.zeros((answer.height, answer.width), dtype=int)
    for segment in answer.segments:
        if segment.level == "class":
            classes[from_runs(segment.runs)] = LABELS.index(segment.label) + 1
    return classes


def seen(overlaps: Overlaps, item: PrelabelItem) -> np.ndarray:
    data = overlaps.surrounded(item)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_tile_is_seen_as_the_scene_shows_it(tmp_path: Path) -> None:
    items = tiled(tmp_path, 70, 16)
    overlaps = Overlaps.of(items, CONFIG, tmp_path)
    for item in items:
        column, row, width, height = item.task["data"]["window"]
        top, left = max(0, row - CONTEXT), max(0, column - CONTEXT)
        expected = SCENE[top : row + height + CONTEXT, left : column + width + CONTEXT]
        assert (seen(overlaps, item) == expected).all()


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_there_is_one_answer_to_a_place(data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = data.draw(st.integers(40, 100))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = tiled(folder, size, data.draw(st.integers(0, size // 2)))
        said = np.full(SCENE.shape[:2], -1)
        for item in data.draw(st.permutations(items)):
            overlaps = Overlaps.of(items, CONFIG, folder)  # of a run that goes on
            shape = seen(overlaps, item).shape[:2]
            answer = overlaps.settled(item, reply(rng.integers(0, 3, shape)))
            column, row, width, height = item.task["data"]["window"]
            assert (answer.height, answer.width) == (height, width)
            place = said[row : row + height, column : column + width]
            classes = drawn(answer)
            assert (classes == place)[place >= 0].all()
            place[...] = classes
        assert (said >= 0).all()
        overlaps.forget()
        assert not (folder / FOLDER).exists()


def test_objects_are_the_parts_of_the_classes(tmp_path: Path) -> None:
    items = tiled(tmp_path, 80, 16)
    overlaps = Overlaps.of(items, CONFIG, tmp_path)
    shape = seen(overlaps, items[0]).shape[:2]
    classes = np.zeros(shape, dtype=int)
    classes[10:20, 10:20] = classes[40:60, 40:60] = 1
    classes[:, 90:] = 2  # of the neighbour alone
    answer = overlaps.settled(items[0], reply(classes))
    found = [(each.label, each.level, int(from_runs(each.runs).sum())) for each in answer.segments]
    assert found == [("ship", "class", 500), ("ship", "object", 400), ("ship", "object", 100)]


def test_things_that_touch_stay_apart_and_grow_by_what_was_said_before(tmp_path: Path) -> None:
    items = tiled(tmp_path, 80, 16)
    overlaps = Overlaps.of(items, CONFIG, tmp_path)
    said = np.zeros(seen(overlaps, items[0]).shape[:2], dtype=int)
    said[10:20, 66:80] = 1  # the right end of the car is in the overlap with the next tile
    overlaps.settled(items[0], reply(said))
    left, top = Overlaps.of(items, CONFIG, tmp_path).tiles[items[1].name].part.left - CONTEXT, 0
    mine = np.zeros(seen(overlaps, items[1]).shape[:2], dtype=bool)
    cars = [mine.copy(), mine.copy()]
    cars[0][top + 10 : 20, 70 - max(0, left) : 90 - max(0, left)] = True
    cars[1][top + 20 : 30, 70 - max(0, left) : 90 - max(0, left)] = True
    segments = (
        SegmentResult("ship", 0.5, "class", to_runs(cars[0] | cars[1])),
        *(SegmentResult("ship", 0.5, "object", to_runs(car)) for car in cars),
    )
    answer = overlaps.settled(items[1], SegmentReply(*mine.shape, "v", segments))
    found = [int(from_runs(each.runs).sum()) for each in answer.segments if each.level == "object"]
    # Of the first one also what the first tile saw left of it; of the second one less.
    assert found == [10 * (90 - 66), 10 * (90 - 80)]


def test_what_is_no_tile_or_alone_stays_as_it_is(tmp_path: Path) -> None:
    (alone,) = tiled(tmp_path, 300, 16)
    photo = PrelabelItem("p", {"data": {"image": "p.png"}}, tmp_path / "p.png")
    odd = PrelabelItem("o", {"data": {"window": [0, 0, 9, 9], "scene": 3}}, tmp_path / "p.png")
    overlaps = Overlaps.of([alone, photo, odd], CONFIG, tmp_path)
    answer = reply(np.ones((9, 9), dtype=int))
    for item in (alone, photo, odd):
        assert overlaps.surrounded(item) is None
        assert overlaps.settled(item, answer) is answer
    assert not (tmp_path / FOLDER).exists()
