"""Somebody clicks: a 1024² image through web server, queue and worker, with the starter weights.

`python -m benchmarks.clicks` starts `dgl-rsis up` on free ports and measures, at the backend,
the first click on an image that nobody has seen, then 50 clicks and boxes on it, text prompts on an
image that was pre-labelled, and clicks while a batch is being worked at. INTERACTIVE_WORKERS in the
environment is passed on: with 1, the last of these should be like the clicks before.
"""

import math
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks.backend_calls import backend, predict
from samples.studio import sample_images

SIDE = 1024  # pixels
CLICKS = 50
BATCH = 6  # images
LIMIT_SECONDS = 120.0  # of one request
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


def main() -> None:
    """Command line."""
    console = Console(highlight=False)
    reserved = os.environ.get("INTERACTIVE_WORKERS", "1")
    seconds = str(LIMIT_SECONDS)
    with backend(SINGLE_TASK_SECONDS=seconds, INTERACTIVE_WORKERS=reserved) as started:
        _write_images(started.images)
        console.print(f"1024², INTERACTIVE_WORKERS={reserved}")
        _clicks(started.url, console)
        _words(started.url, console)
        _beside_a_batch(started.url, console)


def _clicks(url: str, console: Console) -> None:
    """One click on a cold image, then many on the warm one."""
    (left, top, width, height), *roofs = _roofs(CLICKS + 1)
    cold, _ = _ask(url, "cold", [_point(left + width / 2, top + height / 2)])
    seconds, answered = [], 0
    for i, (left, top, width, height) in enumerate(roofs):
        click = _point(left + width / 2, top + height / 2)
        region = click if i % 2 == 0 else _box(left, top, width, height)
        spent, regions = _ask(url, "cold", [region])
        seconds.append(spent)
        answered += bool(regions)
    console.print(f"first click on a cold image: {cold:.2f} s")
    console.print(f"{answered} of {CLICKS} further clicks and boxes answered: {_shown(seconds)}")


def _words(url: str, console: Console) -> None:
    """Text prompts on an image that was pre-labelled, the first of them apart."""
    start = time.perf_counter()
    _post(url, ["words"], None)
    opened = time.perf_counter() - start
    seconds = [_ask(url, "words", [_text(words)])[0] for words in WORDS]
    console.print(f"pre-labelling a cold image: {opened:.2f} s")
    console.print(
        f"text prompts on it: first {seconds[0]:.2f} s, "
        f"then median {statistics.median(seconds[1:]):.2f} s"
    )


def _beside_a_batch(url: str, console: Console) -> None:
    """Clicks on a warm image while a worker has a batch in hand."""
    names = [f"batch-{i}" for i in range(BATCH)]
    batch = threading.Thread(target=_post, args=(url, names, None))
    batch.start()
    rng = np.random.default_rng(1)
    seconds = []
    while batch.is_alive():
        seconds.append(_ask(url, "cold", [_point(*rng.uniform(0.05, 0.85, 2))])[0])
    batch.join()
    console.print(f"{len(seconds)} clicks while {BATCH} images are worked at: {_shown(seconds)}")


def _shown(seconds: list[float]) -> str:
    p95 = statistics.quantiles(seconds, n=20)[18] if len(seconds) > 1 else seconds[0]
    return f"p50 {1000 * statistics.median(seconds):.0f} ms, p95 {1000 * p95:.0f} ms"


def _write_images(folder: Path) -> None:
    """Different cuts of the largest sample, that of the clicks with roofs painted in."""
    largest = max((Image.open(path) for path in sample_images()), key=lambda each: each.width)
    scene = largest.convert("RGB")
    names = ["cold", "words", *[f"batch-{i}" for i in range(BATCH)]]
    side = min(scene.width, scene.height) - 8 * len(names)
    for i, name in enumerate(names):
        cut = scene.crop((8 * i, 8 * i, 8 * i + side, 8 * i + side)).resize((SIDE, SIDE))
        if name == "cold":
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


def _ask(url: str, name: str, regions: list[dict[str, Any]]) -> tuple[float, list[Any]]:
    """Seconds that one prompt takes, and the regions it gets."""
    start = time.perf_counter()
    answer = _post(url, [name], {"result": regions})
    spent = time.perf_counter() - start
    results = answer["results"]
    return spent, results[0].get("result", []) if results and results[0] else []


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
    main()
