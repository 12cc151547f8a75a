"""`dgl-rsis segment` for scenes: rasters of any size in, rasters and polygons out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backend.commands.progress import scanning
from backend.commands.segment import images
from backend.commands.segment.image_work import LocalSegmenter
from backend.commands.segment.images import LocalError, LocalRun
from backend.commands.segment.inputs import Inputs, Work
from backend.commands.segment.queued import QueuedScene, SceneQueue
from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneJob, SceneOptions
from backend.project.label_config import LabelConfig
from dgl_rsis.scenes import footprints
from dgl_rsis.scenes.rasters import MOST_LABELS
from dgl_rsis.scenes.reading import is_placed
from dgl_rsis.types import InputError
from workers.engine.loading import load_model, load_segmenter
from workers.engine.model import Model
from workers.processes.memory import keep_freed_memory
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

PHOTO_SIDE = 1024  # pixels; a longer TIFF is no photo to be held whole


@dataclass(frozen=True)
class SceneRun:
    """What to segment.

    Attributes:
        scenes: raster files.
        config: the vocabulary.
        out: folder for the results.
        options: how scenes are read, and what is written.
        stems: what the results of a file are called; its own stem where nothing is said.
        done: is told each file whose results are there.
        queue: whose workers judge the windows; None for this process.
    """

    scenes: Sequence[Path]
    config: LabelConfig
    out: Path
    options: SceneOptions
    stems: Mapping[Path, str] = field(default_factory=dict)
    done: Callable[[Path], None] = images.untold
    queue: SceneQueue | None = None


def segment_classes(
    inputs: Inputs,
    config: LabelConfig,
    out: Path,
    options: SceneOptions,
    settings: WorkerSettings,
    queue: SceneQueue | None = None,
) -> int:
    """Segment files into classes, all by one loaded model: photos are held whole, scenes are not.

    With a queue its workers judge the windows of scenes, and this process blends them.

    Returns:
        The worse exit status of the two kinds; no file is no work.

    Raises:
        LocalError: see `images.check` and `check`.
        ModelError: there is no such model.
        JournalError: the folder holds the results of another run.
    """
    if not inputs.files:
        return 0
    asked = options != SceneOptions()
    scenes = {path for path in inputs.files if is_scene(path, asked=asked)}
    photos = [path for path in inputs.files if path not in scenes]
    if photos and queue is not None:
        raise LocalError(
            f"{photos[0]} is no scene, and --queue is for scenes: take `dgl-rsis prelabel`, or "
            "leave --queue out"
        )
    if photos:
        images.check(LocalRun(photos, config, out))
    if scenes:
        check(SceneRun(list(scenes), config, out, options))
    clip = load_segmenter(settings) if scenes else None
    segmenter: Model = clip or load_model(settings)
    controls = [{**asdict(each), "labels": sorted(each.labels)} for each in config.controls]
    labels = [config.labels, controls, sorted(config.colours.items())]
    about = {"model": segmenter.model_version, "labels": labels, "options": options}
    status = 0
    with Work(inputs, out, about) as work:
        left = work.left()
        if photos := [path for path in left if path not in scenes]:
            of_photos = LocalRun(photos, config, out, work.stems, work.done)
            status = images.run(of_photos, LocalSegmenter(segmenter, settings.max_image_pixels))
        rasters = [path for path in left if path in scenes]
        if rasters and clip is not None:
            of_scenes = SceneRun(rasters, config, out, options, work.stems, work.done, queue)
            status = max(status, run(of_scenes, LocalSceneSegmenter(clip)))
    return status


def is_scene(path: Path, *, asked: bool = False) -> bool:
    """Whether a file is segmented as a scene: see `reading.is_placed`.

    Args:
        path: of a file; one that cannot be read is left to whoever reads it.
        asked: an option for scenes was given, so that every raster is one.
    """
    return asked or is_placed(path, PHOTO_SIDE)


def run(task: SceneRun, segmenter: LocalSceneSegmenter) -> int:
    """Segment all scenes; one that cannot be segmented is reported, and the others go on.

    Returns:
        Exit status: 0, or 1 when a scene could not be segmented.
    """
    task.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    job = SceneJob(task.config.labels, task.config.colours, task.options)
    failed = 0
    for number, path in enumerate(task.scenes, start=1):
        title = f"{path.name}, {number} of {len(task.scenes)}"
        with scanning(title) as progress:
            well = _segment(segmenter, path, task, job, progress)
        if well:
            task.done(path)
        failed += not well
    return 1 if failed else 0


def _segment(
    segmenter: LocalSceneSegmenter,
    path: Path,
    task: SceneRun,
    job: SceneJob,
    progress: Callable[[int, int], None],
) -> bool:
    """Whether it went well."""
    name, judge = task.stems.get(path, path.stem), None
    if task.queue is not None:
        spool = task.out / f"{name}.windows"
        judge = task.queue.scene(task.options, spool, segmenter.model_version)
    try:
        report = segmenter.segment(path, task.out, job, progress, name, judge)
    except OSError as error:
        LOG.error("%s: cannot be read or written: %s", path, error.strerror or error)
        return False
    except ValueError as error:  # of the raster and the algorithm: fit for users
        LOG.error("%s", error if path.name in str(error) else f"{path}: {error}")
        return False
    except Exception:
        LOG.exception("%s: an internal error", path)
        return False
    if report.problem:
        LOG.error("%s: no polygons: %s; the rasters are whole", path, report.problem)
    spent = sum(report.seconds.values())
    LOG.info(
        "%s: %s%s (%s, %.1f Mpx, %.2f s/Mpx; s: %s)",
        path,
        ", ".join(file.name for file in report.files),
        "" if report.polygons is None else f" with {report.polygons} polygons",
        report.resolution or "m/px unknown",
        report.megapixels,
        spent / report.megapixels,
        ", ".join(f"{stage} {value:.1f}" for stage, value in report.seconds.items()),
    )
    return not report.problem and (judge is None or _is_whole(judge, path))


def _is_whole(judge: QueuedScene, path: Path) -> bool:
    """Whether all windows were judged; then what they said is not needed any more."""
    if not judge.missing:
        judge.spool.unlink(missing_ok=True)
        return True
    for each in judge.missing:
        LOG.error("%s: nothing is known of %s", path, each)
    LOG.error(
        "%s: %d windows are missing in its results; the others are kept in %s, and the same "
        "command tries the missing ones again", path, len(judge.missing), judge.spool,
    )  # fmt: skip
    return False


def check(task: SceneRun) -> None:
    """See that the task can be done, before a model is loaded for it.

    Raises:
        LocalError: the labels do not fit a raster, or none is of buildings, which are to get right
            angles.
    """
    if not task.config.labels:
        raise LocalError("; ".join(task.config.problems) or "no labels: give some")
    if len(task.config.labels) > MOST_LABELS:
        raise LocalError(f"{len(task.config.labels)} labels: at most {MOST_LABELS} fit a raster")
    if task.options.regularize:
        try:
            footprints.buildings(label.name for label in task.config.labels)
        except InputError as error:
            raise LocalError(str(error)) from None
