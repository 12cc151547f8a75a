"""SAM 3: loading it, one pass over a window of an image, and what that shows of a concept.

[ours] SAM 3 (Carion et al., arXiv 2511.16719) through `transformers`: its modules, weights, image
processor and tokenizer. The pass over the pixels does not depend on what is asked, so it is kept,
and phrases and boxes are asked of it in any number.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, Sam3ImageProcessor, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from dgl_rsis.types import RGB
from dgl_rsis.weights import folders
from dgl_rsis.weights.checkpoints import ModelError
from dgl_rsis.weights.identity import fingerprint

log = logging.getLogger(__name__)

KINDS = ("sam3", "sam3_video")  # the detector alone, and with its tracker of clicks
WORDS = ("tokenizer.json", "vocab.json")  # files of a tokenizer
LONGEST = 32  # tokens of a phrase, as its processor pads them
VISUAL = "visual"  # the phrase of a prompt by boxes alone, as its processor has it
MOST_TEXTS = 4096  # phrases of which the features are kept

Box = tuple[float, float, float, float]  # XYXY, shares of the window's width and height


@dataclass(frozen=True)
class Answer:
    """What a window shows of a concept, at the model's own size.

    Attributes:
        presence: that the concept is there at all, [0, 1].
        scores: (Q,) float32 in [0, 1], of each query that it is an instance of it; presence is in.
        masks: (Q, h, w) float32, logits of the instances.
        semantic: (h, w) float32, logits that a pixel is of the concept.
    """

    presence: float
    scores: Tensor
    masks: Tensor
    semantic: Tensor


@dataclass(frozen=True)
class ConceptModel:
    """A SAM 3 ready to be asked.

    Attributes:
        name: as the user asked for it.
        model: the `Sam3Model` of `transformers`, in eval mode, float32.
        processor: makes pixels of images, as the model was trained.
        tokenizer: text → tokens.
        fingerprint: SHA-256 over the model's files, hexadecimal.
        device: where it lives.
    """

    name: str
    model: Any
    processor: Any
    tokenizer: Any
    fingerprint: str
    device: str
    _texts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def side(self) -> int:
        """Pixels of the square that the encoder sees: 1008."""
        return int(self.model.config.image_size)

    def encode(self, window: RGB) -> Tensor:
        """One pass over (H, W, 3) uint8, squeezed into a square: (1, cells, D) float32."""
        pixels = self.processor(np.array(window), return_tensors="pt").pixel_values.to(self.device)
        with torch.inference_mode(), self._precision():
            states: Tensor = self.model.vision_encoder.backbone(pixels).last_hidden_state
        return states.float()

    def ask(self, states: Tensor, phrases: Sequence[str], batch: int = 1) -> list[Answer]:
        """What a window shows of each phrase.

        Args:
            states: of `encode`.
            phrases: noun phrases, as "storage tank".
            batch: phrases at a time; does not change the answers.
        """
        with torch.inference_mode(), self._precision():
            seen = self._seen(states)
            return [
                answer
                for start in range(0, len(phrases), batch)
                for answer in self._asked(seen, phrases[start : start + batch])
            ]

    def like(self, states: Tensor, boxes: Sequence[Box], phrase: str = VISUAL) -> Answer:
        """What a window shows of the concept that boxes in it are examples of.

        Args:
            states: of `encode`.
            boxes: around examples; at least one.
            phrase: what they are, where there is a word for it.
        """
        corners = torch.tensor(boxes, dtype=torch.float32, device=self.device)[None]  # (1, n, 4)
        centres = (corners[..., :2] + corners[..., 2:]) / 2
        sizes = corners[..., 2:] - corners[..., :2]
        prompts = {
            "input_boxes": torch.cat([centres, sizes], dim=-1),
            "input_boxes_labels": torch.ones(1, len(boxes), dtype=torch.int64, device=self.device),
        }
        with torch.inference_mode(), self._precision():
            return self._asked(self._seen(states), [phrase], **prompts)[0]

    def _seen(self, states: Tensor) -> Sam3VisionEncoderOutput:
        """The pyramid of features that prompts are asked of."""
        cells = self.side // int(self.model.config.vision_config.backbone_config.patch_size)
        plane = states.view(1, cells, cells, -1).permute(0, 3, 1, 2)  # (1, D, c, c)
        levels, places = self.model.vision_encoder.neck(plane)
        return Sam3VisionEncoderOutput(fpn_hidden_states=levels, fpn_position_encoding=places)

    def _asked(
        self, seen: Sam3VisionEncoderOutput, phrases: Sequence[str], **prompts: Tensor
    ) -> list[Answer]:
        texts = [self._text(phrase) for phrase in phrases]
        count = len(texts)
        said = self.model(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=_repeated(seen.fpn_hidden_states, count),
                fpn_position_encoding=_repeated(seen.fpn_position_encoding, count),
            ),
            text_embeds=BaseModelOutputWithPooling(
                pooler_output=torch.stack([features for features, _ in texts])
            ),
            attention_mask=torch.stack([mask for _, mask in texts]),
            **prompts,
        )
        presence = said.presence_logits.float().sigmoid()  # (P, 1)
        scores = said.pred_logits.float().sigmoid() * presence  # (P, Q)
        return [
            Answer(
                float(presence[i, 0]),
                scores[i],
                said.pred_masks[i].float(),
                said.semantic_seg[i, 0].float(),
            )
            for i in range(count)
        ]

    def _text(self, phrase: str) -> tuple[Tensor, Tensor]:
        """(32, D) features of a phrase, and (32,) which of its tokens are some."""
        if phrase not in self._texts:
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            tokens = self.tokenizer(
                phrase,
                return_tensors="pt",
                padding="max_length",
                max_length=LONGEST,
                truncation=True,
            ).to(self.device)
            mask = tokens["attention_mask"]
            features = self.model.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=mask, return_dict=True
            )
            self._texts[phrase] = features.pooler_output[0], mask[0]
        return self._texts[phrase]

    def _precision(self) -> torch.autocast:
        """bfloat16 on CUDA; elsewhere float32, which is faster there."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


def load_concepts(name: str, folder: Path, device: str = "cpu") -> ConceptModel:
    """Load a SAM 3 for inference. Nothing is ever downloaded.

    Args:
        name: as the user asked for it.
        folder: of SAM 3, as `transformers` saves it.
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: a file is missing or damaged, another model, or a device that is not here.
    """
    kind = folders.model_type(folder)
    if kind not in KINDS:
        raise ModelError(
            f"{folder} is of the kind {kind!r}, which knows no words here: MODEL takes SAM 3 "
            f"({' or '.join(KINDS)}), or a CLIP of open_clip"
        )
    if not any((folder / file).is_file() for file in WORDS):
        # The library would make an empty one: every phrase would be the same.
        raise ModelError(f"{folder} holds no tokenizer: fetch {' or '.join(WORDS)} of the model")
    processor = folders.part(folder, Sam3ImageProcessor)
    tokenizer = folders.part(folder, AutoTokenizer)
    model = folders.load(folder, Sam3Model, device)
    log.info("loaded %s on %s", name, device)
    return ConceptModel(
        name, model, processor, tokenizer, fingerprint(folder), str(torch.device(device))
    )


def _repeated(levels: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """One window as if it were several, without copies."""
    return tuple(level.expand(count, *level.shape[1:]) for level in levels)
