"""Segmentation for Python programs and notebooks: images in, NumPy arrays out, in their place.

A lagoon, asked for in the three ways that there are:

>>> import numpy as np
>>> from PIL import Image
>>> from dgl_rsis.api import load, refer, refine, segment
>>> image = np.asarray(Image.open("samples/dubai-5-8.jpg"))[:224, 480:800]
>>> model = load()  # once; all questions share it
>>> classes = segment(image, ["water", "land", "road"], model)
>>> classes.class_map.shape, int(classes.class_map[98, 179])  # row, column; 1 is the first label
((224, 320), 1)
>>> lake = refer(image, "the dark lake", model)
>>> lake.score > 0.9, bool(lake.mask[98, 179])
(True, True)
>>> lagoon = refine(image, points=[(179, 98)])  # x, y
>>> lagoon.mask.shape, bool(lagoon.mask[98, 179])
((224, 320), True)

An image is a path as well, "scene.tif": then the answers lie where it lies, and
`classes.write("classes.gpkg")` writes polygons there (`dgl_rsis.results`). Images are held in
memory several times over; larger scenes are for `dgl-rsis segment`, or `dgl_rsis.scenes.pipeline`,
window by window.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from dgl_rsis.classes import pipeline as classes
from dgl_rsis.classes.pipeline import ClassSegmentation, OvssParameters
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.expressions import pipeline as expressions
from dgl_rsis.expressions.pipeline import Candidate, ResParameters
from dgl_rsis.formats import PIXEL_BUDGET
from dgl_rsis.rasters import read_photo, read_resolution
from dgl_rsis.regions import refinement, tree
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import TreeParameters
from dgl_rsis.resolution import Resolution, of_tile, preferred, stated
from dgl_rsis.results import Classes, Found
from dgl_rsis.sam import model as segment_anything
from dgl_rsis.sam.model import SamModel
from dgl_rsis.scenes.areas import moved
from dgl_rsis.scenes.pipeline import WindowParameters, segment_scene
from dgl_rsis.scenes.reading import Grid, Scene, is_placed, not_a_file, open_scene, tell_border
from dgl_rsis.types import RGB, Floats, InputError, Label, Mask, Prompt, Segment
from dgl_rsis.weights.identity import STARTER

Image = str | Path | NDArray[np.uint8] | Scene
"""A path of an image on this machine; (H, W, 3) uint8, RGB, at least 8 × 8 pixels; or a raster
opened by `dgl_rsis.scenes.reading.open_scene`, which takes the bands to show, those of infrared,
and a value that is no data."""
Floats64 = NDArray[np.float64]


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
    image: Image,
    labels: Sequence[str | Label],
    model: ClipModel | None = None,
    parameters: OvssParameters | None = None,
    metres_per_pixel: float | None = None,
) -> Classes:
    """A class for every pixel.

    A raster with a place is cut into windows, and gets what `dgl-rsis segment` gives it.

    Args:
        image: see `Image`.
        labels: names of classes, any words; a `Label` also has synonyms and a threshold of its own.
            With the starter weights words that neither they nor the project's knowledge have are
            not painted, and with any weights none that deny ("non-building").
        model: default `load()`.
        parameters: default `OvssParameters()`.
        metres_per_pixel: of the image, 0.01 to 100; None where its place or its name says it, or
            nobody knows.

    Returns:
        `class_map`, (H, W) uint16: 0 where no label holds, i for the i-th label; `probability`,
        (H, W) float32 in [0, 1], of the best class of each pixel; `masks` and `scores` of the
        labels that were found, by name; `objects`, their connected parts, one at a time; `write`.

    Raises:
        InputError: no labels, a name twice, metres out of range, no such file, or no image as
            above.
        ImageError: a file that is no image, or a damaged one.
        OSError: a file that may not be read.
        ModelError: see `load`.
    """
    if isinstance(labels, str):
        raise InputError(f"the labels are one string, {labels!r}: give a list of names")
    wanted = [Label(label) if isinstance(label, str) else label for label in labels]
    model, parameters = model or load(), parameters or OvssParameters()
    with _open(image, metres_per_pixel) as seen:
        if seen.scene is None:
            answer = classes.segment_classes(
                seen.pixels, wanted, model, parameters,
                resolution=seen.resolution, valid=seen.valid,
            )  # fmt: skip
        else:
            answer = _by_windows(seen.scene, wanted, model, parameters, seen.resolution)
    names = tuple(label.name for label in wanted)
    version = classes.model_version(model, parameters)
    return Classes(names, seen.pixels, seen.grid, answer, version)


def refer(
    image: Image,
    expression: str,
    model: ClipModel | None = None,
    parameters: ResParameters | None = None,
    metres_per_pixel: float | None = None,
) -> Found:
    """The masks that an expression may mean, best first.

    Args:
        image: see `Image`.
        expression: English, as "the small white tank left of the road".
        model: default `load()`.
        parameters: default `ResParameters()`; `top_k` is the number of answers.
        metres_per_pixel: as for `segment`.

    Returns:
        `mask`, (H, W) bool, and `score` in [0, 1] of the best; `masks`, (N, H, W), and `scores` of
        all; none where nothing fits, and then `reason` says why. `decoupled` is what was
        understood; `write`.

    Raises:
        InputError: an empty expression, metres out of range, or no image as above.
        ImageError, OSError: as for `segment`.
        ModelError: see `load`.
    """
    model, parameters = model or load(), parameters or ResParameters()
    with _open(image, metres_per_pixel) as seen:
        answer = expressions.segment_expression(
            seen.pixels, expression, model, parameters,
            resolution=seen.resolution, valid=seen.valid,
        )  # fmt: skip
    decoupled = answer.decoupled
    version = classes.model_version(model, parameters.encoding, parameters)
    return Found(
        decoupled.noun, answer.candidates, seen.pixels, seen.grid, version, answer.reason, decoupled
    )


def refine(
    image: Image,
    points: ArrayLike = (),
    outside: ArrayLike = (),
    box: tuple[float, float, float, float] | None = None,
    mask: Mask | None = None,
    sam: SamModel | None = None,
    crs: str | None = None,
    name: str = "object",
) -> Found:
    """The mask of one object that is pointed at, or a mask corrected by pointing.

    Places count pixels from the outer edge of the first one: the centre of the first pixel is
    (0.5, 0.5), where `SamPredictor` has (0, 0). Or they are coordinates of a map.

    Args:
        image: see `Image`.
        points: (n, 2), x and y of places on the object.
        outside: (m, 2), x and y of places that are not on it.
        box: around the object: left, top, right, bottom; of a map west, south, east, north.
        mask: (H, W) bool, to be corrected by the points; None to start anew.
        sam: of `dgl_rsis.sam.model.load_sam`; None answers by the image's own regions, without
            weights.
        crs: of points and box, as "EPSG:4326", where x is the longitude; None: they are pixels.
        name: of the object, in what is written.

    Returns:
        `mask`, (H, W) bool, and `score` in [0, 1]; `write`.

    Raises:
        InputError: nothing points at the object, a place lies outside the image, coordinates for an
            image without a place, or no image as above.
        ImageError, OSError: as for `segment`.
    """
    with _open(image, None) as seen:
        pixels = seen.pixels
    classes.check_size(pixels)
    where = _Pixels(seen.grid, crs)
    prompt = Prompt(
        where.of(_places("points", points)),
        where.of(_places("outside", outside)),
        None if box is None else where.of_box(box),
        prior=mask,
    )
    if sam is not None:
        refined = segment_anything.refine(sam, segment_anything.encode(sam, pixels), prompt)
    else:
        regions = tree.build_tree(pixels, TreeParameters())
        refined = refinement.refine(pixels, regions, prompt, RefinementParameters())
    candidate = Candidate(refined.mask, refined.score, {})
    return Found(name, (candidate,), pixels, seen.grid, sam.name if sam else "")


# ---- images


@dataclass(frozen=True)
class _Seen:
    """An image as it was given.

    Attributes:
        pixels: (H, W, 3) uint8.
        grid: where they lie.
        resolution: metres a pixel; None where nobody knows.
        valid: (H, W) bool, which pixels show something; None: all of them.
        scene: where it is to be read window by window.
    """

    pixels: RGB
    grid: Grid
    resolution: Resolution | None
    valid: Mask | None = None
    scene: Scene | None = None


@contextmanager
def _open(image: Image, metres: float | None) -> Iterator[_Seen]:
    """The image; a file is closed afterwards, a scene that was given stays open.

    Raises:
        InputError: it is an array of another shape or type, a scene of too many pixels, or metres
            are out of range.
        ImageError, OSError: a file cannot be read.
    """
    told = stated(metres, "task")
    if isinstance(image, Scene):
        yield _whole(image, told)
    elif not isinstance(image, str | Path):
        pixels = _checked(image)
        yield _Seen(pixels, Grid(pixels.shape[1], pixels.shape[0]), told)
    elif is_placed(Path(image), WindowParameters().side):
        with open_scene(image) as scene:
            tell_border(scene)
            yield _whole(scene, told)
    else:
        yield _photo(Path(image), told)


def _photo(path: Path, told: Resolution | None) -> _Seen:
    if not path.is_file():
        raise InputError(not_a_file(str(path)))
    data = path.read_bytes()
    photo = read_photo(data)
    height, width = photo.pixels.shape[:2]
    of_name = of_tile(path.as_posix(), height, width)
    known = preferred(told, read_resolution(data), of_name)
    return _Seen(photo.pixels, Grid(width, height), known, photo.valid)


def _whole(scene: Scene, told: Resolution | None) -> _Seen:
    grid = scene.grid
    if grid.width * grid.height > PIXEL_BUDGET:
        raise InputError(
            f"{scene.name} has {grid.width} × {grid.height} pixels, more than the "
            f"{PIXEL_BUDGET:,} that are held in memory: `dgl-rsis segment` takes any size"
        )
    pixels, valid = scene.read(0, 0, grid.width, grid.height)
    return _Seen(pixels, grid, told or grid.resolution, None if valid.all() else valid, scene)


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


def _by_windows(
    scene: Scene,
    labels: Sequence[Label],
    model: ClipModel,
    parameters: OvssParameters,
    resolution: Resolution | None,
) -> ClassSegmentation:
    """`scenes.pipeline.segment_scene` put together."""
    shape = scene.grid.height, scene.grid.width
    class_map, probability = np.zeros(shape, np.uint16), np.zeros(shape, np.float32)
    margins, seconds = 0.0, dict[str, float]()
    with classes.timed(seconds, "windows"):
        for block in segment_scene(scene, labels, model, parameters, resolution=resolution):
            height, width = block.classes.shape
            place = (
                slice(block.row, block.row + height), slice(block.column, block.column + width),
            )  # fmt: skip
            class_map[place], probability[place] = block.classes, block.probability
            margins += float(_margin(block.scores).sum())
    segments = []
    for number, label in enumerate(labels, start=1):
        mask = class_map == number
        if mask.any():
            segments.append(Segment(label.name, float(probability[mask].mean()), mask))
    margin = margins / class_map.size
    return ClassSegmentation(tuple(segments), class_map, probability, seconds, parameters, margin)


def _margin(scores: Floats) -> Floats:
    """(h, w) p(best class) − p(second) of (h, w, C)."""
    if scores.shape[2] == 1:
        return scores[..., 0]
    second, best = np.moveaxis(np.partition(scores, -2, axis=2)[..., -2:], 2, 0)
    return np.asarray(best - second, dtype=np.float32)


# ---- places


class _Pixels:
    """From what somebody points with to pixels.

    Args:
        grid: of the image.
        crs: of the coordinates; None: they are pixels already.

    Raises:
        InputError: no such CRS, or an image that has no place.
    """

    def __init__(self, grid: Grid, crs: str | None) -> None:
        self._grid, self._crs = grid, None
        if crs is None:
            return
        try:
            self._crs = CRS.from_user_input(crs)
        except CRSError as error:
            raise InputError(f'{crs!r} is no CRS: give one such as "EPSG:4326"') from error
        if grid.crs is None or grid.transform is None:
            raise InputError(
                f"coordinates of {crs} need an image with a CRS and a transform: give a GeoTIFF, "
                "or the places in pixels"
            )

    def of(self, places: Floats64) -> Floats:
        """(n, 2) x and y → (n, 2) float32, pixels."""
        if self._crs is not None and len(places):
            assert self._grid.transform is not None
            inverse = ~self._grid.transform
            x, y = moved(places, self._crs, self._grid.crs).T
            columns, rows = inverse @ (x, y)
            places = np.stack([columns, rows], axis=1)
        return places.astype(np.float32)

    def of_box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Around the four corners: left, top, right, bottom, pixels."""
        if self._crs is None:
            return box
        west, south, east, north = box
        corners = [(west, south), (west, north), (east, south), (east, north)]
        pixels = self.of(np.array(corners, dtype=np.float64))
        (left, top), (right, bottom) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        return left, top, right, bottom


def _places(name: str, given: ArrayLike) -> Floats64:
    """Points as (n, 2) float64.

    Raises:
        InputError: they have another shape.
    """
    places = np.asarray(given, dtype=np.float64)
    if not places.size:
        return np.zeros((0, 2), dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise InputError(f"{name} has the shape {places.shape}: give (n, 2), x and y of each")
    return places
