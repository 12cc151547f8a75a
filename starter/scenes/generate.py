"""Synthetic aerial scenes with exact truth, to train and to measure the starter weights on.

Nothing here is a photograph: a plan (streets, blocks, land uses) is drawn with the materials, light
and camera of a place. Colours overlap between classes as they do in nature (grey roofs and grey
streets, pale roofs and sand), so that texture, shape and surroundings have to tell them apart.
"""

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from starter.scenes.drawing.sensor import photograph
from starter.scenes.drawing.site import Site
from starter.scenes.plan.layout import MOST_CLASSES, lay_out
from starter.scenes.types import (
    CLASSES,
    Scene,
    SceneObject,
)
from starter.scenes.words.captions import caption
from starter.scenes.words.expressions import refer

FEWEST_CLASSES = 3
ATTEMPTS = 16


def generate(seed: int, size: int = 512, classes: Collection[str] | None = None) -> Scene:
    """Draw the scene of a seed.

    Args:
        seed: 0 or more. The same seed gives the same bytes with the same versions of NumPy, SciPy
            and Pillow.
        size: pixels, width and height.
        classes: what may be drawn; None = CLASSES. Ground of another class may appear unlabelled.

    Returns:
        The scene, with 3 to 7 classes in it (fewer only where `classes` does not permit three).

    Raises:
        ValueError: a class is unknown, none is given, none of them can be drawn without others, or
            the size is below 64.
    """
    allowed = frozenset(CLASSES if classes is None else classes)
    _check(size, allowed)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, attempt])
        site = lay_out(rng, size, allowed)
        shown = len({site.canvas.labels[i] for i in np.unique(site.canvas.owners) if i})
        enough = FEWEST_CLASSES if attempt < ATTEMPTS // 2 else 1
        if enough <= shown <= MOST_CLASSES:
            return _finish(rng, site)
    raise ValueError(
        f"nothing of {sorted(allowed)} can be drawn alone: cars need roads or parking lots, "
        "ships, piers and bridges need water, roundabouts need roads; add them"
    )


def _check(size: int, allowed: frozenset[str]) -> None:
    unknown = sorted(allowed - set(CLASSES))
    if unknown or not allowed:
        what = f"unknown classes {unknown}" if unknown else "no classes"
        raise ValueError(f"{what}; choose from {', '.join(CLASSES)}")
    if size < 64:
        raise ValueError(f"size {size} is too small for a scene; take 64 pixels or more")


def _finish(rng: np.random.Generator, site: Site) -> Scene:
    canvas = site.canvas
    numbers = {label: i for i, label in enumerate(("", *CLASSES))}
    table = np.array([numbers[label] for label in canvas.labels], np.uint8)
    objects = _objects(site)
    return Scene(
        image=photograph(rng, canvas.pixels),
        class_map=table[canvas.owners],
        objects=objects,
        captions=caption(rng, objects, canvas.owners.size),
        expressions=refer(rng, objects, canvas.owners),
        metres_per_pixel=site.gsd,
    )


def _objects(site: Site) -> tuple[SceneObject, ...]:
    """What can still be seen of each object that was painted."""
    owners = site.canvas.owners
    areas = np.bincount(owners.ravel(), minlength=len(site.canvas.labels))
    return tuple(
        SceneObject(
            label=site.canvas.labels[number],
            box=(box[1].start, box[0].start, box[1].stop, box[0].stop),
            attributes=site.canvas.attributes[number],
            owners=owners,
            number=number,
            area=int(areas[number]),
        )
        for number, box in enumerate(ndimage.find_objects(owners), start=1)
        if box is not None
    )
