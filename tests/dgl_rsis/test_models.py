import copy
import json
import pickle
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from dgl_rsis import models
from dgl_rsis.models import ClipModel, ModelError, load_clip
from tests.small_model import CONFIG


def test_a_folder_is_loaded(clip: ClipModel):
    assert clip.patch == 8
    assert clip.crop_side == 32
    assert clip.dense_side == 64
    assert clip.mean == (0.5, 0.5, 0.5)
    assert len(clip.fingerprint) == 64


def test_the_dense_side_is_the_models_own_unless_said(model_folder: Path, tmp_path: Path):
    config = json.loads((model_folder / "open_clip_config.json").read_text())
    del config["dgl_rsis"]
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    weights = "open_clip_model.safetensors"
    (tmp_path / weights).write_bytes((model_folder / weights).read_bytes())
    assert load_clip(str(tmp_path)).dense_side == 32


def test_a_checkpoint_of_a_listed_architecture_is_loaded(tmp_path: Path):
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", load_weights=False)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    loaded = load_clip(f"ViT-S-32-alt:{tmp_path / 'model.pt'}")
    assert loaded.crop_side == 224
    torch.testing.assert_close(loaded.visual.proj, model.visual.proj)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no model 'nothing'"),
        ("ViT-Z-99:model.pt", "no architecture 'ViT-Z-99'"),
        ("ViT-B-32:missing.pt", "no weight file missing.pt"),
    ],
)
def test_what_does_not_exist_is_named(name: str, message: str):
    with pytest.raises(ModelError, match=message):
        load_clip(name)


def test_a_folder_without_a_config_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no open_clip_config\.json"):
        load_clip(str(tmp_path))


def test_weights_of_another_shape_are_refused(model_folder: Path, tmp_path: Path):
    config = json.loads((model_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 96
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    weights = "open_clip_model.safetensors"
    (tmp_path / weights).write_bytes((model_folder / weights).read_bytes())
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_clip(str(tmp_path))


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger",))


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize("content", [pickle.dumps(Evil()), b"PK\x03\x04 truncated", b""])
def test_a_file_that_is_no_checkpoint_runs_nothing(tmp_path: Path, content: bytes, capsys):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_clip(f"ViT-S-32-alt:{path}")
    assert "stranger" not in capsys.readouterr().out


def build(folder: Path, **vision: Any) -> ClipModel:
    config = copy.deepcopy(CONFIG)
    config["model_cfg"]["vision_cfg"] = {"image_size": 64} | vision
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for weights in model.visual.parameters():  # a new ResNet's blocks start at zero
        weights.data += 0.1 * torch.randn_like(weights)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return load_clip(str(folder))


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"timm_model_name": "resnet10t"}, "TimmModel, which cannot be opened: choose .* ViT-B-32"),
        ({"pool_type": "none", "width": 64, "layers": 1}, "VisionTransformer that pools nothing"),
    ],
)
def test_another_kind_of_tower_is_refused(tmp_path: Path, vision: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build(tmp_path, **vision)


RESNET = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64}


def test_a_resnet_is_loaded(tmp_path: Path):
    clip = build(tmp_path, **RESNET)
    assert clip.patch == 32
    assert clip.crop_side == clip.dense_side == 64
    assert not any(weights.requires_grad for weights in clip.model.parameters())


def test_a_resnet_taken_apart_is_itself(tmp_path: Path):
    visual = build(tmp_path, **RESNET).visual
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        maps = models.feature_map(visual, images)
        found = models.attention_pooled(visual.attnpool, maps)
        torch.testing.assert_close(found, visual(images))
    assert maps.shape == (3, 256, 2, 2)
    assert (found[0] - found[1]).norm() > 1e-3


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"ls_init_value": 0.5},
        {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True},
        {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2},
    ],
)
def test_a_transformer_taken_apart_is_itself(tmp_path: Path, vision: dict[str, Any]):
    visual = build(tmp_path, patch_size=16, layers=2, width=64, head_width=32, **vision).visual
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        x = models.embedded(visual, images)
        for block in visual.transformer.resblocks:
            x = models.fed_forward(block, x + models.attended(block, block.ln_1(x)))
        found = models.read_all(visual, x[:, 0], x[:, 1:])
        torch.testing.assert_close(found, visual(images), atol=1e-5, rtol=1e-4)


def test_other_sizes_of_tile_stretch_the_positions(clip: ClipModel, tmp_path: Path):
    resnet = build(tmp_path, **RESNET)
    with torch.inference_mode():
        assert models.embedded(clip.visual, torch.randn(1, 3, 64, 64)).shape == (1, 65, 64)
        maps = models.feature_map(resnet.visual, torch.randn(1, 3, 128, 128))
        values = models.pool_values(resnet.visual.attnpool, maps)
        assert values.shape == (1, 4, 4, 256)
        assert models.attention_pooled(resnet.visual.attnpool, maps).shape == (1, 32)


def test_a_resnets_cell_alone_is_its_value(tmp_path: Path):
    """Where all cells have the same value, attention gives that value, whatever its weights."""
    pool = build(tmp_path, **RESNET).visual.attnpool
    pool.positional_embedding.copy_(pool.positional_embedding[:1].expand(5, -1).clone())
    maps = torch.randn(2, 256, 1, 1).expand(-1, -1, 2, 2)
    values = models.pool_values(pool, maps)
    expected = models.attention_pooled(pool, maps)
    torch.testing.assert_close(pool.c_proj(values[:, 1, 0]), expected)
