"""Scenes → train, val and test. A scene is never divided: neighbouring tiles share what they show.

[ours] Greedy: scenes from the largest to the smallest, each to the part that lacks most. Those of
equal size are in an order that comes from a hash of the seed and their name, so the result depends
on nothing but the seed, the names and the sizes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from backend.commands.export.dataset import SPLITS, Split
from backend.regions.findings import ExportError
from backend.regions.records import Item


def scene_of(item: Item, name: str, pattern: re.Pattern[str] | None = None) -> str:
    """What an image was cut from.

    Args:
        item: whose place, when it has one with a scene, decides.
        name: path or file name of the image.
        pattern: what it finds in the name is the scene: its first group, else the whole match.

    Returns:
        The scene; the name itself when nothing says more.
    """
    if item.place is not None and item.place.scene:
        return item.place.scene
    match = pattern.search(name) if pattern is not None else None
    if match is None:
        return name
    part = match.group(1) if match.re.groups else None
    return part or match.group() or name


def ratios_of(text: str) -> tuple[float, float, float]:
    """Shares of train, val and test as in "0.8,0.1,0.1"; the last may be missing.

    Raises:
        ExportError: not two or three numbers from 0 that are 1 together.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or min(numbers) < 0 or not abs(sum(numbers) - 1) < 1e-6:
        raise ExportError(
            f"--split is {text!r}: give shares of train, val and test that are 1 together, as in "
            "0.8,0.1,0.1"
        )
    train, val, test = (*numbers, 0.0)[:3]
    return train, val, test


def assign(sizes: Mapping[str, int], ratios: Sequence[float], seed: int = 0) -> dict[str, Split]:
    """The part of each scene.

    No part is larger than asked for by more than the largest scene, and no part that was asked for
    stays empty while another has two scenes.

    Args:
        sizes: scene → how many images it has, 1 or more.
        ratios: wanted shares of the images for train, val and test; their sum is 1.
        seed: another one gives another order among scenes of equal size.
    """
    missing = {
        part: share * sum(sizes.values()) for part, share in zip(SPLITS, ratios, strict=True)
    }
    wanted = [part for part in SPLITS if missing[part] > 0]
    parts: dict[str, Split] = {}
    for scene in sorted(sizes, key=lambda scene: (-sizes[scene], _hash(scene, seed))):
        part = max(wanted, key=lambda part: missing[part])
        parts[scene] = part
        missing[part] -= sizes[scene]
    _fill_empty(parts, wanted, sizes)
    return parts


def _fill_empty(parts: dict[str, Split], wanted: Sequence[Split], sizes: Mapping[str, int]) -> None:
    """Give each empty part the smallest scene of the part with the most scenes."""
    for part in wanted:
        held = list(parts.values())
        richest = max(wanted, key=held.count)
        if part not in held and held.count(richest) > 1:
            theirs = [scene for scene, its in parts.items() if its == richest]
            parts[min(theirs, key=lambda scene: sizes[scene])] = part


def _hash(scene: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{scene}".encode()).digest()
