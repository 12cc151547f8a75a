"""Items → examples: what counts of each, where its image is, and which split it belongs to.

The split of an example is known only when all scenes are, so what was chosen waits in a file
between the two passes: nothing but counts is held in memory.
"""

import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Self

from backend.commands.export import selection, split
from backend.commands.export.dataset import Example, Split
from backend.commands.export.images import ImageMissing, Images, measured
from backend.commands.export.selection import Choice, LeftOut, Truth
from backend.commands.file_names import FileNames
from backend.regions import sizes
from backend.regions.findings import Findings
from backend.regions.records import Item
from backend.regions.shapes import Size
from backend.studio.references import path_of


class Unread(Exception):
    """What was marked on an image could not be read; the message says what follows."""


@dataclass(frozen=True)
class Source:
    """What examples are made by.

    Attributes:
        choice: which annotation counts.
        images: finds the images.
        scene_pattern: finds the scene in the path of an image; None for none.
    """

    choice: Choice
    images: Images
    scene_pattern: re.Pattern[str] | None = None


@dataclass
class Assembly:
    """What was chosen so far, and what is counted for the split, the labels and the card.

    Attributes:
        source: what examples are made by.
        findings: what could not be used.
        folder: for the file, which is as large as all masks together.
        scenes: how many images each has.
        labels: how many regions each has.
        agreements: between people, of the items that several marked.
        versions: of the models whose pre-labels the annotations started from, or that were taken.
        annotators: how many examples each made; several for a consensus.
    """

    source: Source
    findings: Findings
    folder: Path
    scenes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    agreements: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._names = FileNames()
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add_all(self, items: Iterable[Item]) -> None:
        """Choose; what cannot be used goes to the findings, and the rest goes on."""
        for item in items:
            where = f"task {item.task_id}"
            try:
                truth = selection.choose(item, self.source.choice)
                _check_read(truth)
                file, suffix, size = self._image(item)
                self._keep(*_fitted(item, truth, size), file, suffix)
            except LeftOut as reason:
                self.findings.leave_out(where, str(reason))
            except (ImageMissing, Unread) as reason:
                self.findings.problem(where, str(reason))

    def examples(self, parts: Mapping[str, Split]) -> Iterator[Example]:
        """What was chosen, in the order of the items; may be asked for several times.

        Args:
            parts: the split of each scene.
        """
        self._file.seek(0)
        for _ in range(self.scenes.total()):
            example: Example = pickle.load(self._file)
            yield replace(example, split=parts[example.scene])

    def _image(self, item: Item) -> tuple[Path, str, Size]:
        """The file of the image, the suffix that it should have, and its size.

        Raises:
            ImageMissing: there is none, or it has another shape than its masks.
        """
        file = self.source.images.find(item.image)
        (height, width), suffix = measured(file)
        same = (height, width) == (item.height, item.width)
        # The place of a tile is of its own pixels: a copy of another size is not the tile.
        copied = item.place is None and sizes.is_scaled((height, width), (item.height, item.width))
        if not (same or copied):
            raise ImageMissing(
                f"its image {file.name} has {width} × {height} pixels, its masks {item.width} × "
                f"{item.height}: it is another image than the one that was marked"
            )
        return file, suffix, (height, width)

    def _keep(self, item: Item, truth: Truth, file: Path, suffix: str) -> None:
        path = path_of(item.image)
        scene = split.scene_of(item, path or f"task-{item.task_id}", self.source.scene_pattern)
        slim = replace(item, annotations=(), predictions=())  # the masks are in the truth
        name = self._names.give(Path(path).stem, f"task-{item.task_id}", item.task_id) + suffix
        example = Example(
            slim, truth.regions, "train", scene, name, file,
            truth.annotation and replace(truth.annotation, regions=(), predicted=None),
            truth.model_version,
        )  # fmt: skip
        pickle.dump(example, self._file, pickle.HIGHEST_PROTOCOL)
        self._count(truth, scene)

    def _count(self, truth: Truth, scene: str) -> None:
        self.scenes[scene] += 1
        self.labels.update(region.label for region in truth.regions)
        if truth.agreement is not None:
            self.agreements.append(truth.agreement)
        start = truth.annotation.predicted if truth.annotation is not None else None
        version = truth.model_version or (start.model_version if start is not None else "")
        if version:
            self.versions[version] += 1
        if truth.annotation is not None:
            self.annotators[truth.annotation.annotator or "unknown"] += 1
        elif not truth.model_version:
            self.annotators["several (consensus)"] += 1


def _check_read(truth: Truth) -> None:
    """See that an image without masks is one on which nothing is to be seen.

    Raises:
        Unread: its masks could not be read, all of them.
    """
    if truth.unread and not truth.regions:
        raise Unread(
            f"it is left out: none of its {truth.unread} masks could be read, and an image without "
            "masks would say that nothing is there"
        )


def _fitted(item: Item, truth: Truth, size: Size) -> tuple[Item, Truth]:
    """Masks of a smaller or larger copy of the image, at the size of the image itself."""
    if (item.height, item.width) == size:
        return item, truth
    regions = tuple(replace(each, runs=sizes.scaled(each.runs, size)) for each in truth.regions)
    height, width = size
    return replace(item, height=height, width=width), replace(truth, regions=regions)
