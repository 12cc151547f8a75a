"""Cross-Scale Grad-CAM: where the model finds what a text says.

[paper] Grad-CAM maps refined "using contextual information from global modifiers". [ours] "scale"
is semantic: one map for the class noun, one for the whole expression, so that the many words of a
sentence do not dilute the one that names the target; fused,

    CAM = norm(CAM_local ⊙ (1 + η · CAM_global)),  norm = min-max.

Each map is Grad-CAM (Selvaraju et al., arXiv 1610.02391) as CLIP-ES has it (arXiv 2212.09506): the
activations A are what the last block's first LayerNorm gives on the patch grid (of a ResNet: the
feature map before the pooling), the score y is the softmax of the text among others, α is
the spatial mean of ∂y/∂A, and CAM = ReLU(Σ α · A).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip import features
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.tiling import tiled
from dgl_rsis.clip.towers import Tower
from dgl_rsis.types import RGB, Floats


@dataclass(frozen=True)
class CamParameters:
    """How the maps are made.

    Attributes:
        eta: η, how much the expression's map lifts the noun's.
        temperature: τ of the softmax over cosines; None for the model's own.
        side: S of a tile, pixels, a multiple of the patch; None for the tiles of the dense pass, or
            for a crop where the whole image fits into one.
        overlap: share of a tile that its neighbour covers again, [0, 1).
        batch: pixels of `batch` crops are encoded at a time; does not change the answer.
    """

    eta: float = 1.0
    temperature: float | None = None
    side: int | None = None
    overlap: float = 0.25
    batch: int = 64


@dataclass(frozen=True)
class CrossScaleCam:
    """The maps of an expression; each (H, W) float32 in [0, 1].

    Attributes:
        local: of the class noun.
        global_: of the whole expression.
        fused: of both.
    """

    local: Floats
    global_: Floats
    fused: Floats


def cross_scale(
    clip: ClipModel,
    image: RGB,
    noun: Tensor,
    expression: Tensor,
    others: Tensor,
    parameters: CamParameters | None = None,
    dense: DenseFeatures | None = None,
) -> CrossScaleCam:
    """The local, the global and the fused map.

    Args:
        clip: the model.
        image: (H, W, 3) uint8.
        noun: (D,) float32, L2 norm 1.
        expression: (D,) float32, L2 norm 1.
        others: (M, D) float32, L2 norm 1: what else there may be; either text has to win against
            these. Without any the score is the cosine alone.
        parameters: default `CamParameters()`.
        dense: of the image; its states are not computed again where the tiles are the same.
    """
    parameters = parameters or CamParameters()
    targets = torch.stack([noun, expression])
    local, whole = normalised(activations(clip, image, targets, others, parameters, dense))
    fused = normalised((local * (1 + parameters.eta * whole))[None])[0]
    return CrossScaleCam(local.numpy(), whole.numpy(), fused.numpy())


def activations(
    clip: ClipModel,
    image: RGB,
    targets: Tensor,
    others: Tensor,
    parameters: CamParameters,
    dense: DenseFeatures | None = None,
) -> Tensor:
    """Grad-CAM of several texts at once, not yet normalised: one forward pass, T backward.

    Only the last block is run back and forth, and of that only what the class token asks for.

    An image larger than a tile is run tile by tile, and the tiles are blended before the min-max
    [ours]: normalised one by one, a tile without the target would show its noise as brightly as
    another the target. For the same reason ∂y/∂A is divided by 1 − y. Within a tile this is a
    constant, so a single tile has the same map after the min-max; but ∂y/∂A alone fades as
    y (1 − y) where the model is sure, and would leave the surest tiles dark.

    Args:
        clip: the model.
        image: (H, W, 3) uint8.
        targets: (T, D) float32, L2 norm 1.
        others: (M, D) float32, L2 norm 1.
        parameters: of the maps.
        dense: see `cross_scale`.

    Returns:
        (T, H, W) float32 ≥ 0 on the CPU, bilinear between the patches' middles.
    """
    fits = max(image.shape[:2]) <= clip.crop_side
    side = parameters.side or (clip.crop_side if fits else clip.dense_side)
    tiling = tiled(image, side, clip.patch, parameters.overlap)
    temperature = parameters.temperature or clip.temperature
    same = side == clip.dense_side and parameters.overlap == features.OVERLAP
    # Autograd takes no tensors of inference mode, which texts commonly are: the clones are plain.
    with torch.inference_mode(False), torch.enable_grad():
        targets, others = targets.clone(), others.clone()
        if same and dense is not None and dense.states is not None:
            at_once = features.tiles_at_once(clip, tiling, parameters.batch)
            parts: Iterable[Tensor] = (part.to(clip.device) for part in dense.states.split(at_once))
        else:
            parts = features.states_of(clip, tiling, parameters.batch)
        maps = (_maps(clip.tower, targets, others, temperature, part) for part in parts)
        cells = features.blended(clip, tiling, maps)  # (h, w, T)
        planes = cells.permute(2, 0, 1)[None].cpu()  # (1, T, h, w)
        large = F.interpolate(planes, scale_factor=clip.patch, mode="bilinear")[0]
    return large[:, : image.shape[0], : image.shape[1]]


def normalised(maps: Tensor) -> Tensor:
    """Each map stretched to [0, 1]; a constant one becomes 0: (T, H, W) → (T, H, W)."""
    least = maps.amin(dim=(1, 2), keepdim=True)
    span = maps.amax(dim=(1, 2), keepdim=True) - least
    return (maps - least) / torch.where(span > 0, span, 1)


def _maps(
    tower: Tower,
    targets: Tensor,
    others: Tensor,
    temperature: float,
    states: Tensor,
) -> Tensor:
    """Grad-CAM of each tile: `Tower.before_last` of B tiles → (B, h, w, T).

    No hooks: the tower is split at the activations, so nothing has to be cleaned up, no parameter
    gets a gradient, and threads may share the model. K · α, the sum over the patches of ∂y/∂A, is
    the gradient by one vector that is added to all of them.
    """
    with torch.no_grad():
        values, finish = tower.split(states)  # (B, K, E)
    added = values.new_zeros(len(values), 1, values.shape[2], requires_grad=True)
    scores = _scores(F.normalize(finish(added), dim=-1), targets, others, temperature)  # (T,)
    maps = []
    for score in scores:
        (gradient,) = torch.autograd.grad(score, added, retain_graph=True)  # (B, 1, E)
        alpha = gradient[:, 0] / values.shape[1]  # (B, E)
        maps.append((values @ alpha[:, :, None])[..., 0].relu())  # (B, K)
    grid = round(values.shape[1] ** 0.5)
    return torch.stack(maps, dim=-1).reshape(len(states), grid, grid, -1)


def _scores(embedded: Tensor, targets: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Σ over tiles of −log(1 − y), whose gradient is ∂y/∂A / (1 − y): (B, D) → (T,).

    y is the softmax of a target among the others, so −log(1 − y) is the softplus of its lead.
    """
    logits = temperature * embedded @ targets.T  # (B, T)
    if len(others) == 0:
        return logits.sum(dim=0)
    rivals = (temperature * embedded @ others.T).logsumexp(dim=1, keepdim=True)  # (B, 1)
    return F.softplus(logits - rivals).sum(dim=0)
