"""A small convolutional tower beside a CLIP model: a feature for every other pixel, in its space.

[ours] A vision transformer sees a storage tank of ten pixels in one patch or two. Like SegEarth-OV,
which sharpens CLIP's map with a learnt upsampler, and like LSeg, which aligns the pixels of a
convolutional decoder with CLIP's texts, a second tower tells where things end. It is optional: it
lies beside the weights that it was trained for, and without it the patches alone are asked.
"""

from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_rsis.weights.checkpoints import ModelError, load_state

STRIDE = 2  # pixels between neighbouring features
COARSEST = 8  # pixels between the cells of the coarsest level
REACH = 112  # pixels; nothing farther away has a say in a feature
BLOCKS = 2  # residual ones at the coarsest level, of a new tower


class PixelTower(nn.Module):
    """Patch features and the image at three resolutions, from coarse to fine.

    Args:
        dimensions: D, of the CLIP model's space.
        rank: R, of the subspace that the features lie in.
        width: channels of the finest level.
        blocks: residual ones at the coarsest level.
    """

    def __init__(
        self, dimensions: int, rank: int = 32, width: int = 32, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        inputs = [3, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_layer(i, o, stride=2), _layer(o, o))
            for i, o in zip(inputs, widths, strict=True)
        )
        deep = widths[-1]
        self.seen = nn.Conv2d(dimensions, deep, 1)
        self.joined = nn.Sequential(_layer(2 * deep, deep), _layer(deep, deep))
        self.deeper = nn.Sequential(*(_Residual(deep) for _ in range(blocks)))
        self.up = nn.ModuleList(
            _layer(low + skip, skip)
            for low, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = _layer(width, rank)
        self.known = nn.Conv2d(dimensions, rank, 1, bias=False)
        self.read = nn.Conv2d(rank, rank, 1)
        self.outline = nn.Conv2d(rank, STRIDE**2, 1)
        for parameter in self.read.parameters():  # a new tower says what the patches say
            nn.init.zeros_(parameter)
        self.basis = nn.Parameter(torch.randn(rank, dimensions) / dimensions**0.5)

    def forward(self, images: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Features and outlines.

        Args:
            images: (B, 3, S, T) float32, standardised; S and T multiples of 8.
            patches: (B, D, h, w) float32, patch features of the same image, L2 norm 1.

        Returns:
            (B, R, S / 2, T / 2) coordinates in `basis`, of any length; and (B, 1, S, T) logits of
            lying at the border of an object.
        """
        levels = []
        x = images
        for block in self.down:
            x = block(x)
            levels.append(x)
        # The patches join at the coarsest level: x is (B, 4 · width, S / 8, T / 8).
        seen = F.interpolate(self.seen(patches), size=x.shape[2:], mode="bilinear")
        x = self.deeper(self.joined(torch.cat([x, seen], dim=1)))
        for block, skip in zip(self.up, levels[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1))
        x = self.last(x)  # (B, R, S / 2, T / 2)
        known = F.interpolate(self.known(patches), size=x.shape[2:], mode="bilinear")
        return known + self.read(x), F.pixel_shuffle(self.outline(x), STRIDE)


class _Residual(nn.Module):
    """Two layers whose sum with their input goes on; a new one adds nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        filters = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.layers = nn.Sequential(_layer(channels, channels), filters, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layers(x))


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def folded(tower: PixelTower) -> PixelTower:
    """The same tower in an orthonormal basis: coordinates are as long as what they stand for."""
    rows, mixing = torch.linalg.qr(tower.basis.detach().T)  # basisᵀ = rows · mixing
    same = deepcopy(tower)
    with torch.no_grad():
        same.basis.copy_(rows.T)
        for layer in (same.known, same.read):
            layer.weight.copy_(torch.einsum("qr,rihw->qihw", mixing, layer.weight))
        bias = same.read.get_parameter("bias")
        bias.copy_(mixing @ bias)
    return same


def save(tower: PixelTower, file: Path) -> None:
    """Write the weights in half precision."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in tower.state_dict().items()
    }
    save_file(state, file)


def load(file: Path, dimensions: int, patch: int, device: str = "cpu") -> PixelTower:
    """Read a tower that `save` wrote.

    Args:
        file: to read.
        dimensions: D of the model's space.
        patch: side of the model's patches, pixels.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: it is damaged, of another kind, or made for another model.
    """
    try:
        state = load_state(file)
        rank, known = state["basis"].shape
        blocks = len({name.split(".")[1] for name in state if name.startswith("deeper.")})
        tower = PixelTower(known, rank, len(state["down.0.0.0.weight"]), blocks)
        tower.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{file} holds no pixel tower: {error}") from error
    if known != dimensions or patch % COARSEST:
        raise ModelError(
            f"{file} is for features of {known} numbers and patches of {COARSEST} pixels or a "
            f"multiple, the model beside it has {dimensions} and {patch}: remove the file"
        )
    # Measured on a CPU: about twice as fast as with the channels first.
    tower.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tower.eval().requires_grad_(False)
