"""Segment Anything: loading it, one pass over an image, one mask for a prompt.

[ours] SAM (Kirillov et al., arXiv 2304.02643) through the library `segment_anything`: its modules,
weights and formulas, called in an order that spares work and changes no result. Points and boxes
count pixels from the outer edge of the first one; `SamPredictor` counts from its centre, so half a
pixel is taken off before its arithmetic.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.sam.promptable import Arrays, Embedding, Size
from dgl_rsis.sam.prompts import Pointed, as_logits, translate
from dgl_rsis.types import RGB, Prompt, Refined
from dgl_rsis.weights.architectures import build_sam, require_device, require_sam
from dgl_rsis.weights.checkpoints import ModelError, fill
from dgl_rsis.weights.identity import fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamModel:
    """A Segment Anything model ready to encode.

    Attributes:
        name: as the user asked for it.
        model: the `segment_anything.modeling.Sam`, in eval mode, float32.
        fingerprint: SHA-256 of the weight file, hexadecimal.
        device: where it lives.
    """

    name: str
    model: Any
    fingerprint: str
    device: str

    @property
    def side(self) -> int:
        """Pixels of the longer side of what the encoder sees: 1024."""
        return int(self.model.image_encoder.img_size)

    @property
    def threshold(self) -> float:
        """Logit above which a pixel belongs to the mask."""
        return float(self.model.mask_threshold)

    def precision(self) -> torch.autocast:
        """bfloat16 on CUDA; elsewhere float32, which is faster there."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")

    def encode(self, image: RGB) -> "SamEmbedding":
        """See `Promptable`."""
        return encode(self, image)

    def from_arrays(self, arrays: Arrays) -> "SamEmbedding":
        """See `Promptable`."""
        features = torch.from_numpy(arrays["features"]).to(self.device)
        rows, columns, height, width = arrays["sizes"].tolist()
        return SamEmbedding(features, (rows, columns), height, width)

    def decode(
        self, embedding: Embedding, points: NDArray[np.float64], pred_iou: float
    ) -> tuple[Tensor, Tensor]:
        """See `Promptable`."""
        assert isinstance(embedding, SamEmbedding)
        return decode(self, embedding, points, pred_iou)

    def enlarged(self, low: Tensor, embedding: Embedding, size: Size) -> Tensor:
        """See `Promptable`."""
        assert isinstance(embedding, SamEmbedding)
        return upscaled(self, low, embedding.input_size, size)

    def refine(self, embedding: Embedding, prompt: Prompt) -> Refined:
        """See `Promptable`."""
        assert isinstance(embedding, SamEmbedding)
        return refine(self, embedding, prompt)


@dataclass(frozen=True)
class SamEmbedding:
    """What the encoder makes of one image.

    Attributes:
        features: (1, 256, 64, 64) float32, on the device of the model; the part beyond the image is
            padding.
        input_size: of the image within the encoder's square, pixels.
        height, width: H and W of the image, pixels.
    """

    features: Tensor
    input_size: Size
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes of the features: 4 MiB."""
        return self.features.nbytes

    def to_arrays(self) -> Arrays:
        """See `Embedding`."""
        sizes = np.array([*self.input_size, self.height, self.width])
        return {"features": self.features.float().cpu().numpy(), "sizes": sizes}


def load_sam(architecture: str, path: Path, device: str = "cpu") -> SamModel:
    """Load a Segment Anything model for inference. Nothing is ever downloaded.

    Args:
        architecture: "vit_b", "vit_l" or "vit_h".
        path: a checkpoint of any format that `dgl_rsis.weights.checkpoints` reads.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: no such file, architecture or device, or a file that is no checkpoint of it.
    """
    require_device(device)
    require_sam(architecture)
    if not path.is_file():  # building takes seconds
        raise ModelError(f"no weight file {path} for Segment Anything {architecture}")
    model = build_sam(architecture)
    fill(model, path, architecture)
    log.info("loaded Segment Anything %s on %s", architecture, device)
    return ready(model, f"sam-{architecture.replace('_', '-')}", fingerprint(path), device)


def ready(model: Any, name: str, fingerprint: str, device: str = "cpu") -> SamModel:
    """A `SamModel` of a built `Sam`, moved to the device and fit for inference only."""
    model = model.to(device).eval().requires_grad_(False)
    return SamModel(name, model, fingerprint, str(torch.device(device)))


def encode(sam: SamModel, image: RGB) -> SamEmbedding:
    """One pass of the encoder: all that prompts on this image need.

    Args:
        sam: the model.
        image: (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    size = input_size(height, width, sam.side)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        size[::-1], Image.Resampling.BILINEAR
    )
    pixels = torch.from_numpy(np.array(resized)).to(sam.device).permute(2, 0, 1)  # (3, h, w)
    with torch.inference_mode(), sam.precision():
        features = sam.model.image_encoder(sam.model.preprocess(pixels)[None])
    return SamEmbedding(features.float(), size, height, width)


def input_size(height: int, width: int, side: int) -> Size:
    """Size of an image once its longer side is `side` pixels, as `ResizeLongestSide` rounds it."""
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def refine(sam: SamModel, embedding: SamEmbedding, prompt: Prompt) -> Refined:
    """The mask that a prompt means.

    A single point may mean a thing, its part or its whole: SAM then gives three masks, and the one
    whose IoU it predicts to be best is taken. Any other prompt gets SAM's single mask.

    Raises:
        InputError: the prompt says nothing, or not of this image.
    """
    pointed = translate(prompt, embedding.height, embedding.width)
    with torch.inference_mode():
        # The prompt in float32: bfloat16 would put points up to 2 pixels in 1024 elsewhere.
        sparse, dense = sam.model.prompt_encoder(**_prompt_tensors(sam, embedding, pointed))
        places = sam.model.prompt_encoder.get_dense_pe()
        with sam.precision():
            low, predicted = sam.model.mask_decoder(
                image_embeddings=embedding.features,
                image_pe=places,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=pointed.ambiguous,
            )  # (1, M, 256, 256), (1, M)
        best = int(predicted[0].argmax())
        logits = upscaled(
            sam, low[:, best].float(), embedding.input_size, (embedding.height, embedding.width)
        )
        mask = (logits[0] > sam.threshold).cpu().numpy()
    return Refined(mask, min(1.0, max(0.0, float(predicted[0, best]))))


def _prompt_tensors(sam: SamModel, embedding: SamEmbedding, pointed: Pointed) -> dict[str, Any]:
    """Arguments of the prompt encoder."""
    points = boxes = masks = None
    if len(pointed.points):
        coordinates = framed(pointed.points, embedding)
        points = (
            torch.from_numpy(coordinates).float().to(sam.device)[None],  # (1, n, 2)
            torch.from_numpy(pointed.inside.astype(np.int32)).to(sam.device)[None],  # (1, n)
        )
    if pointed.box is not None:
        corners = framed(np.array(pointed.box).reshape(2, 2), embedding).reshape(1, 4)
        boxes = torch.from_numpy(corners).float().to(sam.device)
    if pointed.prior is not None:
        low = sam.model.prompt_encoder.mask_input_size[0]
        planes = as_logits(pointed.prior, embedding.input_size, sam.side, low)
        masks = torch.from_numpy(planes).to(sam.device)[None, None]  # (1, 1, 256, 256)
    return {"points": points, "boxes": boxes, "masks": masks}


def framed(points: np.ndarray[Any, Any], embedding: SamEmbedding) -> np.ndarray[Any, Any]:
    """Points of the image → what the prompt encoder wants: pixels of its input, from a centre.

    Args:
        points: (n, 2), x and y.
        embedding: of the image.

    Returns:
        (n, 2) float64.
    """
    down, across = embedding.input_size
    ratio = np.array([across / embedding.width, down / embedding.height])
    coordinates: np.ndarray[Any, Any] = (points.astype(np.float64) - 0.5) * ratio
    return coordinates


def upscaled(sam: SamModel, low: Tensor, inside: Size, size: Size) -> Tensor:
    """Logits of the decoder at the size of the image, as `Sam.postprocess_masks` makes them.

    Args:
        sam: the model.
        low: (n, 256, 256) float32.
        inside: size of the image within the encoder's square, pixels.
        size: of the result.

    Returns:
        (n, *size) float32.
    """
    square = (sam.side, sam.side)
    logits = F.interpolate(low[:, None], square, mode="bilinear", align_corners=False)
    logits = logits[..., : inside[0], : inside[1]]
    if inside != size:  # else the second step changes nothing
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return logits[:, 0]


def decode(
    sam: SamModel, embedding: SamEmbedding, points: NDArray[np.float64], pred_iou: float
) -> tuple[Tensor, Tensor]:
    """Masks for single points that promise more than an IoU: what the mask decoder finds.

    The order of its steps is changed: the image's features are given once instead of once a point,
    so that what the first layer computes from them alone is computed once; and IoU is predicted
    before any mask is made.

    Args:
        sam: the model.
        embedding: of the image.
        points: (n, 2) float64, x and y, pixels of the image.
        pred_iou: masks stay that are predicted to have a greater one.

    Returns:
        (m, 256, 256) float32 logits and (m,) float32 predicted IoU, point after point.
    """
    prompts, decoder = sam.model.prompt_encoder, sam.model.mask_decoder
    coordinates = torch.from_numpy(framed(points, embedding)).to(sam.device)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int32, device=sam.device)
    # In float32: bfloat16 would put points up to 2 pixels in 1024 elsewhere.
    sparse, _ = prompts(points=(coordinates, labels), boxes=None, masks=None)  # (n, 2, 256)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # (1 + 4, 256)
    tokens = torch.cat([own.expand(len(points), -1, -1), sparse], dim=1)
    image = embedding.features + prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
    places = prompts.get_dense_pe()
    with sam.precision():
        tokens, image = decoder.transformer(image, places, tokens)
    # Not in bfloat16, whose steps near 1 are 0.004.
    iou = decoder.iou_prediction_head(tokens[:, 0].float())[:, 1:]  # (n, 3)
    good = iou > pred_iou
    rows = good.any(dim=1)
    with sam.precision():
        low = _masks_of(decoder, tokens[rows], image[rows], embedding.features.shape[-1])
    return low[good[rows]].float(), iou[good]


def _masks_of(decoder: Any, tokens: Tensor, image: Tensor, side: int) -> Tensor:
    """Logits of the three masks of each point.

    Args:
        decoder: of the model.
        tokens: (n, 7, 256), after the transformer.
        image: (n, side², 256), likewise.
        side: of the feature map.

    Returns:
        (n, 3, 4 · side, 4 · side).
    """
    plane = image.transpose(1, 2).unflatten(2, (side, side))  # (n, 256, side, side)
    fine = decoder.output_upscaling(plane)  # (n, 32, 4 side, 4 side)
    weights = torch.stack(
        [decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in (1, 2, 3)], dim=1
    )  # (n, 3, 32)
    return torch.einsum("nmc,nchw->nmhw", weights, fine)
