"""One item → what is asked of a worker, with an image that the worker can read."""

import base64
from dataclasses import dataclass, replace
from pathlib import Path

from backend.commands.prelabel.items import ItemError, PrelabelItem
from backend.commands.prelabel.overlaps import Overlaps
from backend.project.label_config import LabelConfig
from backend.project.tasks import LONGEST_ID, TaskError
from backend.studio.references import below
from dgl_rsis.resolution import tile_address
from workers.messages import SegmentRequest


@dataclass(frozen=True)
class Requests:
    """Makes the requests of a run.

    Attributes:
        config: the vocabulary.
        model_version: of the model that is to answer.
        root: resolved folder that the workers read local files from; None to send the bytes of
            every file along.
        max_bytes: of a file.
        prototypes: as in `SegmentRequest`.
        metres: of the ground that a pixel shows, for tasks that do not say it; None for none.
        overlaps: the tiles among the items, which are asked for with what surrounds them.
    """

    config: LabelConfig
    model_version: str
    root: Path | None
    max_bytes: int
    prototypes: str = ""
    metres: float | None = None
    overlaps: Overlaps | None = None

    def of(self, item: PrelabelItem) -> SegmentRequest:
        """The request for one item.

        Raises:
            ItemError: it cannot be asked for.
        """
        if item.problem:
            raise ItemError(item.problem)
        try:
            request = self.config.to_request(item.task, self.model_version)
        except TaskError as error:
            raise ItemError(str(error)) from None
        if self.prototypes:
            request = replace(request, prototypes=self.prototypes)
        if request.metres is None and self.metres is not None:
            request = replace(request, metres=self.metres)
        if item.file is None:
            return request
        image = ""
        if self.overlaps is not None and not request.expression:  # "on the left" is of the tile
            image = self._surrounded(item, self.overlaps)
        image = image or self._carried(item.file)
        return replace(request, image=image, task_id=item.name[-LONGEST_ID:])

    def _surrounded(self, item: PrelabelItem, overlaps: Overlaps) -> str:
        """A tile with its surroundings as a data URL; empty for any other item."""
        try:
            data = overlaps.surrounded(item)
        except OSError as error:
            raise ItemError(f"{item.file}: its neighbours cannot be read: {error}") from None
        if data is None or len(data) > self.max_bytes:
            return ""
        return f"data:;base64,{base64.b64encode(data).decode()}"

    def _carried(self, file: Path) -> str:
        """A reference that workers can follow: a local file of theirs, or the bytes themselves."""
        try:
            size = file.stat().st_size
            if size > self.max_bytes:
                raise ItemError(
                    f"{file} has {size:,} bytes, more than MAX_IMAGE_BYTES allows: tile it"
                )
            if (reference := below(file, self.root)) is not None:
                return reference
            data = file.read_bytes()
        except OSError as error:
            raise ItemError(f"{file} cannot be read: {error.strerror or error}") from None
        address = tile_address(file.as_posix())  # which the bytes alone would not say
        tile = "" if address is None else address.inline
        return f"data:{tile};base64,{base64.b64encode(data).decode()}"
