"""Label Studio's tasks with what was marked on them → items, one by one.

Whatever cannot be used is a message in `Findings` that names the task and the region; the rest goes
on. Only a file that is no such export at all is an error.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.project import tasks
from backend.project.label_config import EXPRESSION
from backend.project.pictures import Pictures
from backend.regions import sizes
from backend.regions.findings import Findings
from backend.regions.reading import Wanted, image_size, is_mask, read_regions, score_of
from backend.regions.records import Annotation, Item, Place, Prediction, Region
from backend.regions.results import readable
from backend.regions.shapes import Size
from backend.studio.export_files import tasks_in
from dgl_rsis.formats import PIXEL_BUDGET
from dgl_rsis.types import Json

PLAIN = Pictures("image")  # where tasks hold their image as long as no label config says it
CONFIG = "if the label config shows another key, or several images, give it by --config"

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
        names: what is stored for a label → what it is called here, where that differs.
        chosen: the labels were chosen out of perhaps more: a region of another one was read, and is
            no reason to doubt that its image is as it is said to be.
        pictures: where a task's data holds its image, or several.
        beside: the same of further images of the label config: those that are marked are read.
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
    names: Mapping[str, str] = field(default_factory=dict)
    chosen: bool = False
    pictures: Pictures = PLAIN
    beside: tuple[Pictures, ...] = ()
    expression_key: str = EXPRESSION
    measure: MeasureImage = lambda reference: None
    max_pixels: int = PIXEL_BUDGET


def read(path: Path, reading: Reading | None = None) -> Iterator[Item]:
    """The items of an export file; the file is never held as a whole.

    Args:
        path: an export, see `export_files`.
        reading: how to read; its findings are filled on the way.

    Raises:
        ExportError: no such file, or not such an export.
    """
    yield from read_tasks(tasks_in(path), reading)


def read_tasks(every: Iterable[Json], reading: Reading | None = None) -> Iterator[Item]:
    """The items of tasks as Label Studio has them, in their order: one for each image of a task."""
    how = reading or Reading()
    for task in every:
        yield from _items(task, how)


def _items(task: Json, how: Reading) -> Iterator[Item]:
    """The images of one task; those without an image or a size are messages."""
    where = f"task {tasks.task_id_of(task)}"
    # Before 1.0, annotations were called completions.
    marked = _list(task.get("annotations", task.get("completions")))
    predicted = _list(task.get("predictions"))
    if not how.pictures.image and len(on := _images_of(marked + predicted)) > 1:
        which = ", ".join(map(repr, on))
        how.findings.problem(
            where, f"it is left out: it is marked on several images ({which}), and only the label "
            "config says where its data holds them: give it by --config"
        )  # fmt: skip
        return
    shown = [how.pictures, *(p for p in how.beside if p.image in _images_of(marked))]
    for pictures in shown:
        try:
            images = [readable(image) for image in pictures.of(task)]
            expression = readable(tasks.expression_of(task, how.expression_key))
        except tasks.TaskError as error:
            way_out = f" ({CONFIG})" if pictures is PLAIN else ""
            how.findings.problem(where, f"{error}{way_out}")
            continue
        place = _place(task["data"], where, how.findings) if len(images) == 1 else None
        for number, image in enumerate(images):
            named = where if len(images) == 1 else f"{where}, image {number}"
            on_it = _OnImage(named, how, pictures, number, len(images))
            item = _item(on_it, image, place, on_it.all_of(marked), on_it.all_of(predicted))
            if item is not None:
                identity = _number(task.get("id")) or 0
                yield replace(item, task_id=identity, expression=expression)


@dataclass(frozen=True)
class _OnImage:
    """Takes what lies on one of a task's images.

    Attributes:
        where: names it in messages.
        how: to read.
        pictures: that it is one of.
        number: of the image, from 0.
        count: of all images of the task.
    """

    where: str
    how: Reading
    pictures: Pictures
    number: int
    count: int

    def all_of(self, every: Sequence[Json]) -> list[Json]:
        """Annotations or predictions with the regions that lie on the image."""
        return [{**one, "result": self._of(one.get("result"))} for one in every]

    def _of(self, result: Any) -> list[Json]:
        every = result if isinstance(result, list) else []
        return [each for each in every if not isinstance(each, dict) or self._is_mine(each)]

    def _is_mine(self, region: Json) -> bool:
        number = self.pictures.number_of(region, self.count)
        if number is None and is_mask(region) and self._is_nowhere(region):
            which = region.get("to_name"), region.get("item_index")
            self.how.findings.problem(
                readable(f"{self.where}, region {region.get('id', '?')}"),
                f"it is on the image {which[0]!r}, number {which[1]}, which is none of the "
                f"{self.count} that are read of this task",
            )
        return number == self.number

    def _is_nowhere(self, region: Json) -> bool:
        """Whether a region that is not here is on no image at all; said once, with the first."""
        first = self.number == 0 and self.pictures is self.how.pictures
        return first and str(region.get("to_name")) not in {each.image for each in self.how.beside}


def _item(
    on_it: _OnImage, image: str, place: Place | None, marked: list[Json], predicted: list[Json]
) -> Item | None:
    """One image of a task; None, with a message, when it has no size."""
    where, how = on_it.where, on_it.how
    size = _size(marked + predicted, place)
    if size is None and all(one.get("was_cancelled") for one in marked):
        how.findings.skip("tasks without any mark")
        return None
    size = size or how.measure(image)
    if (reason := _no_size(size, how.max_pixels)) or size is None:
        how.findings.problem(where, reason)
        return None
    if place is not None and sizes.is_scaled(size, (place.window[3], place.window[2])):
        size = place.window[3], place.window[2]
    elif place is not None:
        how.findings.problem(
            where, f"its window is not {size[1]} × {size[0]} pixels as its image: place ignored"
        )
        place = None
    reader = _TaskReader(where, size, how)
    predictions = reader.predictions(predicted)
    return Item(
        task_id=0,
        image=image,
        height=size[0],
        width=size[1],
        annotations=reader.annotations(marked, predictions),
        predictions=predictions,
        place=place,
    )


def _images_of(every: Iterable[Json]) -> list[str]:
    """Names of the images that masks lie on, in the label config."""
    results = (one.get("result") for one in every)
    regions = (each for held in results if isinstance(held, list) for each in held)
    names = (each.get("to_name") for each in regions if isinstance(each, dict) and is_mask(each))
    return sorted({readable(name) for name in names if isinstance(name, str)})


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
        regions, unread = self._regions(one, f"annotation {identity or '?'}")
        start = self._start(one, predictions)
        return Annotation(
            id=identity,
            annotator=_person(one.get("completed_by")),
            updated=_text(one.get("updated_at") or one.get("created_at")),
            regions=regions,
            predicted=start,
            unread=unread,
            start_known=start is not None or not _may_have_begun(one, predictions),
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
        regions, unread = self._regions(one, whose) if self.how.predicted_masks else ((), 0)
        return Prediction(
            id=identity,
            model_version=_text(one.get("model_version")),
            score=score_of(one),
            regions=regions,
            unread=unread,
        )

    def _regions(self, one: Json, whose: str) -> tuple[tuple[Region, ...], int]:
        """The masks, and how many could not be read."""
        where, how = f"{self.where}, {whose}", self.how
        wanted = Wanted(how.labels, how.ignored, how.names, how.chosen)
        before = how.findings.unread
        regions = tuple(read_regions(one.get("result"), self.size, where, how.findings, wanted))
        return regions, how.findings.unread - before


def _may_have_begun(one: Json, predictions: Sequence[Prediction]) -> bool:
    """Whether an annotation may have begun with a pre-label that is not there to look at."""
    held = one.get("prediction")
    if _number(one.get("parent_prediction")) is not None or (held and isinstance(held, dict)):
        return True
    if predictions:
        return False
    told = "prediction" in one or "parent_prediction" in one
    origins = (str(each.get("origin", "")) for each in _list(one.get("result")))
    return not told or any(origin.startswith("prediction") for origin in origins)


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
