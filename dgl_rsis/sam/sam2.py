"""Segment Anything 2.1, and the clicks of 3: one pass over an image, one mask for a prompt.

[ours] SAM 2 (Ravi et al., arXiv 2408.00714) and the tracker of SAM 3 (arXiv 2511.16719) through
`transformers`: its modules, weights and image processor. Both take prompts of the same form. Their
encoder sees the image squeezed into a square, so nothing of it is padding.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    Sam2ImageProcessor,
    Sam2Model,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3VideoConfig,
)

from dgl_rsis.sam.promptable import Arrays, Embedding, Size
from dgl_rsis.sam.prompts import Pointed, as_logits, translate
from dgl_rsis.types import RGB, Prompt, Refined
from dgl_rsis.weights import folders
from dgl_rsis.weights.checkpoints import ModelError
from dgl_rsis.weights.identity import fingerprint

log = logging.getLogger(__name__)

THRESHOLD = 0.0  # logit, as `Sam2ImageProcessor.post_process_masks` has it


@dataclass(frozen=True)
class Sam2:
    """A model ready to encode; see `Promptable`.

    Attributes:
        name: as the user asked for it.
        model: `Sam2Model` or `Sam3TrackerModel` of `transformers`, in eval mode, float32.
        processor: makes pixels of images, as the model was trained.
        fingerprint: SHA-256 over the model's files, hexadecimal.
        device: where it lives.
    """

    name: str
    model: Any
    processor: Any
    fingerprint: str
    device: str

    @property
    def side(self) -> int:
        """Pixels of the square that the encoder sees: 1024, or 1008 of SAM 3."""
        return int(self.model.prompt_encoder.input_image_size)

    @property
    def threshold(self) -> float:
        """See `Promptable`."""
        return THRESHOLD

    def encode(self, image: RGB) -> "Sam2Embedding":
        """See `Promptable`."""
        height, width = image.shape[:2]
        pixels = self.processor(np.array(image), return_tensors="pt").pixel_values.to(self.device)
        with torch.inference_mode(), self._precision():
            levels = self.model.get_image_embeddings(pixels)
        return Sam2Embedding(tuple(level.float() for level in levels), height, width)

    def from_arrays(self, arrays: Arrays) -> "Sam2Embedding":
        """See `Promptable`."""
        count = sum(name.startswith("level") for name in arrays)
        levels = [torch.from_numpy(arrays[f"level{i}"]).to(self.device) for i in range(count)]
        height, width = arrays["sizes"].tolist()
        return Sam2Embedding(tuple(levels), height, width)

    def decode(
        self, embedding: Embedding, points: NDArray[np.float64], pred_iou: float
    ) -> tuple[Tensor, Tensor]:
        """See `Promptable`; the three masks of a point that may mean a thing, part or whole."""
        places = self._framed(points, embedding)[None, :, None]  # (1, n, 1, 2)
        labels = torch.ones(1, len(points), 1, dtype=torch.int64, device=self.device)
        prompts = {"input_points": places, "input_labels": labels}
        low, iou = self._decoded(embedding, prompts, ambiguous=True)
        good = iou > pred_iou
        return low[good], iou[good]

    def enlarged(self, low: Tensor, embedding: Embedding, size: Size) -> Tensor:
        """See `Promptable`; as the model's own processor does it."""
        return F.interpolate(low[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    def refine(self, embedding: Embedding, prompt: Prompt) -> Refined:
        """See `Promptable`.

        A single point may mean a thing, its part or its whole: of the three masks that the model
        then gives, the one is taken whose IoU it predicts to be best.
        """
        size = embedding.height, embedding.width
        pointed = translate(prompt, *size)
        low, predicted = self._decoded(
            embedding, self._prompts(pointed, embedding), ambiguous=pointed.ambiguous
        )  # (1, M, low, low), (1, M)
        best = int(predicted[0].argmax())
        with torch.inference_mode():
            logits = self.enlarged(low[:, best], embedding, size)
        mask = (logits[0] > self.threshold).cpu().numpy()
        return Refined(mask, min(1.0, max(0.0, float(predicted[0, best]))))

    def _decoded(
        self, embedding: Embedding, prompts: dict[str, Tensor], *, ambiguous: bool
    ) -> tuple[Tensor, Tensor]:
        """(n, M, low, low) float32 logits and (n, M) float32 IoU of n prompts, M = 3 or 1."""
        assert isinstance(embedding, Sam2Embedding)
        with torch.inference_mode(), self._precision():
            decoded = self.model(
                image_embeddings=list(embedding.levels), multimask_output=ambiguous, **prompts
            )
        return decoded.pred_masks[0].float(), decoded.iou_scores[0].float()

    def _prompts(self, pointed: Pointed, embedding: Embedding) -> dict[str, Tensor]:
        """Arguments of the model: one prompt on one image."""
        prompts = {}
        if len(pointed.points):
            prompts["input_points"] = self._framed(pointed.points, embedding)[None, None]
            inside = torch.from_numpy(pointed.inside.astype(np.int64))
            prompts["input_labels"] = inside.to(self.device)[None, None]  # (1, 1, n)
        if pointed.box is not None:
            corners = self._framed(np.array(pointed.box).reshape(2, 2), embedding)
            prompts["input_boxes"] = corners.reshape(1, 1, 4)
        if pointed.prior is not None:
            low = self.model.prompt_encoder.mask_input_size[0]
            planes = as_logits(pointed.prior, (self.side, self.side), self.side, low)
            prompts["input_masks"] = torch.from_numpy(planes).to(self.device)[None, None]
        return prompts

    def _framed(self, points: NDArray[np.float64], embedding: Embedding) -> Tensor:
        """(n, 2) pixels of the image → float32 of the encoder's square, from a pixel's centre."""
        ratio = self.side / np.array([embedding.width, embedding.height])
        return torch.from_numpy(((points - 0.5) * ratio).astype(np.float32)).to(self.device)

    def _precision(self) -> torch.autocast:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


@dataclass(frozen=True)
class Sam2Embedding:
    """What the encoder makes of one image.

    Attributes:
        levels: (1, C, h, w) float32 each, the finest first, on the device of the model.
        height, width: H and W of the image, pixels.
    """

    levels: tuple[Tensor, ...]
    height: int
    width: int

    def to_arrays(self) -> Arrays:
        """See `Embedding`: 16 MiB of SAM 2.1, 20 of SAM 3."""
        levels = {f"level{i}": level.cpu().numpy() for i, level in enumerate(self.levels)}
        return {**levels, "sizes": np.array([self.height, self.width])}


def load_sam2(name: str, folder: Path, device: str = "cpu") -> Sam2:
    """Load a model for inference. Nothing is ever downloaded.

    Args:
        name: as the user asked for it.
        folder: of SAM 2.1 ("sam2", "sam2_video") or SAM 3 ("sam3_video", "sam3_tracker"), as
            `transformers` saves them.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: a file is missing or damaged, another model, or a device that is not here.
    """
    kind = folders.model_type(folder)
    if kind not in LOADERS:
        raise ModelError(
            f"{folder} is of the kind {kind!r}, which takes no clicks here: give SAM 2.1 or the "
            f"whole of SAM 3 ({', '.join(LOADERS)})"
        )
    model, processor = LOADERS[kind](folder, device)
    log.info("loaded %s on %s", name, device)
    return Sam2(name, model, processor, fingerprint(folder), str(torch.device(device)))


def _sam2(folder: Path, device: str) -> tuple[Any, Any]:
    processor = folders.part(folder, Sam2ImageProcessor)
    return folders.load(folder, Sam2Model, device), processor


def _sam3(folder: Path, device: str) -> tuple[Any, Any]:
    """The tracker, which lies beside the detector of concepts in one file."""
    config = None
    if folders.model_type(folder) == "sam3_video":
        own = folders.part(folder, Sam3VideoConfig).tracker_config.to_dict()
        del own["model_type"]  # of videos
        config = Sam3TrackerConfig(**own)
    processor = folders.part(folder, Sam3ImageProcessor)
    return folders.load(folder, Sam3TrackerModel, device, config), processor


LOADERS: dict[str, Callable[[Path, str], tuple[Any, Any]]] = {
    "sam2": _sam2,
    "sam2_video": _sam2,
    "sam3_video": _sam3,
    "sam3_tracker": _sam3,
}
