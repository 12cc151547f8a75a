import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from starter.scenes.drawing.palettes import PAINTS
from starter.scenes.generate import generate
from starter.scenes.types import CLASSES, EVALUATION_CLASSES, Scene
from starter.scenes.words.captions import plural

seeds = st.integers(0, 2**32 - 1)


def digest(scene: Scene) -> str:
    parts = [scene.image.tobytes(), scene.class_map.tobytes()]
    parts += [repr(scene.objects).encode(), repr(scene.captions).encode()]
    parts += [e.text.encode() + e.mask.tobytes() for e in scene.expressions]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_evaluation_classes_are_ten_of_the_classes() -> None:
    assert len(EVALUATION_CLASSES) == len(set(EVALUATION_CLASSES)) == 10
    assert set(EVALUATION_CLASSES) < set(CLASSES)
    assert len(set(CLASSES)) == len(CLASSES)


@pytest.mark.parametrize("seed", [0, 7, 123456789])
def test_same_seed_same_bytes(seed: int) -> None:
    assert digest(generate(seed, 192)) == digest(generate(seed, 192))


def test_seeds_differ() -> None:
    assert len({digest(generate(seed, 128)) for seed in range(8)}) == 8


@pytest.mark.parametrize("size", [64, 65, 200, 512])
def test_shapes(size: int) -> None:
    scene = generate(3, size)
    assert scene.image.shape == (size, size, 3)
    assert scene.image.dtype == np.uint8
    assert scene.class_map.shape == (size, size)
    assert scene.class_map.dtype == np.uint8
    assert 0.15 <= scene.metres_per_pixel <= 1.5


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_objects_are_disjoint_and_are_the_class_map(seed: int) -> None:
    scene = generate(seed, 160)
    rebuilt = np.zeros_like(scene.class_map)
    times_covered = np.zeros(scene.class_map.shape, int)
    for each in scene.objects:
        mask = each.mask
        rebuilt[mask] = CLASSES.index(each.label) + 1
        times_covered += mask
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert each.box == box
        assert each.area == mask.sum() > 0
    assert times_covered.max() <= 1
    np.testing.assert_array_equal(rebuilt, scene.class_map)


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_three_to_seven_classes(seed: int) -> None:
    # On 160 pixels the last of the generator's attempts may show two, as those of seed 2833 do.
    present = np.unique(generate(seed, 256).class_map)
    assert 3 <= np.count_nonzero(present) <= 7


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_only_the_asked_classes_are_drawn(seed: int) -> None:
    scene = generate(seed, 160, EVALUATION_CLASSES)
    assert {each.label for each in scene.objects} <= set(EVALUATION_CLASSES)
    assert len({each.label for each in scene.objects}) >= 3


@pytest.mark.parametrize("label", CLASSES)
def test_every_class_is_drawn_somewhere(label: str) -> None:
    company = {"runway": {"airplane"}, "ground track field": {"tennis court"}}.get(label, set())
    allowed = {label, "building", "road", "water", "farmland", "bare land"} | company
    scenes = (generate(seed, 192, allowed) for seed in range(80))
    assert any(each.label == label for scene in scenes for each in scene.objects)


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_expressions_name_visible_objects_of_their_class(seed: int) -> None:
    scene = generate(seed, 256)
    texts = [e.text for e in scene.expressions]
    assert len(set(texts)) == len(texts)
    for expression in scene.expressions:
        of_class = scene.class_map == CLASSES.index(expression.noun) + 1
        assert expression.mask.any()
        assert not (expression.mask & ~of_class).any()
        assert expression.noun in expression.text
        targets = [o for o in scene.objects if (o.mask & expression.mask).any()]
        assert sum(o.area for o in targets) == expression.mask.sum()  # whole objects
        assert (len(targets) > 1) == (plural(expression.noun) in expression.text) or (
            plural(expression.noun) == expression.noun
        )


@settings(max_examples=12, deadline=None)
@given(seeds)
def test_superlatives_and_colours_hold(seed: int) -> None:
    scene = generate(seed, 256)
    for expression in scene.expressions:
        same = [o for o in scene.objects if o.label == expression.noun]
        chosen = [o for o in same if (o.mask & expression.mask).any()]
        others = [o for o in same if not (o.mask & expression.mask).any()]
        words = expression.text.split()
        if "largest" in words:
            assert all(o.area < chosen[0].area for o in others)
        if "smallest" in words:
            assert all(o.area > chosen[0].area for o in others)
        if words[:2] == ["the", "leftmost"]:
            assert all(mean_x(o.mask) > mean_x(chosen[0].mask) for o in others)
        if expression.text.startswith(f"the {words[1]} {expression.noun}") and (
            words[1] in PAINTS and expression.stratum == "attribute"
        ):
            assert {o.attributes["colour"] for o in chosen} == {words[1]}
            assert words[1] not in {o.attributes.get("colour") for o in others}


def mean_x(mask: NDArray[np.bool_]) -> float:
    return float(np.nonzero(mask)[1].mean())


def test_most_scenes_have_three_expressions_of_several_kinds() -> None:
    scenes = [generate(seed, 256) for seed in range(24)]
    enough = sum(len(scene.expressions) >= 3 for scene in scenes)
    assert enough >= 16
    assert {e.stratum for scene in scenes for e in scene.expressions} == {
        "image-relative",
        "object-relative",
        "attribute",
    }


def test_captions_name_every_class_and_no_other() -> None:
    for seed in range(12):
        scene = generate(seed, 192)
        present = {each.label for each in scene.objects}
        for sentence in scene.captions[:2]:
            for label in present:
                assert label in sentence
        for label in set(CLASSES) - present:
            hidden_in = {p for p in present if label in p}  # "road" is not in "water"
            assert hidden_in or label not in scene.captions[0].split(" of ")[-1]


def test_images_are_varied_and_neither_black_nor_white() -> None:
    means = np.array([generate(seed, 128).image.mean() for seed in range(24)])
    assert means.std() > 12
    assert ((means > 12) & (means < 250)).all()


def test_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match="'castle'"):
        generate(0, 128, {"castle", "road"})


def test_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no classes"):
        generate(0, 128, ())


def test_size_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="size 32"):
        generate(0, 32)


@pytest.mark.parametrize("label", ["water", "bare land", "airplane", "building"])
def test_one_class_alone_is_possible(label: str) -> None:
    scene = generate(1, 128, {label})
    assert {each.label for each in scene.objects} == {label}


@pytest.mark.parametrize("label", ["car", "ship", "bridge"])
def test_what_cannot_stand_alone_is_refused_with_a_way_out(label: str) -> None:
    with pytest.raises(ValueError, match="add them"):
        generate(1, 64, {label})


def test_a_scene_is_quick() -> None:
    start = time.process_time()
    for seed in range(5):
        generate(seed)
    assert (time.process_time() - start) / 5 < 1.0  # 0.2 s measured; room for a loaded machine
