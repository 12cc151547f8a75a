"""Somebody clicks: 1024² images through web server, queue and worker, with the starter weights.

`python -m benchmarks.clicks` starts `dgl-rsis up` on free ports and measures, at the backend, the
first click on images that nobody has seen, further clicks and boxes on them, text prompts on an
image that was pre-labelled, and clicks while a batch is being worked at. INTERACTIVE_WORKERS in the
environment is passed on: with 1, the last of these should be like the clicks before.

`git worktree add ../base 2c08d65`, an environment in `../base/.venv` (`make install` there), and
`--base ../base` start that commit's backend as well and ask both in turn, so that whatever else the
machine does slows both. Exits 1 when an aim is missed: first clicks in half of the base's time,
further ones no slower.
"""

import argparse
import contextlib
import math
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks.backend_calls import Backend, backend, predict
from samples.studio import sample_images

SIDE = 1024  # pixels
IMAGES = 6  # that are clicked at
CLICKS = 10  # further ones, on each of them
BATCH = 6  # images
LIMIT_SECONDS = 120.0  # of one request
FACTOR, SLOWER = 2.0, 1.1  # the aims; a tenth is what the same commit differs by from itself
HERE, BASE = "here", "base"
FIRST, COLD, FURTHER = "the very first click", "first click on a cold image", "further clicks"
OPENED, SENTENCE, SENTENCES = "pre-labelling a cold image", "first sentence", "further sentences"
BESIDE = f"clicks while {BATCH} images are worked at"
WORDS = (
    "the largest building",
    "the road on the left",
    "the building near the road",
    "the vegetation at the top",
    "the small building on the right",
)
LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image">
    <Label value="building"/><Label value="road"/><Label value="vegetation"/><Label value="land"/>
  </BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true">
    <Label value="building"/>
  </KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true">
    <Label value="building"/>
  </RectangleLabels>
  <TextArea name="prompt" toName="image"/>
</View>"""

Seconds = dict[str, list[float]]  # what was asked → of each answer


def main() -> int:
    """Command line; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", type=Path, help="folder of a commit to compare with")
    options = parser.parse_args()
    programs: dict[str, Path | None] = {HERE: None}
    if options.base is not None:
        programs[BASE] = options.base.resolve() / ".venv" / "bin" / "dgl-rsis"
        if not programs[BASE].is_file():
            sys.stdout.write(f"no {programs[BASE]}: `make install` in {options.base}\n")
            return 1
    reserved = os.environ.get("INTERACTIVE_WORKERS", "1")
    settings = {"SINGLE_TASK_SECONDS": str(LIMIT_SECONDS), "INTERACTIVE_WORKERS": reserved}
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{SIDE}², INTERACTIVE_WORKERS={reserved}")
    with contextlib.ExitStack() as stack:
        trees = {
            name: stack.enter_context(backend(program, **settings))
            for name, program in programs.items()
        }
        for started in trees.values():
            _write_images(started.images)
        return _report(_measured(trees), console)


def _measured(trees: dict[str, Backend]) -> dict[str, Seconds]:
    """Seconds by tree; each asks for the same, and one after the other."""
    seconds: dict[str, Seconds] = {name: {} for name in trees}
    for number in range(IMAGES):
        for name, tree in trees.items():
            _clicks(tree.url, number, seconds[name])
    for name, tree in trees.items():
        _words(tree.url, seconds[name])
        _beside_a_batch(tree.url, seconds[name])
    return seconds


def _report(measured: dict[str, Seconds], console: Console) -> int:
    """A line for each thing asked; 1 when an aim is missed."""
    here, base = measured[HERE], measured.get(BASE, {})
    for what, seconds in here.items():
        line = f"{what}: {_shown(seconds)}"
        if what in base:
            line += f"; base {_shown(base[what])}: {_ratio(base[what], seconds):.2f} times as fast"
        console.print(line)
    if not base:
        return 0
    quick = _ratio(base[COLD], here[COLD]) >= FACTOR
    return 0 if quick and _ratio(here[FURTHER], base[FURTHER]) <= SLOWER else 1


def _ratio(some: list[float], others: list[float]) -> float:
    return statistics.median(some) / statistics.median(others)


def _clicks(url: str, number: int, seconds: Seconds) -> None:
    """One click on a cold image, then more on the warm one."""
    name = f"cold-{number}"
    (left, top, width, height), *roofs = _roofs(CLICKS + 1)
    first = _ask(url, name, [_point(left + width / 2, top + height / 2)])
    # The first of all also prepares the labels' words.
    seconds.setdefault(COLD if number else FIRST, []).append(first)
    for i, (left, top, width, height) in enumerate(roofs):
        click = _point(left + width / 2, top + height / 2)
        region = click if i % 2 == 0 else _box(left, top, width, height)
        seconds.setdefault(FURTHER, []).append(_ask(url, name, [region]))


def _words(url: str, seconds: Seconds) -> None:
    """Text prompts on an image that was pre-labelled, the first of them apart."""
    start = time.perf_counter()
    _post(url, ["words"], None)
    seconds[OPENED] = [time.perf_counter() - start]
    first, *further = (_ask(url, "words", [_text(words)]) for words in WORDS)
    seconds[SENTENCE], seconds[SENTENCES] = [first], further


def _beside_a_batch(url: str, seconds: Seconds) -> None:
    """Clicks on a warm image while a worker has a batch in hand."""
    names = [f"batch-{i}" for i in range(BATCH)]
    batch = threading.Thread(target=_post, args=(url, names, None))
    batch.start()
    rng = np.random.default_rng(1)
    spent = []
    while batch.is_alive():
        spent.append(_ask(url, "cold-0", [_point(*rng.uniform(0.05, 0.85, 2))], found=False))
    batch.join()
    seconds[BESIDE] = spent


def _shown(seconds: list[float]) -> str:
    if len(seconds) == 1:
        return f"{seconds[0]:.2f} s"
    p95 = statistics.quantiles(seconds, n=20)[18]
    middle = statistics.median(seconds)
    return f"p50 {1000 * middle:.0f} ms, p95 {1000 * p95:.0f} ms of {len(seconds)}"


def _write_images(folder: Path) -> None:
    """Different cuts of the largest sample, that of the clicks with roofs painted in."""
    largest = max((Image.open(path) for path in sample_images()), key=lambda each: each.width)
    scene = largest.convert("RGB")
    cold = [f"cold-{i}" for i in range(IMAGES)]
    names = [*cold, "words", *[f"batch-{i}" for i in range(BATCH)]]
    side = min(scene.width, scene.height) - 8 * len(names)
    for i, name in enumerate(names):
        cut = scene.crop((8 * i, 8 * i, 8 * i + side, 8 * i + side)).resize((SIDE, SIDE))
        if name in cold:
            _paint(cut)
        cut.save(folder / f"{name}.png")


def _roofs(count: int) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of rectangles on a grid, in shares of the image."""
    rng = np.random.default_rng(0)
    along = math.ceil(math.sqrt(count))
    corners = [(x / along, y / along) for y in range(along) for x in range(along)][:count]
    return [
        (x + 0.2 / along, y + 0.2 / along, *(rng.uniform(0.3, 0.6, 2) / along)) for x, y in corners
    ]


def _paint(image: Image.Image) -> None:
    rng = np.random.default_rng(0)
    draw = ImageDraw.Draw(image)
    for left, top, width, height in _roofs(CLICKS + 1):
        colour = tuple(int(level) for level in rng.integers(150, 255, 3))
        shares = (left, top, left + width, top + height)
        draw.rectangle([round(SIDE * share) for share in shares], fill=colour)


def _ask(url: str, name: str, regions: list[dict[str, Any]], *, found: bool = True) -> float:
    """Seconds that one prompt takes.

    Raises:
        SystemExit: nothing is found, where something must be.
    """
    start = time.perf_counter()
    answer = _post(url, [name], {"result": regions})
    spent = time.perf_counter() - start
    results = answer["results"]
    if found and not (results and results[0] and results[0].get("result")):
        sys.exit(f"no region for {regions[0]['value']} on {name}: {answer}")
    return spent


def _post(url: str, names: list[str], context: dict[str, Any] | None) -> dict[str, Any]:
    return predict(url, LABEL_CONFIG, [f"{name}.png" for name in names], context)


def _region(kind: str, control: str, value: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {
        "id": "prompt",
        "type": kind,
        "value": value,
        "from_name": control,
        "to_name": "image",
        "origin": "manual",
        **further,
    }


def _point(x: float, y: float) -> dict[str, Any]:
    """A positive click, as Label Studio sends it; in shares of the image here, in percent there."""
    value = {"x": 100 * x, "y": 100 * y, "width": 0.3, "keypointlabels": ["building"]}
    return _region("keypointlabels", "point", value, is_positive=True, **_size())


def _box(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    sides = {"x": 100 * x, "y": 100 * y, "width": 100 * width, "height": 100 * height}
    value = {**sides, "rotation": 0, "rectanglelabels": ["building"]}
    return _region("rectanglelabels", "box", value, is_positive=True, **_size())


def _text(words: str) -> dict[str, Any]:
    return _region("textarea", "prompt", {"text": [words]})


def _size() -> dict[str, int]:
    return {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}


if __name__ == "__main__":
    sys.exit(main())
