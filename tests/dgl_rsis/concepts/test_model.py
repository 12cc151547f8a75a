"""SAM 3 as a model of concepts, held against the pipeline of `transformers` itself."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dgl_rsis.concepts.model import ConceptModel, load_concepts
from dgl_rsis.concepts.shown import Concept, ConceptParameters, shown
from dgl_rsis.concepts.views import views
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_folders import sam2_folder, sam3_folder

HEIGHT, WIDTH = 90, 120
IMAGE = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
IMAGE[20:60, 30:80] //= 4
LEAST = 0.2  # untrained scores are near a quarter
ALL = ConceptParameters(present=0.0, least=LEAST, doubled=1.0)
PHRASES = ("building", "river", "ship")


@cache
def _loaded() -> ConceptModel:
    return load_concepts("sam3", sam3_folder())


@cache
def _oracle() -> tuple[Any, Any]:
    model = transformers.Sam3Model.from_pretrained(sam3_folder()).eval()
    return model, transformers.Sam3Processor.from_pretrained(sam3_folder())


@torch.inference_mode()
def _by_transformers(**asked: Any) -> tuple[Any, Any]:
    model, processor = _oracle()
    inputs = processor(images=IMAGE, return_tensors="pt", **asked)
    inputs.pop("original_sizes")
    return model(**inputs), processor.image_processor


def _ours(answers: Any) -> list[Concept]:
    window = views(HEIGHT, WIDTH, _loaded().side)
    count = len(answers)
    return shown(window, lambda _view, _numbers: answers, [[True] * count], ALL)


@pytest.mark.parametrize("batch", [1, 2])
def test_phrases_show_what_transformers_says(batch: int) -> None:
    model = _loaded()
    concepts = _ours(model.ask(model.encode(IMAGE), PHRASES, batch))
    for phrase, concept in zip(PHRASES, concepts, strict=True):
        said, processor = _by_transformers(text=phrase)
        _same(concept, said, processor)


def test_phrases_do_not_all_show_the_same() -> None:
    model = _loaded()
    one, other, _ = model.ask(model.encode(IMAGE), PHRASES)
    assert not torch.allclose(one.semantic, other.semantic, atol=1e-4)


def test_boxes_show_what_transformers_says() -> None:
    model = _loaded()
    boxes = [(30 / WIDTH, 20 / HEIGHT, 80 / WIDTH, 60 / HEIGHT), (0.0, 0.0, 0.25, 0.5)]
    corners = [[[30.0, 20.0, 80.0, 60.0], [0.0, 0.0, 30.0, 45.0]]]
    states = model.encode(IMAGE)
    (concept,) = _ours([model.like(states, boxes)])
    said, processor = _by_transformers(input_boxes=corners)
    _same(concept, said, processor)
    (alone,) = _ours(model.ask(states, ["visual"]))
    assert np.abs(alone.evidence - concept.evidence).max() > 1e-3  # boxes say something


def test_a_box_with_a_word_shows_what_transformers_says() -> None:
    model = _loaded()
    box = (30 / WIDTH, 20 / HEIGHT, 80 / WIDTH, 60 / HEIGHT)
    (concept,) = _ours([model.like(model.encode(IMAGE), [box], "ship")])
    said, processor = _by_transformers(input_boxes=[[[30.0, 20.0, 80.0, 60.0]]], text="ship")
    _same(concept, said, processor)


def test_a_long_phrase_is_cut_and_not_refused() -> None:
    model = _loaded()
    assert len(model.ask(model.encode(IMAGE), ["building " * 60])) == 1


def test_the_detector_alone_is_read_too(tmp_path: Path) -> None:
    folder = shutil.copytree(sam3_folder(), tmp_path / "detector")
    _oracle()[0].save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "sam3"
    model = load_concepts("detector", folder)
    ours, theirs = (m.ask(m.encode(IMAGE), ["ship"])[0] for m in (model, _loaded()))
    assert torch.equal(ours.semantic, theirs.semantic)


def test_what_knows_no_words_is_named() -> None:
    with pytest.raises(ModelError, match="kind 'sam2', which knows no words"):
        load_concepts("clicks", sam2_folder())


def test_a_folder_without_its_tokenizer_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(sam3_folder(), tmp_path / "mute")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"mute holds no tokenizer: fetch tokenizer\.json"):
        load_concepts("mute", folder)


def _same(concept: Concept, said: Any, processor: Any) -> None:
    """Identical masks, scores and semantic map."""
    sizes = [(HEIGHT, WIDTH)]
    assert concept.presence == pytest.approx(float(said.presence_logits.sigmoid()), abs=1e-6)
    wanted = processor.post_process_instance_segmentation(said, LEAST, target_sizes=sizes)[0]
    order = wanted["scores"].argsort(descending=True)
    masks = wanted["masks"][order].numpy().astype(bool)
    masks = masks[masks.any(axis=(1, 2))]
    assert len(masks) > 0
    drawn = [thing.drawn((HEIGHT, WIDTH)) for thing in concept.instances]
    scores = [thing.score for thing in concept.instances]
    assert len(drawn) == len(masks)
    assert scores == pytest.approx(wanted["scores"][order].tolist()[: len(scores)], abs=1e-5)
    assert all((one == other).mean() > 0.9999 for one, other in zip(drawn, masks, strict=True))
    semantic = processor.post_process_semantic_segmentation(
        said, sizes, return_segmentation_scores=True
    )[0].segmentation_scores[0]
    least = (semantic * concept.presence).numpy()
    assert (concept.evidence >= least - 1e-5).all()
    outside = ~np.logical_or.reduce(drawn)
    likely = concept.evidence[outside]
    assert likely.size == 0 or (likely < 1).all()
