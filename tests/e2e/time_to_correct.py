"""How long a person needs with pre-labels and clicks, and how long by drawing.

`python -m tests.e2e.time_to_correct --dubai FOLDER` runs a scripted annotator through Dubai tiles.
It knows the true mask and makes no mistakes. How long a person takes for what it does with mouse
and keyboard is counted by `Pace`; how long the machine takes is measured: tasks are opened, clicked
on and corrected in a real Label Studio in a real Chromium. Outlines are only counted, since drawing
them asks nothing of the machine, and an editor with hundreds of polygons takes minutes for them.

Of each tile it makes the class map twice:

- *drawn*: from nothing, the outline of every object with a polygon, the largest objects first, so
  that those inside of others lie on top;
- *corrected*: from the pre-labels, until the map is as accurate as the drawn one. The largest
  wrong patch gets a click with its true label; a suggestion that mends less than half of the patch
  is rejected, and the patch is outlined with a polygon in the end.

Where regions overlap the smaller one is on top, as in exports.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page
from rich.console import Console

from backend.regions.findings import Findings
from backend.regions.planes import class_map
from backend.regions.reading import read_regions
from backend.regions.records import Region
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES, IGNORE, Sample, dubai
from dgl_rsis.runs import to_runs
from dgl_rsis.types import Mask
from samples.processes import free_port
from samples.servers import Studio, dgl_rsis, label_studio
from samples.studio import connect_backend, create_project, import_images
from tests.e2e.annotator import SECONDS, SELECTED, open_task
from tests.e2e.browser import logged_in
from tests.e2e.projects import Project, connection_of
from tests.e2e.smart_tools import (
    accept,
    auto_annotate,
    mask_of,
    middle,
    suggestions,
    take_smart_tool,
)

Corners = NDArray[np.int32]  # (N, 2) XY, pixels of the image

NAMES = [name.lower() for name in DUBAI_CLASSES]
NUMBERS = {name: number for number, name in enumerate(NAMES, 1)}
TILES = (6, 5)
LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES)
CONFIG = f"""<View>
  <BrushLabels name="mask" toName="image">{LABELS}</BrushLabels>
  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">
    {LABELS}
  </KeyPointLabels>
  <Image name="image" value="$image"/>
</View>"""
SCREEN = {"width": 1600, "height": 1400}  # the labels and all of the image, without scrolling
SMALLEST = 400  # pixels of an object that is drawn, and of a patch that is corrected
TOLERANCE = 3.0  # pixels between an outline and its polygon
MENDED = 0.5  # of a patch, by a suggestion that is accepted
MOST_CLICKS = 60  # of one tile


@dataclass(frozen=True)
class Pace:
    """How long a person takes; seconds.

    Attributes:
        decision: to see what is to be done next: M of the keystroke-level model (Card, Moran and
            Newell, CACM 23:396, 1980).
        key: an average typist's, K there.
        press: of a mouse button, B there twice.
        start, bit: of pointing with a mouse, start + bit · log2(D / W + 1) (MacKenzie, Sellen and
            Buxton, CHI 1991); at least `shortest`.
        shortest: time of any movement.
    """

    decision: float = 1.35
    key: float = 0.28
    press: float = 0.2
    start: float = -0.107
    bit: float = 0.223
    shortest: float = 0.1

    def pointing(self, distance: float, width: float) -> float:
        """Of moving the mouse by `distance` to a target of `width`, both pixels of the screen."""
        bits = math.log2(distance / max(width, 1.0) + 1)
        return max(self.shortest, self.start + self.bit * bits)


@dataclass
class Hand:
    """Mouse and keyboard of one person, and the time that passes.

    Attributes:
        page: an open task.
        size: height and width of its image, pixels.
        pace: of the person.
        human: seconds, by the pace.
        machine: seconds, measured.
        clicks: of the mouse.
    """

    page: Page
    size: tuple[int, int]
    pace: Pace = field(default_factory=Pace)
    human: float = 0.0
    machine: float = 0.0
    clicks: int = 0
    at: tuple[float, float] = (0.0, 0.0)  # of the mouse, on the screen

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.human + self.machine

    def decide(self) -> None:
        """See what is to be done next."""
        self.human += self.pace.decision

    def take_label(self, name: str) -> None:
        """Choose the label of the next click; a person presses its hotkey."""
        labels = self.page.locator(".lsf-labels").nth(1)
        labels.locator(".lsf-label").filter(has_text=name).click()
        self.human += self.pace.key

    def click_image(self, pixel: tuple[float, float], width: float) -> None:
        """Click on the image, over whatever mask lies there.

        Args:
            pixel: x and y, pixels of the image.
            width: how far apart in all the mouse may land, pixels of the image.
        """
        self._point_at(pixel, width)
        self.page.keyboard.down("Control")
        self.page.mouse.click(*self.at)
        self.page.keyboard.up("Control")

    def outline(self, corners: Corners) -> None:
        """Count the clicks on the corners of an outline, and on its first corner again."""
        self.human += self.pace.key  # of the label
        for corner in (*corners, corners[0]):
            self._point_at((corner[0] + 0.5, corner[1] + 0.5), 2 * TOLERANCE)

    def press_button(self, name: str) -> None:
        """Move to a button of the bottom bar, by its test id; the press itself is the caller's."""
        box = self.page.get_by_test_id(name).bounding_box()
        assert box is not None
        self._move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"])

    def _point_at(self, pixel: tuple[float, float], width: float) -> None:
        box = self.page.locator(".konvajs-content").first.bounding_box()
        assert box is not None
        scale = box["width"] / self.size[1]
        self._move(box["x"] + pixel[0] * scale, box["y"] + pixel[1] * scale, width * scale)

    def _move(self, x: float, y: float, width: float) -> None:
        distance = math.dist(self.at, (x, y))
        self.human += self.pace.pointing(distance, width) + self.pace.press
        self.clicks += 1
        self.at = (x, y)


@dataclass(frozen=True)
class Made:
    """One class map, and what it took.

    Attributes:
        human: seconds.
        machine: seconds.
        clicks: of the mouse.
        accuracy: share of the labelled pixels that are right.
    """

    human: float
    machine: float
    clicks: int
    accuracy: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.human + self.machine


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder of the Dubai tiles")
    parser.add_argument("--tiles", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("demo/time-to-correct.jsonl"))
    options = parser.parse_args()
    console = Console(highlight=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    samples = list(islice(dubai(options.dubai, TILES), options.tiles))
    with (
        tempfile.TemporaryDirectory() as name,
        label_studio(Path(name) / "studio", free_port(0)) as studio,
    ):
        connection = connection_of(studio, studio.account.personal_token)
        with (
            dgl_rsis(Path(name) / "backend", free_port(0), connection) as backend,
            logged_in(studio, Path(name) / "chromium") as browser,
        ):
            rows = []
            for sample in samples:
                drawn, corrected = _both(sample, studio, backend.base_url, browser.new_page())
                rows.append((drawn, corrected))
                _say(sample.name, drawn, corrected, console)
                with options.out.open("a") as file:
                    pair = {"drawn": vars(drawn), "corrected": vars(corrected)}
                    file.write(json.dumps({"tile": sample.name, **pair}) + "\n")
    drawn_seconds = sum(drawn.seconds for drawn, _ in rows)
    corrected_seconds = sum(corrected.seconds for _, corrected in rows)
    console.print(
        f"{len(rows)} tiles: drawn {drawn_seconds:.0f} s, corrected {corrected_seconds:.0f} s: "
        f"{drawn_seconds / corrected_seconds:.2f} times as fast"
    )


def _say(name: str, drawn: Made, corrected: Made, console: Console) -> None:
    console.print(
        f"{name}: drawn {drawn.seconds:.0f} s ({drawn.clicks} clicks, accuracy "
        f"{drawn.accuracy:.3f}); corrected {corrected.seconds:.0f} s ({corrected.clicks} clicks, "
        f"{corrected.machine:.0f} s of it waiting, {corrected.accuracy:.3f}): "
        f"{drawn.seconds / corrected.seconds:.2f}"
    )


def _both(sample: Sample, studio: Studio, backend: str, page: Page) -> tuple[Made, Made]:
    """The same tile drawn from nothing and corrected from its pre-labels."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / f"{sample.name}.png"
        Image.fromarray(sample.image).save(image)
        project = create_project(studio, f"{sample.name} corrected", CONFIG)
        (task,) = import_images(studio, project, [image])
    connect_backend(studio, project, backend)
    started = time.monotonic()
    _open(page, studio, Project(project, [task]))
    waited = time.monotonic() - started
    drawn = _drawn(sample, Hand(page, sample.truth.shape))
    corrected = _corrected(sample, Hand(page, sample.truth.shape, machine=waited), drawn.accuracy)
    page.close()
    return drawn, corrected


def _open(page: Page, studio: Studio, project: Project) -> None:
    page.set_viewport_size(SCREEN)
    open_task(page, studio, project, project.tasks[0])
    auto_annotate(page)
    take_smart_tool(page)


def _drawn(sample: Sample, hand: Hand) -> Made:
    """Outlines of all objects."""
    regions = [_outlined(hand, name, mask) for name, mask in _objects(sample.truth)]
    return _made(hand, regions, sample)


def _corrected(sample: Sample, hand: Hand, wanted: float) -> Made:
    """Clicks on wrong patches while they help, then outlines of those that are left."""
    _click_patches(hand, sample, wanted)
    regions = _regions(hand.page, sample)
    for name, mask in _patches(sample, _class_map(regions, sample)):
        if _accuracy(_class_map(regions, sample), sample) >= wanted:
            break
        regions.append(_outlined(hand, name, mask))
    return _made(hand, regions, sample)


def _click_patches(hand: Hand, sample: Sample, wanted: float) -> None:
    given_up = np.zeros(sample.truth.shape, dtype=np.bool_)
    for _ in range(MOST_CLICKS):
        regions = _regions(hand.page, sample)
        classes = _class_map(regions, sample)
        patches = (each for each in _patches(sample, classes) if not given_up[each[1]].any())
        patch = next(patches, None)
        if patch is None or _accuracy(classes, sample) >= wanted:
            return
        name, mask = patch
        answer = _asked(hand, name, mask)
        if _gain(answer, regions, sample) >= MENDED * int(mask.sum()):
            hand.press_button("bottombar-accept-suggestions-button")
            accept(hand.page)
        else:
            given_up |= mask
            hand.press_button("bottombar-reject-suggestions-button")
            hand.page.get_by_test_id("bottombar-reject-suggestions-button").click()
            hand.page.wait_for_function(f"{SELECTED}.suggestions.size === 0", timeout=30 * SECONDS)


def _asked(hand: Hand, name: str, mask: Mask) -> list[dict[str, Any]]:
    """What is suggested for a click into the middle of a patch."""
    hand.decide()
    hand.take_label(name)
    row, column = middle(mask)
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5).max()
    asked = time.monotonic()
    hand.click_image((column + 0.5, row + 0.5), 2 * float(depth))
    answer = suggestions(hand.page, other_than=[])
    hand.machine += time.monotonic() - asked
    return answer


def _gain(answer: Sequence[Mapping[str, Any]], regions: Sequence[Region], sample: Sample) -> int:
    """How many pixels more would be right once an answer is accepted."""
    ids = {each["id"] for each in answer}
    kept = [region for region in regions if region.id not in ids]
    for each in answer:
        runs = to_runs(mask_of(dict(each), sample.truth.shape))
        kept.append(Region(str(each["id"]), each["labels"][0], runs, "brush"))
    before, after = _class_map(regions, sample), _class_map(kept, sample)
    return int(_right(after, sample).sum()) - int(_right(before, sample).sum())


def _outlined(hand: Hand, name: str, mask: Mask) -> Region:
    """An outline with few corners, and what is inside."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    outline = max(contours, key=cv2.contourArea)
    corners = cv2.approxPolyDP(outline, TOLERANCE, closed=True).reshape(-1, 2)
    hand.decide()
    hand.outline(corners)
    plane = np.zeros(mask.shape, dtype=np.uint8)
    cv2.fillPoly(plane, [corners], 1)
    return Region(f"outline {hand.clicks}", name, to_runs(plane.view(np.bool_)), "polygon")


def _objects(truth: NDArray[np.uint16]) -> list[tuple[str, Mask]]:
    """Name and mask of every object, the largest first."""
    each = [(name, mask) for number, name in enumerate(NAMES) for mask in _parts(truth == number)]
    return sorted(each, key=lambda pair: -int(pair[1].sum()))


def _patches(sample: Sample, classes: NDArray[np.uint16]) -> list[tuple[str, Mask]]:
    """True name and mask of what is wrong, the largest first."""
    wrong = ~_right(classes, sample) & (sample.truth != IGNORE)
    return _objects(np.where(wrong, sample.truth, IGNORE).astype(np.uint16))


def _parts(mask: Mask) -> Iterator[Mask]:
    count, numbered, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for number in range(1, count):
        if statistics[number, cv2.CC_STAT_AREA] >= SMALLEST:
            yield numbered == number


def _made(hand: Hand, regions: Sequence[Region], sample: Sample) -> Made:
    accuracy = _accuracy(_class_map(regions, sample), sample)
    return Made(hand.human, hand.machine, hand.clicks, accuracy)


def _right(classes: NDArray[np.uint16], sample: Sample) -> Mask:
    right: Mask = (classes == sample.truth + 1) & (sample.truth != IGNORE)
    return right


def _accuracy(classes: NDArray[np.uint16], sample: Sample) -> float:
    return float(_right(classes, sample).sum() / max(1, (sample.truth != IGNORE).sum()))


def _class_map(regions: Sequence[Region], sample: Sample) -> NDArray[np.uint16]:
    classes, _ = class_map(regions, NUMBERS, *sample.truth.shape)
    return classes


def _regions(page: Page, sample: Sample) -> list[Region]:
    """What is in the open annotation."""
    result = page.evaluate(f"{SELECTED}.serializeAnnotation()")
    return list(read_regions(result, sample.truth.shape, sample.name, Findings()))


if __name__ == "__main__":
    main()
