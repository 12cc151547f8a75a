"""Small untrained models of SAM 2.1 and SAM 3, saved as their publishers save theirs."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    PreTrainedTokenizerFast,
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Processor,
    Sam3VideoConfig,
    Sam3VideoModel,
)
from transformers.models.sam3_tracker_video import Sam3TrackerVideoConfig

SIDE2, SIDE3 = 128, 112  # pixels that the encoders see
WORDS = (
    "building house rooftop roof road street river water lake tree forest car ship field visual "
    "bare land low vegetation agriculture the a of"
)
LONGEST = 32  # tokens of a phrase

_VISION3 = {
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE3,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    },
    "fpn_hidden_size": 32,
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}
_SMALL = {"hidden_size": 32, "num_attention_heads": 2}
_LAYERS = {**_SMALL, "num_layers": 1, "intermediate_size": 64}
_DECODER = {**_SMALL, "mlp_dim": 64, "num_hidden_layers": 2, "iou_head_hidden_dim": 32}


@cache
def sam2_folder() -> Path:
    """SAM 2.1, with the image processor in `processor_config.json`."""
    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "blocks_per_stage": [1, 2, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [4],
                "image_size": [SIDE2, SIDE2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE2, "patch_size": 16},
        mask_decoder_config=_DECODER,
    )
    folder = Path(mkdtemp())
    _lively(Sam2Model(config)).save_pretrained(folder)
    size = {"height": SIDE2, "width": SIDE2}
    images = Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})
    Sam2Processor(image_processor=images, target_size=SIDE2).save_pretrained(folder)
    return folder


@cache
def sam3_folder() -> Path:
    """SAM 3 whole, as it is published: detector and tracker in one file, of the kind of videos."""
    torch.manual_seed(0)
    detector = Sam3Config(
        vision_config=_VISION3,
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": len(_vocabulary()),
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": LONGEST,
            "hidden_act": "gelu",
            "eos_token_id": _vocabulary()["<|endoftext|>"],
            "bos_token_id": _vocabulary()["<|startoftext|>"],
            "pad_token_id": _vocabulary()["<|endoftext|>"],
        },
        geometry_encoder_config=_LAYERS,
        detr_encoder_config=_LAYERS,
        detr_decoder_config={**_LAYERS, "num_layers": 2, "num_queries": 10},
        mask_decoder_config=_SMALL,
    )
    tracker = Sam3TrackerVideoConfig(
        vision_config=_VISION3,
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE3, "patch_size": 14},
        mask_decoder_config=_DECODER,
        image_size=SIDE3,
        memory_attention_hidden_size=32,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_num_layers=1,
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32,
    )
    config = Sam3VideoConfig(
        detector_config=detector.to_dict(), tracker_config=tracker.to_dict(), image_size=SIDE3
    )
    folder = Path(mkdtemp())
    state = _lively(Sam3VideoModel(config)).state_dict()
    weights = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    images = Sam3ImageProcessor(size={"height": SIDE3, "width": SIDE3})
    Sam3Processor(images, _tokenizer(), target_size=SIDE3).save_pretrained(folder)
    return folder


def _lively(model: Any) -> Any:
    """Weights as untrained models have them are so small that all masks are alike."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1 and "embed" not in name:
                value.mul_(4)
    return model.eval()


@cache
def _vocabulary() -> dict[str, int]:
    words = ["<|startoftext|>", "<|endoftext|>", "<|unknown|>", *WORDS.split()]
    return {word: i for i, word in enumerate(words)}


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, between those of start and end, as CLIP's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = _vocabulary()
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[(name, words[name]) for name in ("<|startoftext|>", "<|endoftext|>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|unknown|>",
        pad_token="<|endoftext|>",
        model_max_length=LONGEST,
    )
