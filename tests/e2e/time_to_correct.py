"""How long a person needs with pre-labels and clicks, and how long by drawing.

`python -m tests.e2e.time_to_correct --dubai FOLDER` runs a scripted annotator (`correcting/`)
through Dubai tiles, in a real Label Studio in a real Chromium. It knows the true map and makes no
mistakes. How long a person takes for what it does with mouse and keyboard is counted by `Pace`; how
long the machine takes is measured: until a task is open from a click in the list, with masks or
without, and until a click is answered and its masks are drawn. Drawing is only counted, since it
asks nothing of the machine.

Of each tile it makes the class map twice, with the same tools and the same cleverness:

- *drawn*: from nothing;
- *corrected*: from the pre-labels.

Both go on until nothing is worth doing, and what is told is when each was how accurate: at fixed
accuracies, and at the best one that both reach. The file has a line a tile with all moments; tiles
that are in it are not made again.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext
from rich.console import Console

from backend.commands.demo.processes import free_port
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES, Sample, dubai
from dgl_rsis.evaluation.scores import IGNORE
from samples.servers import Studio, dgl_rsis, label_studio
from samples.studio import connect_backend, create_project, import_images
from tests.e2e.browser import logged_in
from tests.e2e.correcting.annotator import Clicks, Course, Moment, annotate, reached
from tests.e2e.correcting.browser_editor import BrowserEditor, open_from_list
from tests.e2e.correcting.canvas import NOTHING, Canvas
from tests.e2e.correcting.drawing import Drawings
from tests.e2e.correcting.pace import Pace
from tests.e2e.projects import connection_of

NAMES = [name.lower() for name in DUBAI_CLASSES]
TILES = (6, 5)
LEVELS = (0.85, 0.9, 0.95)  # accuracies
PACES = (0.7, 1.0, 1.5)  # times as many seconds as `Pace` says
LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES)
CONFIG = f"""<View>
  <BrushLabels name="mask" toName="image">{LABELS}</BrushLabels>
  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">
    {LABELS}
  </KeyPointLabels>
  <Image name="image" value="$image"/>
</View>"""

Pair = tuple[Course, Course]  # drawn, corrected


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder of the Dubai tiles")
    parser.add_argument("--tiles", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("demo/time-to-correct.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, width=120)
    samples = list(islice(dubai(options.dubai, TILES), options.tiles))
    made = _made(options.out)
    left = [sample for sample in samples if sample.name not in made]
    if left:
        for name, pair in _measured(left):
            made[name] = pair
            _say(name, pair, console)
            with options.out.open("a") as file:
                drawn, corrected = (asdict(course) for course in pair)
                line = {"tile": name, "drawn": drawn, "corrected": corrected}
                file.write(json.dumps(line) + "\n")
    _sum_up({sample.name: made[sample.name] for sample in samples}, console)


def _made(path: Path) -> dict[str, Pair]:
    """What an earlier run has measured."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["tile"]: (_course(row["drawn"]), _course(row["corrected"])) for row in rows}


def _course(row: Mapping[str, Any]) -> Course:
    moments = [Moment(**each) for each in row["moments"]]
    return Course(moments, row["actions"], row["unprepared"])


def _measured(samples: Sequence[Sample]) -> Iterator[tuple[str, Pair]]:
    """Name and courses of each tile."""
    clicks = Clicks()
    with (
        tempfile.TemporaryDirectory() as name,
        label_studio(Path(name) / "studio", free_port(0)) as studio,
        dgl_rsis(
            Path(name) / "backend",
            free_port(0),
            connection_of(studio, studio.account.personal_token),
        ) as backend,
        logged_in(studio, Path(name) / "chromium") as browser,
    ):
        for sample in samples:
            yield sample.name, _both(sample, studio, backend.base_url, browser, clicks)


def _both(
    sample: Sample, studio: Studio, backend: str, browser: BrowserContext, clicks: Clicks
) -> Pair:
    """The same tile drawn from nothing and corrected from its pre-labels."""
    truth = np.where(sample.truth == IGNORE, NOTHING, sample.truth).astype(np.int16)
    pace = Pace()
    drawings = Drawings(truth, pace)
    page = browser.new_page()
    empty, masked = (_project(sample, studio, url) for url in ("", backend))
    waited = open_from_list(page, studio, empty, masks=False)
    drawn = annotate(Canvas(truth), drawings, pace, waited=waited)
    # The first time it is opened its masks are made, which bulk runs do before anyone comes.
    unprepared = open_from_list(page, studio, masked)
    editor = BrowserEditor(page, studio, masked, NAMES, sample.truth.shape)
    canvas = Canvas(truth)
    canvas.put(editor.regions.items())
    corrected = annotate(canvas, drawings, pace, editor=editor, clicks=clicks, waited=editor.waited)
    corrected.unprepared = unprepared
    page.close()
    return drawn, corrected


def _project(sample: Sample, studio: Studio, backend: str) -> int:
    """A project with one tile, and with the backend unless its address is empty."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / f"{sample.name}.png"
        Image.fromarray(sample.image).save(image)
        project = create_project(studio, f"{sample.name} {'masks' if backend else 'empty'}", CONFIG)
        import_images(studio, project, [image])
    if backend:
        connect_backend(studio, project, backend)
    return project


def _levels(pair: Pair) -> list[tuple[str, float]]:
    both = min(max(moment.accuracy for moment in course.moments) for course in pair)
    return [*((f"{level:.2f}", level) for level in LEVELS), ("end", both)]


def _say(name: str, pair: Pair, console: Console) -> None:
    drawn, corrected = pair
    told = []
    for title, level in _levels(pair):
        moments = reached(drawn, level), reached(corrected, level)
        seconds = ["never" if each is None else f"{each.seconds:.0f}" for each in moments]
        told.append(f"{title} {' / '.join(seconds)} s")
    console.print(
        f"{name}: pre-labels {corrected.moments[0].accuracy:.3f}, end {_levels(pair)[-1][1]:.3f}; "
        f"drawn / corrected: {', '.join(told)}; {drawn.actions}, {corrected.actions}; "
        f"opened unprepared in {corrected.unprepared:.0f} s"
    )


def _sum_up(made: Mapping[str, Pair], console: Console) -> None:
    """Seconds of all tiles at each accuracy, and how many times as fast."""
    for name, pair in made.items():
        _say(name, pair, console)
    for number, (title, _) in enumerate(_levels(next(iter(made.values())))):
        pairs = [_at(pair, _levels(pair)[number][1]) for pair in made.values()]
        both = [(one, other) for one, other in pairs if one is not None and other is not None]
        drawn, corrected = ([pair[side] for pair in both] for side in (0, 1))
        ratios = [f"{_ratio(drawn, corrected, pace):.2f}" for pace in PACES]
        waiting = sum(each.machine for each in corrected)
        console.print(
            f"accuracy {title}, {len(both)} of {len(made)} tiles: drawn {_sum(drawn):.0f} s, "
            f"corrected {_sum(corrected):.0f} s ({waiting:.0f} s of it waiting); times as fast "
            f"with {', '.join(map(str, PACES))} of a person's seconds: {', '.join(ratios)}"
        )


def _at(pair: Pair, level: float) -> tuple[Moment | None, Moment | None]:
    return reached(pair[0], level), reached(pair[1], level)


def _sum(moments: Sequence[Moment], pace: float = 1.0) -> float:
    return sum(pace * each.human + each.machine for each in moments)


def _ratio(drawn: Sequence[Moment], corrected: Sequence[Moment], pace: float) -> float:
    return _sum(drawn, pace) / max(1e-9, _sum(corrected, pace))


if __name__ == "__main__":
    main()
