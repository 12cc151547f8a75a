"""Which of the annotations of an item counts as its truth.

Of several annotations by one person, the newest counts. Of several people, the newest again, or
somebody in particular, or what most of them marked (consensus, pixel by pixel).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from backend.regions import planes
from backend.regions.records import Annotation, Item, Region
from dgl_rsis import runs
from dgl_rsis.types import Mask


class LeftOut(Exception):
    """The item is not for this set; the message says why."""


@dataclass(frozen=True)
class Choice:
    """What is wanted.

    Attributes:
        annotator: only what this person marked, e-mail address or id; empty for anybody.
        consensus: take what more than half of the people marked, one region a label, instead of
            what one of them did.
        min_agreement: leave out items whose people agree less, [0, 1]; an item that one person
            marked is kept, since nobody disagrees.
        prelabels: take the newest pre-label of items that nobody has marked.
        min_score: of such a pre-label, [0, 1]; one without a score has 0.
    """

    annotator: str = ""
    consensus: bool = False
    min_agreement: float = 0.0
    prelabels: bool = False
    min_score: float = 0.0


@dataclass(frozen=True)
class Truth:
    """What was chosen.

    Attributes:
        regions: the masks; empty when there is nothing to see.
        annotation: whose they are; None when of several people, or of a model.
        model_version: of the pre-label that was taken; empty when a person marked it.
        agreement: between people, [0, 1]; None when fewer than two marked it.
        unread: how many further masks of it could not be read.
    """

    regions: tuple[Region, ...]
    annotation: Annotation | None
    model_version: str
    agreement: float | None
    unread: int = 0


def choose(item: Item, choice: Choice) -> Truth:
    """The truth of an item.

    Raises:
        LeftOut: nobody marked it, not the one who was asked for, or people disagree.
    """
    people = _newest_of_each(item.annotations)
    if not people:
        return _prelabel(item, choice)
    agreement = _agreement(people) if len(people) > 1 else None
    if agreement is not None and agreement < choice.min_agreement:
        raise LeftOut(
            f"{len(people)} people agree by {agreement:.2f}, less than {choice.min_agreement:.2f}"
        )
    if choice.consensus and len(people) > 1:
        unread = sum(one.unread for one in people)
        return Truth(_consensus(people), None, "", agreement, unread)
    one = _wanted(people, choice.annotator)
    return Truth(one.regions, one, "", agreement, one.unread)


def _newest_of_each(annotations: Sequence[Annotation]) -> list[Annotation]:
    """One annotation a person, the newest last; each that names nobody counts as a person."""
    newest: dict[object, Annotation] = {}
    for number, one in enumerate(annotations):
        key = one.annotator or number
        newest.pop(key, None)
        newest[key] = one
    return list(newest.values())


def _prelabel(item: Item, choice: Choice) -> Truth:
    if not choice.prelabels or choice.annotator:
        raise LeftOut("nobody has marked it")
    if not item.predictions:
        raise LeftOut("nobody has marked it, and it has no pre-label")
    newest = item.predictions[-1]
    if (newest.score or 0.0) < choice.min_score:
        raise LeftOut(
            f"its pre-label has the score {newest.score or 0.0:.2f}, less than "
            f"{choice.min_score:.2f}"
        )
    return Truth(newest.regions, None, newest.model_version or "unknown", None, newest.unread)


def _agreement(people: Sequence[Annotation]) -> float:
    """Mean over all pairs of people of the mean IoU over labels."""
    covered = [planes.by_label(one.regions) for one in people]
    return float(np.mean([planes.agreement(a, b) for a, b in combinations(covered, 2)]))


def _consensus(people: Sequence[Annotation]) -> tuple[Region, ...]:
    votes: dict[str, NDArray[np.int32]] = {}  # label → (H, W), people
    for one in people:
        for label, mask in planes.by_label(one.regions).items():
            votes[label] = votes.get(label, 0) + mask.astype(np.int32)
    won: Mapping[str, Mask] = {label: 2 * count > len(people) for label, count in votes.items()}
    return tuple(
        Region(f"consensus-{number}", label, runs.to_runs(mask), "bitmask")
        for number, (label, mask) in enumerate(sorted(won.items()))
        if mask.any()
    )


def _wanted(people: Sequence[Annotation], annotator: str) -> Annotation:
    if not annotator:
        return people[-1]
    theirs = [one for one in people if one.annotator == annotator]
    if not theirs:
        raise LeftOut(f"{annotator} has not marked it")
    return theirs[-1]
