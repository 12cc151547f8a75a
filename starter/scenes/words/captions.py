"""Sentences that hold for a whole scene."""

from collections.abc import Sequence

import numpy as np

from starter.scenes.types import SceneObject

MASS_NOUNS = frozenset({"water", "forest", "grassland", "farmland", "bare land"})
MANY = frozenset({"road", "solar panel"})  # one object, or a row of it, shows many
NUMERALS = ("no", "one", "two", "three", "four", "five", "six")
OPENINGS = (
    "an aerial image of",
    "a satellite image of",
    "an aerial photograph showing",
    "an overhead view of",
    "a remote sensing image with",
)


def caption(
    rng: np.random.Generator, objects: Sequence[SceneObject], pixels: int
) -> tuple[str, ...]:
    """Three sentences: what is there, how many there are, and what fills the image.

    Args:
        rng: source of chance.
        objects: all visible objects.
        pixels: of the image.
    """
    areas: dict[str, int] = {}
    counts: dict[str, int] = {}
    for thing in objects:
        areas[thing.label] = areas.get(thing.label, 0) + thing.area
        counts[thing.label] = counts.get(thing.label, 0) + 1
    ranked = sorted(areas, key=lambda label: -areas[label])
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))]
    shuffled = [ranked[i] for i in rng.permutation(len(ranked))]
    largest = ranked[0]
    share = "mostly covered by" if areas[largest] > 0.4 * pixels else "partly covered by"
    return (
        f"{opening} {listed([plural(label) for label in shuffled])}",
        f"{opening} {listed([_counted(label, counts[label]) for label in ranked])}",
        f"an aerial image {share} {plural(largest)}",
    )


def plural(label: str) -> str:
    """The word for several, or for any amount, of a class."""
    if label in MASS_NOUNS:
        return label
    return f"{label}es" if label.endswith("ch") else f"{label}s"


def singular(label: str) -> str:
    """The word for one, with its article."""
    if label in MASS_NOUNS:
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def listed(words: Sequence[str]) -> str:
    """The words as an English list: "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _counted(label: str, count: int) -> str:
    if label in MASS_NOUNS:
        return label
    if label in MANY or count >= len(NUMERALS):
        return f"{'several' if label in MANY else 'many'} {plural(label)}"
    return singular(label) if count == 1 else f"{NUMERALS[count]} {plural(label)}"
