"""`dgl-rsis segment` for scenes: rasters of any size in, rasters and polygons out."""

import importlib
import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from backend.label_config import LabelConfig
from backend.local import LocalError

LOG = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff")
FORMATS = ("gpkg", "geojson")
MOST_LABELS = 65_535  # of a uint16 class raster
USUAL_WINDOW = 1024  # pixels; a raster of more than this, squared, is no photo to be held whole


@dataclass(frozen=True)
class SceneOptions:
    """What photos do not have.

    Attributes:
        bands: as in "4,3,2"; empty leaves the choice to each file.
        polygons: "gpkg", "geojson", or empty for none.
        min_area: of polygons, m²; pixels for a scene without a CRS.
        probability: write the probability of each pixel's class, too.
        window, overlap: of the windows, pixels; None for the usual ones.
    """

    bands: str = ""
    polygons: str = ""
    min_area: float = 0.0
    probability: bool = False
    window: int | None = None
    overlap: int | None = None


@dataclass(frozen=True)
class SceneRun:
    """What to segment.

    Attributes:
        scenes: raster files; their stems name the results.
        config: the vocabulary.
        out: folder for the results.
        model, device, proposals: as the settings MODEL, DEVICE and PROPOSALS.
        options: how scenes are read, and what is written.
    """

    scenes: Sequence[Path]
    config: LabelConfig
    out: Path
    model: str
    device: str
    proposals: str = "regions"
    options: SceneOptions = SceneOptions()


def is_scene(path: Path, *, asked: bool = False) -> bool:
    """Whether a file is segmented as a scene: a TIFF that is georeferenced, or a large one.

    Args:
        path: of a file; one that cannot be read is left to whoever reads it.
        asked: an option for scenes was given, so that every TIFF is one.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    if asked:
        return True
    import rasterio  # only for TIFFs: photos do without it
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as dataset:
                placed = dataset.crs is not None or not dataset.transform.is_identity
                placed = placed or bool(dataset.gcps[0])
                return placed or max(dataset.width, dataset.height) > USUAL_WINDOW
    except RasterioError:
        return False


def run(task: SceneRun) -> int:
    """Segment all scenes; one that cannot be segmented is reported, and the others go on.

    Returns:
        Exit status: 0, or 1 when a scene could not be segmented.

    Raises:
        LocalError: two scenes share a stem, or an option is wrong.
    """
    bands = _check(task)
    task.out.mkdir(parents=True, exist_ok=True)
    # By name: this package never imports the algorithm's, so that the web server stays small.
    scenes = importlib.import_module("workers.local_scenes")
    segmenter = scenes.LocalSceneSegmenter(task.model, task.device, task.proposals)
    options = task.options
    job = scenes.SceneJob(
        task.config.prompts,
        {label.name: label.colour for label in task.config.labels if label.colour},
        bands,
        options.polygons or None,
        options.min_area,
        options.probability,
        options.window,
        options.overlap,
    )
    failed = 0
    with _progress() as bars:
        for path in task.scenes:
            failed += not _segment(segmenter, path, task.out, job, bars)
    return 1 if failed else 0


def _segment(segmenter: Any, path: Path, out: Path, job: Any, bars: Progress) -> bool:
    """Whether it went well."""
    bar = bars.add_task(path.name, total=None)

    def progress(done: int, total: int) -> None:
        bars.update(bar, completed=done, total=total)

    try:
        report = segmenter.segment(path, out, job, progress)
    except OSError as error:
        LOG.error("%s: cannot be read or written: %s", path, error.strerror or error)
        return False
    except ValueError as error:  # of the raster and the algorithm: fit for users
        LOG.error("%s: %s", path, error)
        return False
    except Exception:
        LOG.exception("%s: an internal error", path)
        return False
    finally:
        bars.remove_task(bar)
    spent = sum(report.seconds.values())
    LOG.info(
        "%s: %s%s (%.1f Mpx, %.2f s/Mpx; s: %s)",
        path,
        ", ".join(file.name for file in report.files),
        "" if report.polygons is None else f" with {report.polygons} polygons",
        report.megapixels,
        spent / report.megapixels,
        ", ".join(f"{stage} {value:.1f}" for stage, value in report.seconds.items()),
    )
    return True


def _check(task: SceneRun) -> tuple[int, ...] | None:
    """The bands, once nothing is wrong with the rest."""
    stems = Counter(path.stem for path in task.scenes)
    twice = sorted(stem for stem, count in stems.items() if count > 1)
    if twice:
        raise LocalError(f"several scenes are called {', '.join(twice)}: run them one by one")
    if not task.config.labels:
        raise LocalError("; ".join(task.config.problems) or "no labels: give some")
    if len(task.config.labels) > MOST_LABELS:
        raise LocalError(f"{len(task.config.labels)} labels: at most {MOST_LABELS} fit a raster")
    if task.options.polygons not in ("", *FORMATS):
        formats = ", ".join(FORMATS)
        raise LocalError(f"polygons as {task.options.polygons!r}: choose one of {formats}")
    if task.options.min_area < 0:
        raise LocalError(f"the smallest area is {task.options.min_area}: give 0 or more")
    return parse_bands(task.options.bands)


def parse_bands(text: str) -> tuple[int, ...] | None:
    """Numbers of "4,3,2"; None for nothing.

    Raises:
        LocalError: no numbers.
    """
    if not text.strip():
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise LocalError(f"bands {text!r}: give three numbers, as in 4,3,2") from None


class _Rate(ProgressColumn):
    """Megapixels a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed / 1e6:.2f} Mpx/s" if speed else "")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
        speed_estimate_period=600,  # a window takes seconds
    )
