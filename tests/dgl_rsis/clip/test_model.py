import json
import pickle
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.clip.small_towers import RESNET, build_model


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


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        (
            {"timm_model_name": "resnet10t", "timm_pool": "rot_attn", "timm_proj": ""},
            "TimmModel of ResNet, whose way to pool is not known here: choose one such as ViT-B-32",
        ),
        ({"pool_type": "none", "width": 64, "layers": 1}, "VisionTransformer that pools nothing"),
    ],
)
def test_another_kind_of_tower_is_refused(tmp_path: Path, vision: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        build_model(tmp_path, **vision)


def test_a_resnet_is_loaded(tmp_path: Path):
    clip = build_model(tmp_path, **RESNET)
    assert clip.patch == 32
    assert clip.crop_side == clip.dense_side == 64
    assert not any(weights.requires_grad for weights in clip.model.parameters())
