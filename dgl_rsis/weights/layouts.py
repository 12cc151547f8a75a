"""How weights lie in a file: under which keys, behind which prefixes, by whose names. [ours].

A training checkpoint has them under "state_dict" or "model", moving averages of them beside that
(EMA, the better ones as a rule), each name behind the names of the objects around the model:
"module.", "student.", "model.clip_model.".
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dgl_rsis.weights.pickles import ContentError, described

State = dict[str, Tensor]

# Keys of state dicts, moving averages first; of several that fit a model the first is taken.
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "weights",
    "params",
    "student",
)
DEEPEST = 4  # mappings inside each other
# What OpenAI's files hold beside weights; the last at any depth, and models make it themselves.
SETTINGS = ("input_resolution", "context_length", "vocab_size")
MADE = ("attn_mask", "position_ids")
PREFIXES = ("module.", "model.")  # of DistributedDataParallel, and of a wrapping class
LAST = "teacher"  # of a pair of models the student is the one that was trained

# Hugging Face's CLIP: its names → open_clip's.
HF_SIGN = "vision_model.embeddings.class_embedding"
HF_TOP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "visual_projection.weight": "visual.proj",
}
HF_LAYERS = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
}
HF_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
HF_TRANSPOSED = ("text_projection", "visual.proj")  # linear layers there, matrices here
HF_THIRDS = ("q_proj", "k_proj", "v_proj")  # in the order of open_clip's one matrix


def states(content: Any, known: str) -> Iterator[tuple[str, State]]:
    """The state dicts in a file, with the keys that they lie under; the likeliest first.

    Args:
        content: what the file holds.
        known: the formats that are read, for the message.

    Raises:
        ContentError: there is none.
    """
    if isinstance(content, list | tuple) and all(map(_is_pair, content)):
        content = dict(content)
    if not isinstance(content, Mapping) or not content:
        raise ContentError(f"it holds no weights, but a {described(content)}: give {known}")
    found = list(_states(content, "", DEEPEST))
    if not found:
        raise ContentError(f"it holds no weights, but {described(content)}: give {known}")
    yield from found


def _states(content: Mapping[Any, Any], where: str, depth: int) -> Iterator[tuple[str, State]]:
    inner = [key for key in (*AVERAGES, *WRAPPERS) if isinstance(content.get(key), Mapping)]
    if not inner:
        inner = [key for key, value in content.items() if isinstance(value, Mapping)]
    for key in inner if depth else ():
        yield from _states(content[key], f"{where}.{key}".lstrip("."), depth - 1)
    state = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor) and not _is_setting(name)
    }
    if state and len(state) * 2 > len(content):
        yield where, _unprefixed(state)


def _is_pair(each: Any) -> bool:
    return isinstance(each, tuple) and len(each) == 2 and isinstance(each[1], Tensor)


def _is_setting(name: str) -> bool:
    return name in SETTINGS or name.rpartition(".")[2] in MADE


def _unprefixed(state: State) -> State:
    """Without what all names begin with."""
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def fitted(state: State, expected: Collection[str]) -> State:
    """The part of a state dict that has a model's names, behind whatever prefix, without it.

    Args:
        state: may hold other models, and losses, behind other prefixes.
        expected: the model's names.

    Returns:
        The state dict as it is where no prefix makes all names fit.
    """
    anchor = next(iter(expected), "")
    prefixes = [name.removesuffix(anchor) for name in state if name.endswith(f".{anchor}")]
    for prefix in sorted(prefixes, key=_rank):
        if all(f"{prefix}{name}" in state for name in expected):
            return {
                name.removeprefix(prefix): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
    return state


def _rank(prefix: str) -> tuple[bool, bool]:
    parts = set(prefix.split("."))
    return LAST in parts, not any("ema" in part.split("_") for part in parts)


# ---- Hugging Face --------------------------------------------------------------------------------


def named_by_open_clip(state: State) -> State:
    """CLIP weights as Hugging Face names and shapes them, by open_clip's names; others as they are.

    Query, key and value are one matrix there, and projections are transposed.
    """
    sign = next((name for name in state if name.endswith(HF_SIGN)), None)
    if sign is None:
        return state
    prefix = sign.removesuffix(HF_SIGN)
    theirs = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    ours: State = {}
    for name, value in theirs.items():
        if not any(third in name for third in HF_THIRDS):
            renamed = _renamed(name)
            ours[renamed] = value.T if renamed in HF_TRANSPOSED else value
        elif HF_THIRDS[0] in name:
            thirds = [theirs.get(name.replace(HF_THIRDS[0], third)) for third in HF_THIRDS]
            block, _, kind = name.partition(f"self_attn.{HF_THIRDS[0]}.")
            if all(third is not None for third in thirds):
                joined = torch.cat([third for third in thirds if third is not None])
                ours[f"{_block(block)}attn.in_proj_{kind}"] = joined
    return ours


def _renamed(name: str) -> str:
    for theirs, ours in HF_TOP.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    renamed = _block(name)
    for theirs, ours in HF_BLOCK.items():
        renamed = renamed.replace(theirs, ours)
    return renamed


def _block(name: str) -> str:
    for theirs, ours in HF_LAYERS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
