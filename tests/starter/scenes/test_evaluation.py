from pathlib import Path

import numpy as np
import pytest

from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.scores import IGNORE
from starter.scenes import evaluation
from starter.scenes.evaluation import FIRST_CLASS_SEED, FIRST_EXPRESSION_SEED, LAND
from starter.scenes.generate import generate
from starter.scenes.types import CLASSES, EVALUATION_CLASSES


def test_class_maps_are_those_of_the_scenes() -> None:
    data = evaluation.open_classes("scenes", None, "2")
    assert data.names == EVALUATION_CLASSES
    first, second = data.samples
    assert (first.name, second.name) == (
        f"scene_{FIRST_CLASS_SEED}",
        f"scene_{FIRST_CLASS_SEED + 1}",
    )
    scene = generate(FIRST_CLASS_SEED, 512, EVALUATION_CLASSES)
    assert np.array_equal(first.image, scene.image)
    for value in np.unique(scene.class_map).tolist():
        (index,) = np.unique(first.truth[scene.class_map == value])
        assert index == (IGNORE if value == 0 else EVALUATION_CLASSES.index(CLASSES[value - 1]))


def test_every_expression_has_to_choose_among_objects_of_its_class() -> None:
    referrals = list(evaluation.open_referrals("scenes", None, "2").referrals)
    scenes = {f"scene_{s}": generate(s, 512) for s in range(2_000_000, 2_000_002)}
    assert len(referrals) >= 2
    for referral in referrals:
        assert referral.stratum in {"image-relative", "object-relative", "attribute"}
        assert referral.mask.any()
        same = scenes[referral.name].class_map == 1 + CLASSES.index(referral.category)
        assert (same | ~referral.mask).all()
        assert (same & ~referral.mask).any()
    every = sum(len(scene.expressions) for scene in scenes.values())
    assert len(referrals) < every


def test_objects_of_one_class_and_of_all_things() -> None:
    (one,) = evaluation.open_objects("scenes", None, "1", "building").images
    (every,) = evaluation.open_objects("scenes", None, "1", "all").images
    scene = generate(FIRST_EXPRESSION_SEED, 512)
    buildings = [each for each in scene.objects if each.label == "building"]
    assert one.numbers.max() == len(buildings) > 0
    assert all(
        np.array_equal(one.numbers == number, building.mask)
        for number, building in enumerate(buildings, start=1)
    )
    objects = [each for each in scene.objects if each.label not in LAND]
    assert every.numbers.max() == len(objects)
    assert set(CLASSES) > LAND


def test_sentences_have_the_noun_of_their_target() -> None:
    rows = list(evaluation.open_sentences("scenes", None, "1").sentences)
    assert all(row.category in CLASSES for row in rows)
    assert all(row.category.split()[0][:3] in row.text for row in rows)


@pytest.mark.parametrize("split", ["test", "0", "-1", "1.5", ""])
def test_a_split_that_is_no_number_is_refused(split: str) -> None:
    with pytest.raises(DatasetError, match="is no number of scenes"):
        evaluation.open_classes("scenes", Path(), split)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(DatasetError, match="scenes have no 'igloo': choose all or one of building"):
        evaluation.open_objects("scenes", None, "1", "igloo")
