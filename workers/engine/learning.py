"""The worker's side of learning: an annotation → its share."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import prototypes
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.runs import Runs, from_runs
from dgl_rsis.types import InputError
from workers.engine.learnt import pack
from workers.images.pictures import Pictures
from workers.messages import LearnRequest, Marked
from workers.queue.prototypes import PrototypeStore

if TYPE_CHECKING:
    from workers.engine.model import Model

UNMARKED, CONTESTED = -1, -2


def update_share(
    request: LearnRequest, segmenter: "Model", pictures: Pictures, store: PrototypeStore
) -> str:
    """Put what one annotation shows in the place of what it showed before.

    Args:
        request: the annotation.
        segmenter: the model.
        pictures: opens its images.
        store: of the shares.

    Returns:
        What came of it, for the log.

    Raises:
        FetchError, ImageError: its image cannot be had, or is none.
        InputError: its masks do not fit the image.
    """
    project, annotation, stamp = request.project, request.annotation, request.stamp
    if not store.is_current(project, annotation, stamp):
        return "nothing: it was changed or taken back since"
    share, shown = b"", ""
    if request.marked:
        learnt = prototypes.joined(
            [_shown_by(image, regions, segmenter, pictures) for image, regions in request.marked]
        )
        share = pack(learnt)
        counts = Counter(learnt.labels[owner] for owner in learnt.owners)
        labels = dict.fromkeys(label for _, regions in request.marked for label, _ in regions)
        shown = ", ".join(f"{counts[label]} of {label}" for label in labels)
    revision = store.put(project, annotation, stamp, share)
    if revision is None:
        return "nothing: it was changed or taken back meanwhile"
    return f"{shown or 'nothing'}; project {project} is at {revision or 'no'} revision now"


def _shown_by(image: str, regions: Marked, segmenter: "Model", pictures: Pictures) -> Prototypes:
    """What the regions of one image show; raises as `update_share`."""
    picture, _ = pictures.open(image)
    labels = tuple(dict.fromkeys(label for label, _ in regions))
    height, width = picture.pixels.shape[:2]
    plane = marked(regions, labels, (height, width))
    return segmenter.marked_examples(picture, plane, labels)


def marked(
    regions: Sequence[tuple[str, Runs]], labels: Sequence[str], size: tuple[int, int]
) -> NDArray[np.int32]:
    """What is marked where: (H, W), index into `labels`; negative for nothing, or two classes.

    Args:
        regions: label and mask of each.
        labels: names.
        size: H and W of the image, pixels.

    Raises:
        InputError: a mask is of another size, or no mask.
    """
    plane = np.full(size, UNMARKED, dtype=np.int32)
    for label, runs in regions:
        # Before anything is made of it: what a request says of its size may be anything.
        if (runs.height, runs.width) != size:
            raise InputError(
                f"a mask is of an image of {runs.width} × {runs.height} pixels, but it has "
                f"{size[1]} × {size[0]}: it was replaced after it was marked"
            )
        try:
            mask = from_runs(runs)
        except ValueError as error:
            raise InputError(f"a mask of {label!r} is damaged: {error}") from None
        index = labels.index(label)
        before = plane[mask]
        plane[mask] = np.where((before == UNMARKED) | (before == index), index, CONTESTED)
    return plane
