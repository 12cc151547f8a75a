"""Segmentation for Python programs and notebooks: NumPy arrays in, NumPy arrays out.

A lagoon, asked for in the three ways that there are:

>>> import numpy as np
>>> from PIL import Image
>>> from dgl_rsis.api import load, refer, refine, segment
>>> image = np.asarray(Image.open("samples/dubai-5-8.jpg"))[:224, 480:800]
>>> model = load()
>>> classes = segment(image, ["water", "land", "road"], model)
>>> classes.class_map.shape, int(classes.class_map[98, 179])  # row, column; 1 is the first label
((224, 320), 1)
>>> best, *others = refer(image, "the dark lake", model).candidates
>>> best.score > 0.9, bool(best.mask[98, 179])
(True, True)
>>> lagoon = refine(image, points=[(179, 98)])  # x, y
>>> lagoon.mask.shape, bool(lagoon.mask[98, 179])
((224, 320), True)

Images are (H, W, 3) uint8, RGB, at least 8 × 8 pixels, and fit in memory several times over; scenes
that do not are for `dgl_rsis.scenes.pipeline`. Files are read by `dgl_rsis.rasters`.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgl_rsis.classes import pipeline as classes
from dgl_rsis.classes.pipeline import ClassSegmentation, OvssParameters
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.expressions import pipeline as expressions
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.regions import refinement, tree
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import TreeParameters
from dgl_rsis.resolution import stated
from dgl_rsis.sam import model as segment_anything
from dgl_rsis.sam.model import SamModel
from dgl_rsis.types import RGB, Floats, InputError, Label, Mask, Prompt, Refined
from dgl_rsis.weights.identity import STARTER


@cache
def load(name: str = STARTER, device: str = "cpu") -> ClipModel:
    """A CLIP model, loaded once: the same name and device give the same object.

    Args:
        name: "starter", which ships with the project, a folder, or "ARCHITECTURE:FILE", as for
            `dgl_rsis.clip.model.load_clip`. Nothing is ever downloaded.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: no such file or architecture, or a file that does not fit it.
    """
    return load_clip(name, device)


def segment(
    image: NDArray[np.uint8],
    labels: Sequence[str | Label],
    model: ClipModel | None = None,
    parameters: OvssParameters | None = None,
    metres_per_pixel: float | None = None,
) -> ClassSegmentation:
    """A class for every pixel.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: names of classes, any words; a `Label` also has synonyms and a threshold of its own.
            With the starter weights words that neither they nor the project's knowledge have are
            not painted, and with any weights none that deny ("non-building").
        model: default `load()`.
        parameters: default `OvssParameters()`.
        metres_per_pixel: of the image, 0.01 to 100; None where you do not know.

    Returns:
        `class_map`, (H, W) uint16: 0 where no label holds, i for the i-th label; `probability`,
        (H, W) float32 in [0, 1], of the best class of each pixel; `classes`, one mask and its mean
        probability for each label that was found; `objects`, their connected parts, one at a time.

    Raises:
        InputError: no labels, a name twice, metres out of range, or no image as above.
        ModelError: see `load`.
    """
    if isinstance(labels, str):
        raise InputError(f"the labels are one string, {labels!r}: give a list of names")
    wanted = [Label(label) if isinstance(label, str) else label for label in labels]
    resolution = stated(metres_per_pixel, "task")
    return classes.segment_classes(
        _checked(image), wanted, model or load(), parameters, resolution=resolution
    )


def refer(
    image: NDArray[np.uint8],
    expression: str,
    model: ClipModel | None = None,
    parameters: ResParameters | None = None,
    metres_per_pixel: float | None = None,
) -> ExpressionSegmentation:
    """The masks that an expression may mean, best first.

    Args:
        image: (H, W, 3) uint8, RGB.
        expression: English, as "the small white tank left of the road".
        model: default `load()`.
        parameters: default `ResParameters()`; `top_k` is the number of answers.
        metres_per_pixel: of the image, 0.01 to 100; None where you do not know.

    Returns:
        `candidates`, each with `mask`, (H, W) bool, and `score` in [0, 1], the best one first; none
        where nothing fits, and then `reason` says why. `decoupled` is what was understood.

    Raises:
        InputError: an empty expression, metres out of range, or no image as above.
        ModelError: see `load`.
    """
    resolution = stated(metres_per_pixel, "task")
    return expressions.segment_expression(
        _checked(image), expression, model or load(), parameters, resolution=resolution
    )


def refine(
    image: NDArray[np.uint8],
    points: ArrayLike = (),
    outside: ArrayLike = (),
    box: tuple[float, float, float, float] | None = None,
    mask: Mask | None = None,
    sam: SamModel | None = None,
) -> Refined:
    """The mask of one object that is pointed at, or a mask corrected by pointing.

    Places count pixels from the outer edge of the first one: the centre of the first pixel is
    (0.5, 0.5), where `SamPredictor` has (0, 0).

    Args:
        image: (H, W, 3) uint8, RGB.
        points: (n, 2), x and y of places on the object.
        outside: (m, 2), x and y of places that are not on it.
        box: around the object: left, top, right, bottom.
        mask: (H, W) bool, to be corrected by the points; None to start anew.
        sam: of `dgl_rsis.sam.model.load_sam`; None answers by the image's own regions, without
            weights.

    Returns:
        `mask`, (H, W) bool, and `score` in [0, 1].

    Raises:
        InputError: nothing points at the object, a place lies outside the image, or no image as
            above.
    """
    pixels = _checked(image)
    classes.check_size(pixels)
    prompt = Prompt(_places("points", points), _places("outside", outside), box, prior=mask)
    if sam is not None:
        return segment_anything.refine(sam, segment_anything.encode(sam, pixels), prompt)
    regions = tree.build_tree(pixels, TreeParameters())
    return refinement.refine(pixels, regions, prompt, RefinementParameters())


def _checked(image: NDArray[np.uint8]) -> RGB:
    """The image as one block of memory.

    Raises:
        InputError: it has another shape or type.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"the image is {pixels.dtype} of shape {pixels.shape}: give uint8 of (H, W, 3), RGB"
        )
    return np.ascontiguousarray(pixels)


def _places(name: str, given: ArrayLike) -> Floats:
    """Points as (n, 2) float32.

    Raises:
        InputError: they have another shape.
    """
    places = np.asarray(given, dtype=np.float32)
    if not places.size:
        return np.zeros((0, 2), dtype=np.float32)
    if places.ndim != 2 or places.shape[1] != 2:
        raise InputError(f"{name} has the shape {places.shape}: give (n, 2), x and y of each")
    return places
