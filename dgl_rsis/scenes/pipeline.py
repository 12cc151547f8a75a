"""Classes of a scene of any size, window by window, with memory that its area does not change.

[ours] What a place gets must not depend on where windows are cut. So windows lie on a grid on which
the dense pass sees each place through the same tiles; the cuts of the region hierarchy are the same
everywhere (`scenes.regions`); only the inner part of a window counts where two overlap; and there
the class probabilities are blended before the best class is chosen.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from dgl_rsis import masks
from dgl_rsis.classes import indices, pipeline, vocabulary
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.classes.vocabulary import Vocabulary
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.tiling import tiled
from dgl_rsis.masks import Cover, DrawnMasks
from dgl_rsis.regions import proposals
from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes import blending, regions
from dgl_rsis.scenes.blending import Axis, Blender, Block
from dgl_rsis.scenes.cells import Cells
from dgl_rsis.scenes.reading import Scene
from dgl_rsis.scenes.regions import Kept
from dgl_rsis.types import RGB, Floats, InputError, Label, Mask, Proposals

SAMPLE_SIDE = 512  # pixels
SMALL_SCENE = 10**7  # pixels; larger scenes can afford more samples
LEAST_VALID = 0.5  # share of a sample
USUAL_OVERLAP = 224  # pixels

Propose = Callable[[RGB], Proposals]
Progress = Callable[[int, int], None]
Place = tuple[int, int]  # row and column of a window, counted in windows


@dataclass(frozen=True)
class WindowParameters:
    """How a scene is cut.

    Attributes:
        side: of a window, pixels, at most. Memory grows with its square; smaller ones take longer,
            since more of them is seen twice.
        overlap: of two windows, pixels, at least; None for 224, or less where windows are small.
        context: share of an overlap, half of it at each end, where a window does not count.
        surroundings: further pixels on all sides that regions grow into before they are cut at the
            window: this is cheaper than more overlap.
    """

    side: int = 1536
    overlap: int | None = None
    context: float = 0.3
    surroundings: int = 64


@dataclass(frozen=True)
class SceneBlock:
    """A finished part of the scene.

    Attributes:
        row: of its first pixel.
        column: of its first pixel.
        classes: (h, w) uint16; 0 = none or not valid, i = the i-th label.
        probability: (h, w) float32 in [0, 1], of the best class; 0 where nothing is valid.
        valid: (h, w) bool.
        scores: (h, w, C) float32, probabilities of all classes, those of the labels first; 0 where
            nothing is valid.
    """

    row: int
    column: int
    classes: NDArray[np.uint16]
    probability: Floats
    valid: Mask
    scores: Floats


@dataclass(frozen=True)
class SceneWork:
    """A scene, and by what each of its windows is judged.

    Attributes:
        scene: an open raster.
        words: the vocabulary, ready to be looked for.
        clip: the model.
        parameters: of the classes.
        windows: how the scene is cut.
        propose: masks of a window; None for the hierarchy of regions with the scene's own cuts.
        resolution: of all windows; None where nobody knows it.
        costs: where the hierarchy of regions is cut; none where a window is cut as an image.
    """

    scene: Scene
    words: Vocabulary
    clip: ClipModel
    parameters: OvssParameters
    windows: WindowParameters
    propose: Propose | None
    resolution: Resolution | None
    costs: tuple[float, ...]

    @cached_property
    def plan(self) -> "_Plan":
        """Where the windows lie."""
        rows, columns = _axes(self.scene, self.clip, self.windows)
        inner = rows.inner(self.windows.context), columns.inner(self.windows.context)
        return _Plan((rows, columns), inner, self.windows.surroundings if self.costs else 0)

    def places(self) -> Iterator[Place]:
        """Row and column of every window, counted in windows, in the order they are blended."""
        return blending.places(*self.plan.inner)

    def area(self, place: Place) -> tuple[int, int, int, int]:
        """The part of a window that counts: first column, first row, width, height; pixels."""
        kept = _area(*self.plan.inner, *place)
        return kept.left, kept.top, kept.right - kept.left, kept.bottom - kept.top

    def judge(self, place: Place) -> Cells | None:
        """What a window says of the part of it that counts; None where nothing is valid.

        Raises:
            IndexError: there is no such window.
            InputError: a damaged file.
        """
        shot = _shot(self.scene, self.plan, *place)
        if shot is None or not shot.valid[shot.kept.slices].any():
            return None
        # In one breath: the masks of a window must be gone before those of the next are made.
        return _cells(_encoded(shot, self), shot, self)


# Who judges the windows of a scene: in the order of its places, None for what says nothing.
Judge = Callable[[SceneWork], Generator[Cells | None, None, None]]


def prepare(
    scene: Scene,
    words: Vocabulary,
    clip: ClipModel,
    parameters: OvssParameters,
    windows: WindowParameters,
    propose: Propose | None = None,
    resolution: Resolution | None = None,
    costs: tuple[float, ...] | None = None,
) -> SceneWork:
    """What is decided once for all windows of a scene.

    Args:
        scene: an open raster.
        words: the vocabulary.
        clip: the model.
        parameters: of the classes.
        windows: how to cut.
        propose: masks of a window; None for the hierarchy of regions with the scene's own cuts.
        resolution: of all windows; None for the scene's own, which its place says.
        costs: where another one that prepared the same scene cut; None to find it out.

    Raises:
        InputError: a scene or windows too small, or a damaged file.
    """
    # Masks at full size: in a window that is shrunk, regions would be larger than in another.
    whole = max(parameters.regions.max_side, windows.side + 2 * windows.surroundings)
    parameters = replace(parameters, regions=replace(parameters.regions, max_side=whole))
    known = resolution or scene.grid.resolution
    work = SceneWork(scene, words, clip, parameters, windows, propose, known, costs or ())
    rows, columns = work.plan.windows
    if costs is None and propose is None and len(rows) * len(columns) > 1:
        return replace(work, costs=regions.limits(_samples(scene), parameters.regions))
    return work


def segment_scene(
    scene: Scene,
    labels: Sequence[Label],
    clip: ClipModel,
    parameters: OvssParameters | None = None,
    windows: WindowParameters | None = None,
    propose: Propose | None = None,
    progress: Progress | None = None,
    resolution: Resolution | None = None,
    judge: Judge | None = None,
) -> Generator[SceneBlock, None, None]:
    """Segment a scene; blocks come row by row and together cover it once.

    Args:
        scene: an open raster.
        labels: the vocabulary; names are distinct.
        clip: the model.
        parameters: default `OvssParameters()`.
        windows: default `WindowParameters()`.
        propose: masks of a window; None for the hierarchy of regions with the scene's own cuts.
        progress: called with the pixels that are done and those of the whole scene.
        resolution: of all windows; None for the scene's own, which its place says.
        judge: judges the windows elsewhere; None for here, one after the other.

    Raises:
        InputError: no labels, a name twice, a scene or windows too small, or a damaged file.
    """
    parameters, windows = parameters or OvssParameters(), windows or WindowParameters()
    words = vocabulary.prepare(labels, clip, enrich=parameters.knowledge)
    work = prepare(scene, words, clip, parameters, windows, propose, resolution)
    done, total = 0, scene.grid.width * scene.grid.height
    with (
        Blender(*work.plan.inner, len(words.asked)) as blender,
        closing((judge or _judged)(work)) as judged,
    ):
        for (row, column), cells in zip(work.places(), judged, strict=True):
            scores = None if cells is None else cells.scores
            block = _finished(blender.add(row, column, scores), words, work.parameters)
            yield block
            done += block.classes.size
            if progress:
                progress(done, total)


def _judged(work: SceneWork) -> Generator[Cells | None, None, None]:
    """All windows, judged here."""
    return (work.judge(place) for place in work.places())


@dataclass(frozen=True)
class _Plan:
    """Where the windows of a scene lie.

    Attributes:
        windows: along the height and along the width.
        inner: the same, of their parts that count.
        around: pixels that are read around a window for its regions.
    """

    windows: tuple[Axis, Axis]
    inner: tuple[Axis, Axis]
    around: int


@dataclass(frozen=True)
class _Shot:
    """What was read for a window.

    Attributes:
        image: (H', W', 3) uint8, the window and its surroundings; what is not valid has the mean
            colour of the rest.
        window: the window, in pixels of `image`.
        valid: (H, W) bool, of the window.
        kept: the part of the window that counts, in pixels of the window.
        indices: (H, W) float32 in [-1, 1] of each spectral index that the scene's bands allow, NaN
            where it is not defined.
    """

    image: RGB
    window: Kept
    valid: Mask
    kept: Kept
    indices: Mapping[str, Floats]


def _shot(scene: Scene, plan: _Plan, row: int, column: int) -> _Shot | None:
    """None where the file has a hole."""
    window, kept = _area(*plan.windows, row, column), _area(*plan.inner, row, column)
    width, height = kept.right - kept.left, kept.bottom - kept.top
    if scene.is_blank(kept.left, kept.top, width, height):
        return None
    top, left = max(0, window.top - plan.around), max(0, window.left - plan.around)
    bottom = min(scene.grid.height, window.bottom + plan.around)
    right = min(scene.grid.width, window.right + plan.around)
    image, valid = scene.read(left, top, right - left, bottom - top)
    if valid.any() and not valid.all():
        image = image.copy()
        image[~valid] = image[valid].mean(axis=0).astype(np.uint8)
    inside = window.seen_from(-top, -left)
    return _Shot(
        image,
        inside,
        valid[inside.slices],
        kept.seen_from(-window.top, -window.left),
        _indices(scene, window),
    )


def _indices(scene: Scene, window: Kept) -> dict[str, Floats]:
    width, height = window.right - window.left, window.bottom - window.top
    return indices.indices(scene.spectrum(window.left, window.top, width, height))


def _area(rows: Axis, columns: Axis, row: int, column: int) -> Kept:
    """A window, in pixels of the scene."""
    return Kept(rows.starts[row], rows.ends[row], columns.starts[column], columns.ends[column])


def _axes(scene: Scene, clip: ClipModel, windows: WindowParameters) -> tuple[Axis, Axis]:
    """Windows along the height and along the width."""
    grid, tile = scene.grid, clip.dense_side
    if min(grid.width, grid.height) < pipeline.MIN_SIDE:
        raise InputError(
            f"{scene.name} has {grid.width} × {grid.height} pixels; at least "
            f"{pipeline.MIN_SIDE} × {pipeline.MIN_SIDE} are needed"
        )
    probe = np.zeros((1, 2 * tile, 3), dtype=np.uint8)
    step = tiled(probe, tile, clip.patch, features.OVERLAP).starts[1][1] * clip.patch
    overlap = windows.overlap
    if overlap is None:
        overlap = min(USUAL_OVERLAP, blending.widest_overlap(windows.side, tile, step))
    rows, columns = (
        blending.axis(length, windows.side, overlap, tile, step)
        for length in (grid.height, grid.width)
    )
    return rows, columns


def _samples(scene: Scene) -> Iterator[RGB]:
    """Parts of the scene, spread evenly; their places depend on its size alone."""
    grid = scene.grid
    per_side = 2 if grid.width * grid.height <= SMALL_SCENE else 4
    height, width = min(SAMPLE_SIDE, grid.height), min(SAMPLE_SIDE, grid.width)
    for i in range(per_side):
        for j in range(per_side):
            row = (grid.height - height) * (2 * i + 1) // (2 * per_side)
            column = (grid.width - width) * (2 * j + 1) // (2 * per_side)
            image, valid = scene.read(column, row, width, height)
            if valid.mean() >= LEAST_VALID:
                yield image


def _encoded(shot: _Shot, work: SceneWork) -> EncodedImage:
    """A window and its masks; what is not valid is in none of them."""
    window, parameters = shot.window, work.parameters
    image = shot.image[window.slices]
    if work.propose is not None:
        proposed = work.propose(image)
    elif work.costs:
        kept = shot.kept.seen_from(window.top, window.left)
        proposed = regions.propose(shot.image, parameters.regions, work.costs, window, kept)
    else:
        proposed = proposals.propose(image, parameters.regions)
    encoded = pipeline.encode_proposed(
        image, _only(proposed, shot.valid), work.clip, parameters, {}, resolution=work.resolution
    )
    return replace(encoded, indices=shot.indices)


def _only(proposed: Proposals, valid: Mask) -> Proposals:
    """Masks without what is not valid; those that nothing is left of are dropped."""
    if valid.all():
        return proposed
    h, w = proposed.masks.shape[1:]
    rows = np.arange(h) * proposed.height // h
    columns = np.arange(w) * proposed.width // w
    inside = valid[rows[:, None], columns]
    cell, members = masks.cover(proposed.masks, proposals.boxes_of_masks(proposed))
    beyond = members.shape[1]  # a cell that no mask holds
    cell = np.where(inside, cell, beyond).astype(np.int32)
    members = np.pad(members, ((0, 0), (0, 1)))  # (N, U + 1)
    seen = members[:, np.bincount(cell.reshape(-1), minlength=beyond + 1) > 0].any(axis=1)
    return replace(
        proposed,
        masks=cast(Mask, DrawnMasks(Cover(cell, members[seen]))),  # indexed as an array is
        boxes=proposed.boxes[seen],
        quality=proposed.quality[seen],
    )


def _cells(encoded: EncodedImage, shot: _Shot, work: SceneWork) -> Cells:
    """Of the kept part."""
    semantic = pipeline.pixel_classes(encoded, work.words, work.clip, work.parameters, {})
    kept = shot.kept.slices
    cell = encoded.proposed.at_full_size(semantic.cell)[kept]
    return Cells.of(semantic.classes, cell, shot.valid[kept])


def _finished(block: Block, words: Vocabulary, parameters: OvssParameters) -> SceneBlock:
    if block.empty:
        plane = block.scores[..., 0]  # of zeros that take no memory
        return SceneBlock(
            block.row, block.column, plane.astype(np.uint16), plane, plane > 0, block.scores
        )
    scores = torch.from_numpy(block.scores)
    valid: Mask = (scores.sum(dim=2) > 0.5).numpy()  # 1 or 0, but for rounding
    most = scores.max(dim=2)
    best, probability = most.indices.numpy().astype(np.uint16), most.values.numpy()
    classes = words.labelled(best, probability, parameters.threshold)
    classes[~valid] = 0
    return SceneBlock(block.row, block.column, classes, probability, valid, block.scores)
