"""Referring expressions, made from the scene's true geometry and proven unambiguous.

A description is a rule over all visible objects of a class, with a margin: it says for which
objects it surely holds and for which it possibly does (a building just left of the middle is
possibly "on the left"). A text is used only where both are the same objects.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from starter.scenes.types import Expression, SceneObject, Stratum
from starter.scenes.words.captions import MASS_NOUNS, plural

Slot = Literal["size", "colour", "place"]
Flags = NDArray[np.bool_]  # (N,), one for each object of the class
MARGIN = 0.04  # share of the image's side within which a place is uncertain
SMALLEST = 24  # pixels that a target must show
MOST, MOST_OF_ONE_KIND, MOST_TARGETS = 9, 2, 4
EXCLUDED = frozenset({"tree", "road", "solar panel"})  # networks, groups and rows
LANDMARKS = frozenset(
    {"tennis court", "bridge", "roundabout", "ground track field", "swimming pool", "water",
     "parking lot", "pier", "storage tank", "beach", "ship", "airplane", "runway", "forest"}
)  # fmt: skip
# Paints that haze, shadow or a colour cast can make look alike.
ALIKE: tuple[frozenset[str], ...] = (
    frozenset({"white", "beige", "grey"}),
    frozenset({"grey", "dark grey"}),
    frozenset({"dark grey", "black"}),
    frozenset({"red", "orange", "brown"}),
    frozenset({"orange", "yellow", "beige"}),
    frozenset({"beige", "brown"}),
)
ROWS = ("upper", "", "lower")
COLUMNS = ("left", "", "right")


@dataclass(frozen=True)
class Group:
    """The visible objects of one class.

    Attributes:
        label: the class.
        numbers: (N,) int, their numbers among the owners.
        centres: (N, 2) x and y of their centroids, as shares of the image's side.
        areas: (N,) pixels.
        colours: their paints, "" where none is known.
    """

    label: str
    numbers: NDArray[np.intp]
    centres: NDArray[np.float64]
    areas: NDArray[np.intp]
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A rule and its words.

    Attributes:
        words: for example "red", or "in the upper right".
        slot: where they stand: sizes before colours before the noun, places after it.
        stratum: what the rule looks at.
        sure, possible: (N,) for which objects it holds, surely and possibly.
        lone: it speaks of exactly one object ("leftmost").
    """

    words: str
    slot: Slot
    stratum: Stratum
    sure: Flags
    possible: Flags
    lone: bool = False


def refer(
    rng: np.random.Generator, objects: Sequence[SceneObject], owners: NDArray[np.int32]
) -> tuple[Expression, ...]:
    """Up to nine expressions, at most two of the same class and stratum.

    Args:
        rng: source of chance: which of the true expressions are taken.
        objects: all visible objects.
        owners: (H, W) int32, number of the object at each pixel.
    """
    groups = _grouped(objects, owners)
    choices = [
        (group, *choice)
        for group in groups.values()
        if _is_referable(group, owners.size)
        for choice in _unambiguous(group, _describe(group, groups, owners))
    ]
    taken: list[Expression] = []
    kinds: Counter[tuple[str, Stratum]] = Counter()
    for i in _order(rng, [stratum for _, _, stratum, _ in choices]):
        group, text, stratum, targets = choices[i]
        if len(taken) < MOST and kinds[group.label, stratum] < MOST_OF_ONE_KIND:
            kinds[group.label, stratum] += 1
            mask = np.isin(owners, group.numbers[targets])
            taken.append(Expression(text, mask, group.label, stratum))
    return tuple(taken)


def _order(rng: np.random.Generator, strata: Sequence[Stratum]) -> list[int]:
    """Indices in random order, the strata by turns."""
    turns: Counter[Stratum] = Counter()
    keys: dict[int, int] = {}
    for i in rng.permutation(len(strata)).tolist():
        keys[i] = turns[strata[i]]
        turns[strata[i]] += 1
    return sorted(keys, key=keys.__getitem__)


def _grouped(objects: Sequence[SceneObject], owners: NDArray[np.int32]) -> dict[str, Group]:
    """Objects by class, with their centroids."""
    side = owners.shape[0]
    rows, columns = np.indices(owners.shape)
    flat = owners.ravel()
    areas = np.maximum(np.bincount(flat), 1)
    x = (np.bincount(flat, columns.ravel()) / areas + 0.5) / side
    y = (np.bincount(flat, rows.ravel()) / areas + 0.5) / side
    groups = {}
    for label in sorted({o.label for o in objects}):
        members = [o for o in objects if o.label == label]
        numbers = np.array([o.number for o in members])
        groups[label] = Group(
            label,
            numbers,
            np.stack([x[numbers], y[numbers]], axis=1),
            areas[numbers],
            tuple(o.attributes.get("colour", "") for o in members),
        )
    return groups


def _is_referable(group: Group, pixels: int) -> bool:
    """Countable objects; a patch of land only where it is the only one, and has a place."""
    if group.label in EXCLUDED:
        return False
    if group.label in MASS_NOUNS or group.label in ("beach", "runway"):
        return len(group.numbers) == 1 and group.areas[0] < 0.25 * pixels
    return True


def _describe(
    group: Group, groups: dict[str, Group], owners: NDArray[np.int32]
) -> list[Description]:
    return [
        *_colours(group),
        *_sizes(group),
        *_zones(group),
        *_extremes(group),
        *_relations(group, groups, owners),
    ]


def _colours(group: Group) -> Iterator[Description]:
    if group.label in MASS_NOUNS or group.label in ("beach", "swimming pool"):
        return  # every pool is blue: nobody says so
    for word in sorted(set(group.colours) - {""}):
        near = {c for paints in ALIKE if word in paints for c in paints} | {word, ""}
        sure = np.array([c == word for c in group.colours])
        possible = np.array([c in near for c in group.colours])
        yield Description(word, "colour", "attribute", sure, possible)


def _sizes(group: Group) -> Iterator[Description]:
    areas, n = group.areas, len(group.areas)
    if n < 2 or group.label in MASS_NOUNS:
        return
    order = np.argsort(areas)
    for word, first, second in (("largest", -1, -2), ("smallest", 0, 1)):
        ratio = areas[order[first]] / areas[order[second]]
        if ratio > 1.35 or ratio < 1 / 1.35:
            only = np.arange(n) == order[first]
            yield Description(word, "size", "attribute", only, only, lone=True)
    typical = float(np.median(areas))
    yield Description("large", "size", "attribute", areas > 2.2 * typical, areas > 1.4 * typical)
    yield Description("small", "size", "attribute", areas < typical / 2.2, areas < typical / 1.4)


def _zones(group: Group) -> Iterator[Description]:
    """The nine fields of the image."""
    for (i, row), (j, column) in itertools.product(enumerate(ROWS), enumerate(COLUMNS)):
        sure = _within(group.centres, (j, i), -MARGIN)
        possible = _within(group.centres, (j, i), MARGIN)
        yield Description(_zone_words(row, column), "place", "image-relative", sure, possible)


def _within(centres: NDArray[np.float64], cell: tuple[int, int], grown: float) -> Flags:
    low = np.array(cell) / 3 - grown
    high = (np.array(cell) + 1) / 3 + grown
    inside: Flags = np.all((centres > low) & (centres < high), axis=1)
    return inside


def _zone_words(row: str, column: str) -> str:
    if row and column:
        return f"in the {row} {column}"
    if row:
        return f"at the {'top' if row == 'upper' else 'bottom'}"
    return f"on the {column}" if column else "in the middle"


def _extremes(group: Group) -> Iterator[Description]:
    n = len(group.centres)
    if n < 2:
        return
    words = (("leftmost", 0, 1), ("rightmost", 0, -1), ("topmost", 1, 1), ("bottommost", 1, -1))
    for word, axis, sign in words:
        along = sign * group.centres[:, axis]
        order = np.argsort(along)
        if along[order[1]] - along[order[0]] > MARGIN:
            only = np.arange(n) == order[0]
            yield Description(word, "size", "image-relative", only, only, lone=True)


def _relations(
    group: Group, groups: dict[str, Group], owners: NDArray[np.int32]
) -> Iterator[Description]:
    """Places beside another object that is the only one of its class."""
    for mark in groups.values():
        usable = mark.label in LANDMARKS and mark.label != group.label
        if usable and len(mark.numbers) == 1 and mark.areas[0] >= SMALLEST:
            yield from _near(group, mark, owners)
            # "Left of" a river or a runway, or water "left of" its bridge, would mean little.
            if mark.areas[0] < 0.06 * owners.size and group.label not in MASS_NOUNS:
                yield from _beside(group, mark)


def _near(group: Group, mark: Group, owners: NDArray[np.int32]) -> Iterator[Description]:
    """The one that is by far the nearest to a landmark."""
    coarse = owners[::4, ::4] == mark.numbers[0]
    if len(group.numbers) < 2 or not coarse.any():
        return
    side = coarse.shape[0]
    distance = ndimage.distance_transform_edt(~coarse) / side
    x, y = np.minimum((group.centres * side).astype(np.intp), side - 1).T
    gaps = distance[y, x]
    order = np.argsort(gaps)
    nearest, second = gaps[order[0]], gaps[order[1]]
    if second - nearest < MARGIN or second < 1.5 * nearest:
        return
    only = np.arange(len(gaps)) == order[0]
    words = "near" if nearest < 0.12 else "closest to"
    yield Description(
        f"{words} the {mark.label}", "place", "object-relative", only, only, lone=True
    )


def _beside(group: Group, mark: Group) -> Iterator[Description]:
    """Left of, right of, above, below: the offset has to point clearly that way."""
    offset = group.centres - mark.centres[0]
    for words, axis, sign in (
        ("to the left of", 0, -1),
        ("to the right of", 0, 1),
        ("above", 1, -1),
        ("below", 1, 1),
    ):
        ahead, aside = sign * offset[:, axis], np.abs(offset[:, 1 - axis])
        sure = (ahead > MARGIN) & (ahead > 1.5 * aside)
        possible = ahead > 0
        yield Description(f"{words} the {mark.label}", "place", "object-relative", sure, possible)


def _unambiguous(
    group: Group, rules: Sequence[Description]
) -> Iterator[tuple[str, Stratum, Flags]]:
    """Texts whose rules surely hold for some objects, and possibly for no other."""
    for chosen in _choices(rules):
        sure = np.logical_and.reduce([r.sure for r in chosen])
        possible = np.logical_and.reduce([r.possible for r in chosen])
        count = int(sure.sum())
        if not 1 <= count <= MOST_TARGETS or not np.array_equal(sure, possible):
            continue
        if group.areas[sure].min() >= SMALLEST:
            yield _text(group.label, chosen, count), _stratum(chosen), sure


def _choices(rules: Sequence[Description]) -> Iterator[tuple[Description, ...]]:
    """Each rule for a single object alone; the others in every mix of size, colour and place."""
    yield from ((r,) for r in rules if r.lone)
    slots: tuple[Slot, ...] = ("size", "colour", "place")
    options = [[None, *(r for r in rules if r.slot == s and not r.lone)] for s in slots]
    for mix in itertools.product(*options):
        chosen = tuple(r for r in mix if r is not None)
        if chosen:
            yield chosen


def _text(label: str, chosen: Sequence[Description], count: int) -> str:
    noun = label if count == 1 else plural(label)
    before = [r.words for r in chosen if r.slot != "place"]
    after = [r.words for r in chosen if r.slot == "place"]
    return " ".join(["the", *before, noun, *after])


def _stratum(chosen: Sequence[Description]) -> Stratum:
    strata = {r.stratum for r in chosen}
    order: tuple[Stratum, ...] = ("object-relative", "image-relative", "attribute")
    return next(s for s in order if s in strata)
