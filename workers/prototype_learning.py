"""The worker's side of learning: an annotation → its share."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dgl_rsis import masks
from dgl_rsis.types import InputError
from workers.engine import Engine
from workers.messages import Runs
from workers.prototype_messages import LearnRequest
from workers.prototype_shares import pack
from workers.prototype_store import PrototypeStore

UNMARKED, CONTESTED = -1, -2


def learn(engine: Engine, request: LearnRequest) -> str:
    """Learn from one annotation.

    Returns:
        What came of it, for the log.

    Raises:
        FetchError, ImageError: its image cannot be had, or is none.
        InputError: its masks do not fit the image.
    """
    store = PrototypeStore(engine.redis)
    project, annotation, stamp = request.project, request.annotation, request.stamp
    if not store.is_current(project, annotation, stamp):
        return "nothing: it was changed or taken back since"
    share, found = b"", ""
    if request.regions:
        picture, _ = engine.pictures.open(request.image, engine.fetch, engine.max_pixels)
        labels = tuple(dict.fromkeys(label for label, _ in request.regions))
        learnt = engine.learn(picture, marked(request.regions, labels), labels)
        share = pack(learnt)
        counts = Counter(learnt.labels[owner] for owner in learnt.owners)
        found = ", ".join(f"{counts[label]} of {label}" for label in labels)
    revision = store.put(project, annotation, stamp, share)
    if revision is None:
        return "nothing: it was changed or taken back meanwhile"
    return f"{found or 'nothing'}; project {project} is at {revision or 'no'} revision now"


def marked(regions: Sequence[tuple[str, Runs]], labels: Sequence[str]) -> NDArray[np.int32]:
    """What is marked where: (H, W), index into `labels`; negative for nothing, or two classes.

    Raises:
        InputError: the masks are of different sizes.
    """
    height, width = regions[0][1].height, regions[0][1].width
    plane = np.full((height, width), UNMARKED, dtype=np.int32)
    for label, runs in regions:
        if (runs.height, runs.width) != (height, width):
            raise InputError("the masks of the annotation are of different sizes")
        mask, index = masks.from_runs(runs.counts, height, width), labels.index(label)
        before = plane[mask]
        plane[mask] = np.where((before == UNMARKED) | (before == index), index, CONTESTED)
    return plane
