"""CLIP features of texts, of crops and of masks.

[paper] mask-guided visual features. [ours] v_i = β · v_mask,i + (1 − β) · v_crop,i, where v_crop is
the embedding of the context-aware crop and v_mask pools the value projections of the last block
over the mask (TextRegion, MIT: "mask-weighted value pooling"), all masks from one dense pass.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip import pixel_features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_features import PixelFeatures
from dgl_rsis.clip.tiling import Tiling, pyramid, tiled
from dgl_rsis.masks import Boxes, Cover, cover
from dgl_rsis.resolution import Resolution, plausible
from dgl_rsis.types import RGB, Mask

FACTORS = (0.5, 0.25)  # of the smaller sizes that an image is seen at, too
LEAST_SIDE = 48  # pixels; a smaller image has nothing left to see
OVERLAP = 0.25  # share of a tile that its neighbour covers again
PIXEL_SHARE = 1.0  # measured on Dubai tile 5 and generated scenes (docs/LOG.md)
MOST_KEPT = 2**26  # bytes of the tiles' states; more are made anew when they are asked for


@dataclass(frozen=True)
class DenseFeatures:
    """What one pass over the image leaves for every mask to be pooled from.

    Attributes:
        values: (h, w, E) float32, value projections of the last block, one a patch; None where
            nothing reads patches.
        height, width: of the image, pixels.
        patch: side of a patch, pixels; the grid covers h · patch ≥ height rows.
        states: float32, `Tower.before_last` of all tiles, perhaps on the CPU; None where they are
            too many to be kept.
        pixels: of the model's pixel tower; None where it has none.
        smaller: the same of the image made smaller, the largest first.
    """

    values: Tensor | None
    height: int
    width: int
    patch: int
    states: Tensor | None = None
    pixels: PixelFeatures | None = None
    smaller: tuple["DenseFeatures", ...] = ()

    @property
    def levels(self) -> tuple["DenseFeatures", ...]:
        """This and the smaller ones, the largest first."""
        return (self, *self.smaller)

    @property
    def pixel_levels(self) -> list["PixelFeatures"]:
        """What the pixel tower says at each level; empty where the model has none."""
        return [level.pixels for level in self.levels if level.pixels is not None]

    @property
    def resolution(self) -> Resolution | None:
        """As the picture looks; None where the model cannot tell."""
        if self.pixels is None:
            return None
        mean, spread = self.pixels.scale.tolist()
        return plausible(math.exp(mean), "picture", math.exp(spread))

    @property
    def factors(self) -> tuple[float, ...]:
        """Of the levels, the first is 1."""
        return tuple(level.width / self.width for level in self.levels)


def text_features(clip: ClipModel, phrases: Sequence[Sequence[str]]) -> Tensor:
    """One direction for each phrase: the mean over its prompts.

    Args:
        clip: the model.
        phrases: for each phrase the prompts that ask for it; at least one each.

    Returns:
        (P, D) float32, L2 norm 1.
    """
    prompts = [prompt for group in phrases for prompt in group]
    with torch.inference_mode():
        tokens = clip.tokenizer(prompts).to(clip.device)
        encoded = F.normalize(clip.model.encode_text(tokens).float(), dim=-1)  # (prompts, D)
    owner = torch.repeat_interleave(
        torch.arange(len(phrases)), torch.tensor([len(group) for group in phrases])
    ).to(clip.device)
    sums = encoded.new_zeros(len(phrases), encoded.shape[1]).index_add_(0, owner, encoded)  # (P, D)
    return F.normalize(sums, dim=-1)  # (P, D)


def crop_features(clip: ClipModel, crops: Tensor, batch: int) -> Tensor:
    """Embeddings of square crops.

    Args:
        clip: the model.
        crops: (N, 3, S, S) float32 in [0, 1], S = `clip.crop_side`.
        batch: crops encoded at a time.

    Returns:
        (N, D) float32, L2 norm 1.
    """
    with torch.inference_mode():
        parts = []
        for part in crops.split(batch):
            shown = standardised(clip, part)
            with clip.in_precision():
                parts.append(clip.model.encode_image(shown))
        return F.normalize(torch.cat(parts).float(), dim=-1)  # (N, D)


def dense_features(
    clip: ClipModel,
    image: RGB,
    batch: int,
    overlap: float = OVERLAP,
    factors: Sequence[float] = FACTORS,
    *,
    patches: bool = True,
) -> DenseFeatures:
    """Run the image through the model, at its own size and smaller.

    The image tower reads tiles of `clip.dense_side`, which overlap; where they do, the values are
    averaged with weights that fall towards a tile's edge, where a patch sees less of its
    surroundings. The image is extended by reflection to whole patches.

    Args:
        clip: the model.
        image: (H, W, 3) uint8.
        batch: pixels of `batch` crops are encoded at a time.
        overlap: share of a tile that its neighbour covers again, [0, 1).
        factors: of the sizes that it is seen at beside its own, in (0, 1); those that would leave
            less than `LEAST_SIDE` pixels are left out. 1/2 and 1/4 are 5/16 more work.
        patches: run the image tower. Where the pixel tower alone is asked, as by default, nobody
            reads what it says; it would be half of the work.
    """
    height, width = image.shape[:2]
    # Whoever goes on from the states goes on from those of the image's own size.
    smaller = tuple(
        replace(
            dense_features(clip, _shrunk(image, factor), batch, overlap, (), patches=patches),
            states=None,
        )
        for factor in factors
        if min(height, width) * factor >= LEAST_SIDE
    )
    values, states = _patches(clip, image, batch, overlap) if patches else (None, None)
    pixels = pixel_features.pixel_features(clip, image)
    return DenseFeatures(values, height, width, clip.patch, states, pixels, smaller)


def _patches(
    clip: ClipModel, image: RGB, batch: int, overlap: float
) -> tuple[Tensor, Tensor | None]:
    """Values, and the states where they are few enough to be kept."""
    tiling = tiled(image, clip.dense_side, clip.patch, overlap)
    kept: list[Tensor] = []

    def tile_values() -> Iterator[Tensor]:
        for states in states_of(clip, tiling, batch):
            if _may_be_kept(states, tiling):
                kept.append(states)
            yield clip.tower.values(states)

    with torch.no_grad():
        values = blended(clip, tiling, tile_values())  # (h, w, E)
    return values, torch.cat(kept) if kept else None


def kept_states(clip: ClipModel, image: RGB, batch: int) -> Tensor | None:
    """`DenseFeatures.states` of an image whose patches were not read; None where they are many."""
    tiling = tiled(image, clip.dense_side, clip.patch, OVERLAP)
    kept = []
    for states in states_of(clip, tiling, batch):
        if not _may_be_kept(states, tiling):
            return None
        kept.append(states)
    return torch.cat(kept)


def _may_be_kept(states: Tensor, tiling: Tiling) -> bool:
    """All tiles, or none."""
    return states[0].nbytes * len(tiling.starts) <= MOST_KEPT


def _shrunk(image: RGB, factor: float) -> RGB:
    """An image made smaller: each pixel is the mean of those that it covers."""
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def tiles_at_once(clip: ClipModel, tiling: Tiling, batch: int) -> int:
    """How many tiles have the pixels of `batch` crops."""
    return max(1, batch * clip.crop_side**2 // (tiling.cells * tiling.patch) ** 2)


def states_of(clip: ClipModel, tiling: Tiling, batch: int) -> Iterator[Tensor]:
    """`Tower.before_last` of all tiles in order, without gradients.

    Args:
        clip: the model.
        tiling: of the image.
        batch: pixels of `batch` crops are encoded at a time.
    """
    count = tiles_at_once(clip, tiling, batch)
    for first in range(0, len(tiling.starts), count):
        tiles = tiling.cut(tiling.starts[first : first + count]).to(clip.device) / 255
        shown = standardised(clip, tiles)
        with torch.no_grad(), clip.in_precision():
            states = clip.tower.before_last(shown)
        yield states.float()


def blended(clip: ClipModel, tiling: Tiling, parts: Iterable[Tensor]) -> Tensor:
    """What is said of every patch of the tiles, averaged where they overlap.

    The weights fall towards a tile's edge, where a patch sees less of its surroundings.

    Args:
        clip: the model.
        tiling: of the image.
        parts: (B, t, t, X) float32 of the next B tiles each, until all have their turn.

    Returns:
        (h, w, X) float32.
    """
    side, patch = tiling.cells, tiling.patch
    window = pyramid(side).to(clip.device)  # (t, t, 1)
    rows, columns = tiling.pixels.shape[1] // patch, tiling.pixels.shape[2] // patch
    total: Tensor | None = None
    weight = torch.zeros(rows, columns, 1, device=clip.device)
    every = (value for part in parts for value in part)
    for (top, left), value in zip(tiling.starts, every, strict=True):
        if total is None:
            total = value.new_zeros(rows, columns, value.shape[-1])
        area = (slice(top, top + side), slice(left, left + side))
        total[area] += value * window
        weight[area] += window
    assert total is not None
    return (total / weight)[: tiling.rows, : tiling.columns]  # without what a small image lacked


def patch_values(clip: ClipModel, tiles: Tensor) -> Tensor:
    """Value projections of the last block, or of a ResNet's attention pool, for every patch.

    Args:
        clip: the model.
        tiles: (B, 3, S, S) float32, standardised; S a multiple of the patch.

    Returns:
        (B, h, w, E) float32.
    """
    return clip.tower.values(clip.tower.before_last(tiles))


def pool(clip: ClipModel, values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of value projections, through the rest of the tower.

    Args:
        clip: the model.
        values: (..., K, E) float32.
        weights: (..., N, K) float32 ≥ 0; rows of zeros give an arbitrary direction.

    Returns:
        (..., N, D) float32, L2 norm 1.
    """
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
    means = weights @ values  # (..., N, E)
    return F.normalize(clip.tower.pooled(means), dim=-1)  # (..., N, D)


def mask_features(
    clip: ClipModel,
    dense: DenseFeatures,
    masks: Mask,
    pixel_share: float = PIXEL_SHARE,
    known: Cover | None = None,
) -> Tensor:
    """Features of masks by mask-weighted value pooling, and by the pixel tower's means over them.

    Args:
        clip: the model.
        dense: of the image.
        masks: (N, H, W) bool, none empty, or smaller ones of the same proportions.
        pixel_share: weight of the pixel tower's features, [0, 1], where the image has some.
        known: which masks lie on each pixel; None to find out where that is needed.

    Returns:
        (N, D) float32, L2 norm 1.
    """
    if dense.pixels is None or pixel_share == 0:
        return _pooled_patches(clip, dense, masks)
    by_pixel = pixel_features.pooled_pixels(clip, dense.pixels, masks, known)
    if pixel_share == 1:
        return by_pixel
    by_patch = _pooled_patches(clip, dense, masks)
    return F.normalize(pixel_share * by_pixel + (1 - pixel_share) * by_patch, dim=-1)


def pyramid_features(
    clip: ClipModel,
    dense: DenseFeatures,
    masks: Mask,
    pixel_share: float = PIXEL_SHARE,
    boxes: Boxes | None = None,
) -> Tensor:
    """`mask_features` at every size that the image was seen at: (K, N, D) float32, L2 norm 1.

    Args:
        clip: the model.
        dense: of the image.
        masks: as there.
        pixel_share: as there.
        boxes: (N, 4) XYXY pixels that nothing of a mask lies outside of: saves time.
    """
    known = cover(masks, boxes) if dense.pixels is not None and pixel_share > 0 else None
    every = [mask_features(clip, x, masks, pixel_share, known) for x in dense.levels]
    return torch.stack(every)


def _pooled_patches(clip: ClipModel, dense: DenseFeatures, masks: Mask) -> Tensor:
    assert dense.values is not None
    rows, columns = dense.height / dense.patch, dense.width / dense.patch
    weights = patch_weights(masks, rows, columns).to(clip.device)  # (N, h, w)
    with torch.inference_mode():
        return pool(clip, dense.values.flatten(0, 1), weights.flatten(1))


def patch_features(clip: ClipModel, dense: DenseFeatures) -> Tensor:
    """The dense patch map: every patch pooled alone.

    Returns:
        (h, w, D) float32, L2 norm 1.
    """
    assert dense.values is not None
    rows, columns, width = dense.values.shape
    values = dense.values.reshape(rows * columns, 1, width)  # (K, 1, E): each a set of one
    with torch.inference_mode():
        alone = pool(clip, values, values.new_ones(rows * columns, 1, 1))  # (K, 1, D)
    return alone.reshape(rows, columns, -1)


def patch_weights(masks: Mask, rows: float, columns: float) -> Tensor:
    """How much of each patch a mask covers.

    Args:
        masks: (N, H, W) bool.
        rows: patches that the masks' height spans; the last may be cut.
        columns: the same of their width.

    Returns:
        (N, h, w) float32 ≥ 0, h = ⌈rows⌉, w = ⌈columns⌉; the same for all masks but for a factor.
    """
    count, height, width = masks.shape
    down, across = _shares(height, rows), _shares(width, columns)  # (h, H), (w, W)
    weights = torch.empty(count, len(down), len(across))
    for i, mask in enumerate(masks):  # one at a time: N float masks would not fit in memory
        high, wide = _span(mask.any(axis=1)), _span(mask.any(axis=0))
        shown = torch.from_numpy(mask[high, wide]).float()
        weights[i] = down[:, high] @ shown @ across[:, wide].T
    return weights


def _span(seen: Mask) -> slice:
    """From the first to the last of them; nothing where there is none."""
    indices = np.flatnonzero(seen)
    return slice(indices[0], indices[-1] + 1) if len(indices) else slice(0, 0)


def _shares(pixels: int, patches: float) -> Tensor:
    """(⌈patches⌉, pixels) float32: the share of each pixel in each patch along one axis."""
    edges = torch.arange(pixels + 1) * (patches / pixels)  # of the pixels, in patches
    patch = torch.arange(math.ceil(patches))[:, None]  # (⌈patches⌉, 1)
    return (edges[1:].clamp(max=patch + 1) - edges[:-1].clamp(min=patch)).clamp(min=0).float()


def standardised(clip: ClipModel, images: Tensor) -> Tensor:
    """Images in [0, 1] as the model was trained to see them: (B, 3, S, S) float32."""
    mean = images.new_tensor(clip.mean)[:, None, None]
    return (images - mean) / images.new_tensor(clip.std)[:, None, None]
