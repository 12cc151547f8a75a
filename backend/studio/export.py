"""Label Studio's JSON export → items, one by one.

Whatever cannot be used is a message in `Findings` that names the task and the region; the rest goes
on. Only a file that is no such export at all is an error.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.project import tasks
from backend.project.label_config import EXPRESSION
from backend.regions.findings import ExportError, Findings
from backend.regions.reading import Wanted, image_size, read_regions, readable, score_of
from backend.regions.records import Annotation, Item, Place, Prediction, Region
from backend.regions.shapes import Size
from backend.studio import json_stream
from dgl_rsis.formats import PIXEL_BUDGET
from dgl_rsis.types import Json

IMAGE = "image"

MeasureImage = Callable[[str], Size | None]
# Label Studio's own JSON export holds no masks of predictions; its API does.
NUMBER_ONLY = "pre-labels of which only the number is known"


@dataclass
class Reading:
    """How to read, and what came up.

    Attributes:
        findings: filled while reading.
        labels: those that are known; empty for all.
        ignored: labels whose regions are passed over, such as that of the background.
        predicted_masks: read the masks of predictions, too; else they have none.
        image_key: of the image in a task's data.
        expression_key: of a referring expression in a task's data.
        measure: height and width of an image by its reference, for tasks whose annotations say
            that there is nothing; None when it cannot be had.
        max_pixels: height · width of the largest image that is taken, as by the workers: what a
            task says of its size becomes arrays.
    """

    findings: Findings = field(default_factory=Findings)
    labels: Collection[str] = ()
    ignored: Collection[str] = ()
    predicted_masks: bool = True
    image_key: str = IMAGE
    expression_key: str = EXPRESSION
    measure: MeasureImage = lambda reference: None
    max_pixels: int = PIXEL_BUDGET


def read(path: Path, reading: Reading | None = None) -> Iterator[Item]:
    """The items of an export file; the file is never held as a whole.

    Args:
        path: a JSON export (not JSON_MIN).
        reading: how to read; its findings are filled on the way.

    Raises:
        ExportError: no such file, or not such an export.
    """
    yield from read_tasks(tasks_of(path), reading)


def read_tasks(every: Iterable[Json], reading: Reading | None = None) -> Iterator[Item]:
    """The items of tasks as Label Studio has them, in their order."""
    how = reading or Reading()
    for task in every:
        item = _item(task, how)
        if item is not None:
            yield item


def tasks_of(path: Path) -> Iterator[Json]:
    """The tasks of an export file, as they are.

    Raises:
        ExportError: no such file, or not such an export.
    """
    for number, task in enumerate(json_stream.elements(path)):
        is_task = isinstance(task, dict) and "data" in task
        if not is_task and number == 0:
            minimal = isinstance(task, dict) and "annotation_id" in task
            raise ExportError(
                f"{path} begins with what is no task with data and annotations"
                + (" (it looks like JSON_MIN)" if minimal else "")
                + ": in Label Studio, export the project as JSON"
            )
        yield task if isinstance(task, dict) else {}


def _item(task: Json, how: Reading) -> Item | None:
    """One task; None, with a message, when it has no image or no size."""
    where = f"task {tasks.task_id_of(task)}"
    try:
        image = readable(tasks.image_of(task, how.image_key))
        expression = readable(tasks.expression_of(task, how.expression_key))
    except tasks.TaskError as error:
        how.findings.problem(where, str(error))
        return None
    place = _place(task["data"], where, how.findings)
    marked, predicted = _list(task.get("annotations")), _list(task.get("predictions"))
    size = _size(marked + predicted, place)
    if size is None and all(one.get("was_cancelled") for one in marked):
        how.findings.skip("tasks without any mark")
        return None
    size = size or how.measure(image)
    if (reason := _no_size(size, how.max_pixels)) or size is None:
        how.findings.problem(where, reason)
        return None
    if place is not None and (place.window[3], place.window[2]) != size:
        how.findings.problem(
            where, f"its window is not {size[1]} × {size[0]} pixels as its image: place ignored"
        )
        place = None
    reader = _TaskReader(where, size, how)
    predictions = reader.predictions(predicted)
    return Item(
        task_id=_number(task.get("id")) or 0,
        image=image,
        height=size[0],
        width=size[1],
        annotations=reader.annotations(marked, predictions),
        predictions=predictions,
        expression=expression,
        place=place,
    )


def _list(value: Any) -> list[Json]:
    """Its objects; what is only an id is left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _size(results: Iterable[Json], place: Place | None) -> Size | None:
    sizes = (image_size(one.get("result")) for one in results)
    size = next((each for each in sizes if each is not None), None)
    if size is None and place is not None:
        return place.window[3], place.window[2]
    return size


def _no_size(size: Size | None, max_pixels: int) -> str:
    """Why a task cannot be used because of its size; empty when it can."""
    if size is None:
        return (
            "it is left out: nothing is marked on it, which would tell the size of its image, and "
            "the image cannot be had"
        )
    if size[0] * size[1] > max_pixels:
        return (
            f"it is left out: {size[1]} × {size[0]} pixels are more than {max_pixels:,}; cut "
            "such images with `dgl-rsis tile`, or raise MAX_IMAGE_PIXELS"
        )
    return ""


@dataclass(frozen=True)
class _TaskReader:
    """What is the same for all annotations and predictions of a task."""

    where: str
    size: Size
    how: Reading

    def predictions(self, stored: Iterable[Json]) -> tuple[Prediction, ...]:
        ordered = sorted(stored, key=lambda one: _number(one.get("id")) or 0)
        return tuple(self._prediction(one) for one in ordered)

    def annotations(
        self, stored: Iterable[Json], predictions: tuple[Prediction, ...]
    ) -> tuple[Annotation, ...]:
        kept = []
        for one in stored:
            if one.get("was_cancelled"):
                self.how.findings.skip("cancelled annotations")
            else:
                kept.append(self._annotation(one, predictions))
        return tuple(sorted(kept, key=lambda one: (one.updated, one.id or 0)))

    def _annotation(self, one: Json, predictions: tuple[Prediction, ...]) -> Annotation:
        identity = _number(one.get("id"))
        return Annotation(
            id=identity,
            annotator=_person(one.get("completed_by")),
            updated=_text(one.get("updated_at") or one.get("created_at")),
            regions=self._regions(one, f"annotation {identity or '?'}"),
            predicted=self._start(one, predictions),
        )

    def _start(self, one: Json, predictions: tuple[Prediction, ...]) -> Prediction | None:
        """The prediction that an annotation started from: it holds it, or names its id."""
        parent = _number(one.get("parent_prediction"))
        held = one.get("prediction")
        identity = _number(held.get("id")) if isinstance(held, dict) else None
        wanted = parent if parent is not None else identity
        for prediction in predictions:
            if wanted is not None and prediction.id == wanted:
                return prediction
        if isinstance(held, dict) and held.get("result"):
            return self._prediction(held)
        if wanted is not None:
            self.how.findings.skip(NUMBER_ONLY)
        return None

    def _prediction(self, one: Json) -> Prediction:
        identity = _number(one.get("id"))
        whose = f"prediction {identity or '?'}"
        regions = self._regions(one, whose) if self.how.predicted_masks else ()
        return Prediction(
            id=identity,
            model_version=_text(one.get("model_version")),
            score=score_of(one),
            regions=regions,
        )

    def _regions(self, one: Json, whose: str) -> tuple[Region, ...]:
        where, how = f"{self.where}, {whose}", self.how
        wanted = Wanted(how.labels, how.ignored)
        return tuple(read_regions(one.get("result"), self.size, where, how.findings, wanted))


def _place(data: Json, where: str, findings: Findings) -> Place | None:
    """Where a tile lies; None, with a message if it says something else than where."""
    if "window" not in data:
        return None
    try:
        transform = data.get("transform")
        return Place(
            scene=_text(data.get("scene")),
            crs=_text(data.get("crs")),
            transform=None if transform is None else _affine(transform),
            window=_whole(data["window"], 4),  # type: ignore[arg-type]
            scene_size=_whole(data["scene_size"], 2),  # type: ignore[arg-type]
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        findings.problem(where, f"its data does not say where the tile lies ({error})")
        return None


def _affine(numbers: Any) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = (float(number) for number in numbers)
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise ValueError("transform")
    return a, b, c, d, e, f


def _whole(numbers: Any, count: int) -> tuple[int, ...]:
    pixels = tuple(int(number) for number in numbers)
    if len(pixels) != count or min(pixels) < 0 or min(pixels[-2:]) < 1:
        raise ValueError(f"{count} numbers of pixels expected")
    return pixels


def _person(value: Any) -> str:
    """Who did it: e-mail address, else id."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return _text(value)


def _text(value: Any) -> str:
    return readable(str(value)) if isinstance(value, str | int) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
