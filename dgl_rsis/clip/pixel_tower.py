"""A convolutional tower beside a CLIP model: a feature for every other pixel, in its text space.

[ours] A vision transformer sees a storage tank of ten pixels in one patch or two. Like LSeg, which
aligns the pixels of a convolutional decoder with CLIP's texts, a second tower tells where things
end. Its backbone is an EfficientNet-Lite (Tan and Le, 2019; the Lite variants have neither
squeeze-and-excitation nor swish) that has seen ImageNet, under a small feature pyramid (Lin et al.,
2017). Two heads more tell how large a pixel is on the ground, and which words the image shows at
all (as the presence head of SAM 3 does). It is optional: it lies beside the weights that it was
trained for, and without it the patches alone are asked.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors.torch import save_file
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dgl_rsis.weights.checkpoints import ModelError, load_state

BACKBONE = "tf_efficientnet_lite0"
STRIDE = 2  # pixels between neighbouring features
COARSEST = 32  # pixels between the cells of the coarsest level
REACH = 160  # pixels; what lies farther away has hardly a say in a feature
RANK = 64
WIDTHS = (48, 64, 96, 128, 128)  # of the pyramid's levels, the finest first
SHARPNESS = 4.0  # of the soft maximum over the cells of the presence map
WINDOW = 8  # cells along a window of it
BAND_ROWS = 64  # of the second finest level, from which the finest is made


@dataclass(frozen=True)
class TowerOutput:
    """What the tower says of images.

    Attributes:
        coordinates: (B, R, S / 2, T / 2), of features in `PixelTower.basis`, of any length.
        outline: (B, 1, S, T), logits of lying at the border of an object.
        presence: (B, R, S / 32, T / 32); its product with a text's coordinates, by
            `PixelTower.presence_logits`, tells whether what the text names is seen thereabouts.
        scale: (B, 2), expected ln(metres a pixel) and the logarithm of its standard deviation.
    """

    coordinates: Tensor
    outline: Tensor
    presence: Tensor
    scale: Tensor

    def float(self) -> "TowerOutput":
        """The same in float32."""
        return TowerOutput(
            self.coordinates.float(), self.outline.float(), self.presence.float(),
            self.scale.float(),
        )  # fmt: skip


class PixelTower(nn.Module):
    """A backbone's five levels, joined from coarse to fine.

    Args:
        dimensions: D, of the CLIP model's text space.
        rank: R, of the subspace that the features lie in.
        widths: channels of the pyramid's levels, the finest first.
    """

    def __init__(self, dimensions: int, rank: int = RANK, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.backbone = timm.create_model(BACKBONE, features_only=True, pretrained=False)
        channels = cast(Any, self.backbone.feature_info).channels()
        self.lateral = nn.ModuleList(
            _layer(i, o, kernel=1) for i, o in zip(channels, widths, strict=True)
        )
        self.up = nn.ModuleList(
            Joining(low, skip) for low, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.read = nn.Conv2d(widths[0], rank, 1)
        self.outline = nn.Conv2d(widths[0], STRIDE**2, 1)
        deep = widths[-1]
        self.presence = nn.Sequential(_layer(deep, deep, kernel=1), nn.Conv2d(deep, rank, 1))
        self.presence_bias = nn.Parameter(torch.tensor(-2.0))
        self.scale = nn.Sequential(
            nn.Linear(widths[-1] + widths[-2], 64), nn.ReLU(), nn.Linear(64, 2)
        )
        self.basis = nn.Parameter(torch.randn(rank, dimensions) / dimensions**0.5)

    def forward(self, images: Tensor) -> TowerOutput:
        """Everything that the tower says.

        Args:
            images: (B, 3, S, T) float32 in [0, 1]; S and T multiples of 32.
        """
        seen = list(self.backbone(images * 2 - 1))  # five levels, the finest first
        x = self.lateral[-1](seen.pop())  # (B, C, S / 32, T / 32)
        fine = self.lateral[-2](seen.pop())
        pooled = torch.cat([fine.mean(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1)
        presence, scale = self.presence(x), self.scale(pooled)
        x = self.up[0](x, fine)
        for block, lateral in zip(self.up[1:-1], self.lateral[-3:0:-1], strict=True):
            x = block(x, lateral(seen.pop()))  # levels are large: none is kept longer than needed
        coordinates, outline = self._finest(x, seen.pop())
        return TowerOutput(coordinates, F.pixel_shuffle(outline, STRIDE), presence, scale)

    def _finest(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates and outline, (B, R, 2h, 2w) and (B, 4, 2h, 2w), from (B, C, h, w).

        In bands, but for training, whose norms have to see everything: whole, this level would be
        most of the memory.
        """
        rows = coarse.shape[2]
        step = rows if self.training else BAND_ROWS
        coordinates, outline = (
            torch.empty(
                (len(fine), layer.out_channels, *fine.shape[2:]),
                device=fine.device,
                memory_format=torch.channels_last,
            )
            for layer in (self.read, self.outline)
        )
        for top in range(0, rows, step):
            first, last = max(0, top - 1), min(rows, top + step + 1)  # a row beyond either edge
            level = self.lateral[0](fine[:, :, 2 * first : 2 * last])
            x = self.up[-1](coarse[:, :, first:last], level)
            own = slice(2 * top, 2 * min(rows, top + step))
            x = x[:, :, own.start - 2 * first : own.stop - 2 * first]
            coordinates[:, :, own], outline[:, :, own] = self.read(x), self.outline(x)
        return coordinates, outline

    def presence_logits(self, presence: Tensor, texts: Tensor) -> Tensor:
        """Whether images show what texts name, anywhere.

        The soft maximum over the cells of each window of the size that training saw, and of the
        windows the greatest: a ship makes a large image no less a picture of a ship than a small.

        Args:
            presence: (B, R, h, w), of the output.
            texts: (P, D) float32.

        Returns:
            (B, P) logits.
        """
        by_cell = torch.einsum("brhw,pr->bphw", presence, texts @ self.basis.T)
        most = by_cell.amax(dim=(2, 3), keepdim=True)  # (B, P, 1, 1)
        size = [min(WINDOW, side) for side in by_cell.shape[2:]]
        step = [max(1, side // 2) for side in size]
        mean = F.avg_pool2d((SHARPNESS * (by_cell - most)).exp(), size, step, ceil_mode=True)
        best = mean.amax(dim=(2, 3)).clamp_min(1e-30).log() / SHARPNESS
        return best + most[:, :, 0, 0] + self.presence_bias


def _layer(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Joining(nn.Sequential):
    """A coarse level of a pyramid and the next finer one become one of the finer's width.

    Args:
        low: channels of the coarse level.
        skip: channels of the finer one, and of what comes out.
    """

    def __init__(self, low: int, skip: int) -> None:
        super().__init__(*_layer(low + skip, skip))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, h, w) and (B, D, 2h, 2w) → (B, D, 2h, 2w)."""
        joined = torch.cat([F.interpolate(coarse, scale_factor=2), fine], dim=1)
        for layer in self:
            joined = layer(joined)
        return joined


class SplitJoining(nn.Module):
    """`Joining` for inference, in two thirds of the operations.

    Every coarse pixel is seen four times by a convolution of the enlarged level. A transposed
    convolution of the level as it is, with the kernel summed over what coincides, gives the same.

    Args:
        joining: trained; its norm folded into the convolution.
    """

    def __init__(self, joining: Joining) -> None:
        super().__init__()
        whole = cast(nn.Conv2d, joining[0])
        width = whole.out_channels
        low = whole.in_channels - width
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.coarse = nn.ConvTranspose2d(low, width, 4, stride=2, padding=1, bias=False)
        kernel = whole.weight.detach()[:, :low].flip(2, 3).transpose(0, 1)  # (C, D, 3, 3)
        corners = [F.pad(kernel, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        with torch.no_grad():
            self.fine.weight.copy_(whole.weight[:, low:])
            cast(Tensor, self.fine.bias).copy_(cast(Tensor, whole.bias))
            self.coarse.weight.copy_(torch.stack(corners).sum(dim=0))  # (C, D, 4, 4)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, C, h, w) and (B, D, 2h, 2w) → (B, D, 2h, 2w)."""
        joined: Tensor = self.fine(fine)
        joined += self.coarse(coarse)
        return F.relu_(joined)


def for_inference(tower: PixelTower) -> PixelTower:
    """A trained tower that says the same, but for rounding, in less time.

    Norms are folded into the convolutions before them, levels joined as `SplitJoining` does, and
    what is convolved in steps of two is not copied to be padded on one side.
    """
    fast = deepcopy(tower).eval()
    _fold_norms(fast)
    _pad_evenly(fast)
    fast.up = nn.ModuleList(SplitJoining(cast(Joining, joining)) for joining in fast.up)
    return fast.requires_grad_(False)


def _fold_norms(module: nn.Module) -> None:
    """Let convolutions do what the norms behind them would."""
    before = ""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.BatchNorm2d):
            convolution = cast(nn.Conv2d, module.get_submodule(before))
            setattr(module, before, fuse_conv_bn_eval(convolution, part))
            # Those of the backbone hold the activation, too.
            setattr(module, name, part.act if isinstance(part, BatchNormAct2d) else nn.Identity())
        else:
            _fold_norms(part)
        before = name


def _pad_evenly(module: nn.Module) -> None:
    """Give kernels that see a pixel more after than before one of zeros before: sides are even."""
    for name, part in list(module.named_children()):
        if isinstance(part, Conv2dSame) and part.stride == (2, 2):
            size = part.kernel_size[0] + 1
            even = nn.Conv2d(
                part.in_channels, part.out_channels, size, 2, size // 2 - 1, groups=part.groups
            )
            with torch.no_grad():
                even.weight.copy_(F.pad(part.weight, (1, 0, 1, 0)))
                cast(Tensor, even.bias).copy_(cast(Tensor, part.bias))
            setattr(module, name, even)
        else:
            _pad_evenly(part)


def folded(tower: PixelTower) -> PixelTower:
    """The same tower in an orthonormal basis: coordinates are as long as what they stand for."""
    rows, mixing = torch.linalg.qr(tower.basis.detach().T)  # basisᵀ = rows · mixing
    same = deepcopy(tower)
    with torch.no_grad():
        same.basis.copy_(rows.T)
        for layer in (same.read, cast(nn.Conv2d, same.presence[-1])):
            layer.weight.copy_(torch.einsum("qr,rihw->qihw", mixing, layer.weight))
            cast(Tensor, layer.bias).copy_(mixing @ cast(Tensor, layer.bias))
    return same


def save(tower: PixelTower, file: Path) -> None:
    """Write the weights in half precision."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in tower.state_dict().items()
    }
    save_file(state, file)


def load(file: Path, dimensions: int, device: str = "cpu") -> PixelTower:
    """Read a tower that `save` wrote, for inference.

    Args:
        file: to read.
        dimensions: D of the model's space.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: it is damaged, of another kind, or made for another model.
    """
    fast = for_inference(read(file, dimensions))
    # Measured on a CPU: about twice as fast as with the channels first.
    fast.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast


def read(file: Path, dimensions: int) -> PixelTower:
    """Read a tower that `save` wrote, as it was trained.

    Args:
        file: to read.
        dimensions: D of the model's space.

    Raises:
        ModelError: it is damaged, of another kind, or made for another model.
    """
    try:
        state = load_state(file)
        rank, known = state["basis"].shape
        widths = tuple(len(state[f"lateral.{i}.0.weight"]) for i in range(len(WIDTHS)))
        tower = PixelTower(known, rank, widths)
        tower.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{file} holds no pixel tower: {error}") from error
    if known != dimensions:
        raise ModelError(
            f"{file} is for features of {known} numbers, the model beside it has {dimensions}: "
            "remove the file"
        )
    return tower
