"""SAM 2.1 and the clicks of SAM 3, held against the pipeline of `transformers` itself."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dgl_rsis.sam import prompts
from dgl_rsis.sam.proposals import SamParameters, propose
from dgl_rsis.sam.sam2 import Sam2, load_sam2
from dgl_rsis.types import InputError, Prompt
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_folders import sam2_folder, sam3_folder

HEIGHT, WIDTH = 90, 120
IMAGE = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
IMAGE[20:60, 30:80] //= 4
FOLDERS = {"sam2": sam2_folder, "sam3": sam3_folder}


@cache
def _loaded(kind: str) -> Sam2:
    return load_sam2(kind, FOLDERS[kind]())


@cache
def _oracle(kind: str) -> tuple[Any, Any]:
    """The model and the processor of `transformers`, loaded by themselves."""
    if kind == "sam2":
        folder = sam2_folder()
        return (
            transformers.Sam2Model.from_pretrained(folder).eval(),
            transformers.Sam2Processor.from_pretrained(folder),
        )
    model = transformers.Sam3TrackerModel.from_pretrained(sam3_folder()).eval()
    images = transformers.Sam3ImageProcessor.from_pretrained(sam3_folder())
    return model, transformers.Sam3TrackerProcessor(images, target_size=112)


@torch.inference_mode()
def _by_transformers(kind: str, multimask: bool, **asked: Any) -> tuple[np.ndarray, float]:
    model, processor = _oracle(kind)
    mask = asked.pop("input_masks", None)
    inputs = processor(images=IMAGE, return_tensors="pt", **asked)
    sizes = inputs.pop("original_sizes")
    extra = {} if mask is None else {"input_masks": mask}
    said = model(**inputs, **extra, multimask_output=multimask)
    masks = processor.post_process_masks(said.pred_masks.cpu(), sizes)[0][0]
    best = int(said.iou_scores[0, 0].argmax())
    return masks[best].numpy(), float(said.iou_scores[0, 0, best])


@pytest.mark.parametrize("kind", FOLDERS)
class TestAgainstTransformers:
    def test_one_point(self, kind: str) -> None:
        wanted = _by_transformers(kind, True, input_points=[[[[50.0, 40.0]]]], input_labels=[[[1]]])
        _same(kind, Prompt(positive=_points((50.5, 40.5))), wanted)

    def test_points_of_both_signs(self, kind: str) -> None:
        points = [[[[50.0, 40.0], [10.0, 12.0], [100.0, 80.0]]]]
        wanted = _by_transformers(kind, False, input_points=points, input_labels=[[[1, 1, 0]]])
        prompt = Prompt(_points((50.5, 40.5), (10.5, 12.5)), _points((100.5, 80.5)))
        _same(kind, prompt, wanted)

    def test_a_box(self, kind: str) -> None:
        wanted = _by_transformers(kind, False, input_boxes=[[[20.0, 15.0, 90.0, 70.0]]])
        _same(kind, Prompt(box=(20.5, 15.5, 90.5, 70.5)), wanted)

    def test_a_box_and_a_point(self, kind: str) -> None:
        wanted = _by_transformers(
            kind,
            False,
            input_boxes=[[[20.0, 15.0, 90.0, 70.0]]],
            input_points=[[[[50.0, 40.0]]]],
            input_labels=[[[0]]],
        )
        prompt = Prompt(negative=_points((50.5, 40.5)), box=(20.5, 15.5, 90.5, 70.5))
        _same(kind, prompt, wanted)

    def test_a_mask_and_a_point(self, kind: str) -> None:
        prior = np.zeros((HEIGHT, WIDTH), dtype=bool)
        prior[10:70, 20:90] = True
        low = _oracle(kind)[0].prompt_encoder.mask_input_size[0]
        side = _loaded(kind).side
        planes = torch.from_numpy(prompts.as_logits(prior, (side, side), side, low))[None, None]
        asked = {"input_points": [[[[50.0, 40.0]]]], "input_labels": [[[1]]]}
        wanted = _by_transformers(kind, False, input_masks=planes, **asked)
        without, _ = _by_transformers(kind, False, **asked)
        assert (wanted[0] != without).any()  # the mask says something
        _same(kind, Prompt(positive=_points((50.5, 40.5)), prior=prior), wanted)

    def test_masks_of_a_grid_are_those_of_single_points(self, kind: str) -> None:
        model = _loaded(kind)
        embedding = model.encode(IMAGE)
        points = np.array([[10.5, 20.5], [50.5, 40.5], [110.5, 80.5]])
        low, iou = model.decode(embedding, points, -1e9)
        assert len(low) == 9
        masks = (model.enlarged(low, embedding, (HEIGHT, WIDTH)) > 0).numpy()
        best = 3 + int(iou[3:6].argmax())
        wanted, score = _by_transformers(
            kind, True, input_points=[[[[50.0, 40.0]]]], input_labels=[[[1]]]
        )
        assert (masks[best] != wanted).mean() < 1e-4  # batches add up in another order
        assert float(iou[best]) == pytest.approx(score, abs=1e-5)

    def test_an_embedding_read_back_answers_the_same(self, kind: str) -> None:
        model = _loaded(kind)
        embedding, prompt = model.encode(IMAGE), Prompt(positive=_points((50.5, 40.5)))
        again = model.from_arrays(embedding.to_arrays())
        assert (model.refine(again, prompt).mask == model.refine(embedding, prompt).mask).all()

    def test_proposals_of_everything(self, kind: str) -> None:
        model = _loaded(kind)
        few = SamParameters(
            points_per_side=4, pred_iou=-1e9, stability=0.0, box_nms=1.0, crop_layers=0
        )
        proposed = propose(IMAGE, model, few)
        assert proposed.masks.shape[1:] == (HEIGHT, WIDTH)
        assert len(proposed) > 1
        assert proposed.masks.any(axis=(1, 2)).all()

    def test_a_prompt_beyond_the_image_is_refused(self, kind: str) -> None:
        with pytest.raises(InputError):
            _loaded(kind).refine(_loaded(kind).encode(IMAGE), Prompt(positive=_points((500, 1))))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(sam2_folder(), tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing .*mask_decoder\.iou_token\.weight"):
        load_sam2("part", folder)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder(), tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-500])
    with pytest.raises(ModelError, match="cut cannot be loaded"):
        load_sam2("cut", folder)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder(), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="may run code"):
        load_sam2("pickled", folder)


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder(), tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ModelError, match="kind 'bert', which takes no clicks"):
        load_sam2("other", folder)


def test_other_weights_are_another_fingerprint(tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder(), tmp_path / "same")
    assert load_sam2("same", folder).fingerprint == _loaded("sam2").fingerprint
    config = folder / "processor_config.json"
    config.write_text(config.read_text().replace("0.485", "0.5"))
    assert load_sam2("same", folder).fingerprint != _loaded("sam2").fingerprint


def _points(*places: tuple[float, float]) -> np.ndarray:
    return np.array(places, dtype=np.float32)


def _same(kind: str, prompt: Prompt, wanted: tuple[np.ndarray, float]) -> None:
    """Identical masks, that are neither nothing nor everything."""
    mask, score = wanted
    refined = _loaded(kind).refine(_loaded(kind).encode(IMAGE), prompt)
    assert 0 < mask.mean() < 1
    assert (refined.mask == mask).all()
    assert refined.score == pytest.approx(min(1.0, max(0.0, score)), abs=1e-6)
