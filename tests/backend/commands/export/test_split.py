import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.commands.export import split
from backend.regions.findings import ExportError
from backend.regions.records import Item, Place

SIZES = st.dictionaries(st.text(min_size=1), st.integers(1, 50), min_size=1, max_size=40)
RATIOS = st.sampled_from([(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.34, 0.33, 0.33)])


def images(sizes: dict[str, int], parts: dict[str, split.Split], part: str) -> int:
    return sum(size for scene, size in sizes.items() if parts[scene] == part)


@given(SIZES, RATIOS, st.integers(0, 5))
def test_no_part_is_too_large_by_more_than_a_scene(
    sizes: dict[str, int], ratios: tuple[float, float, float], seed: int
) -> None:
    parts = split.assign(sizes, ratios, seed)
    assert set(parts) == set(sizes)
    for part, ratio in zip(split.SPLITS, ratios, strict=True):
        count = images(sizes, parts, part)
        assert count <= ratio * sum(sizes.values()) + max(sizes.values()) + 1e-9
        assert ratio or not count


@given(SIZES, RATIOS, st.integers(0, 5), st.randoms())
def test_depends_on_nothing_but_names_sizes_and_seed(
    sizes: dict[str, int], ratios: tuple[float, float, float], seed: int, random: object
) -> None:
    names = list(sizes)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: sizes[name] for name in names}
    assert split.assign(shuffled, ratios, seed) == split.assign(sizes, ratios, seed)


@given(SIZES, RATIOS)
def test_no_wanted_part_is_empty_while_another_has_two_scenes(
    sizes: dict[str, int], ratios: tuple[float, float, float]
) -> None:
    held = list(split.assign(sizes, ratios).values())
    wanted = [part for part, ratio in zip(split.SPLITS, ratios, strict=True) if ratio]
    assert len({*held}) == min(len(wanted), len(sizes))


@given(st.integers(20, 60), st.integers(0, 5))
def test_equal_scenes_come_near_the_ratios(count: int, seed: int) -> None:
    sizes = {f"scene-{i}": 7 for i in range(count)}
    parts = split.assign(sizes, (0.8, 0.1, 0.1), seed)
    for part, ratio in zip(split.SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert abs(images(sizes, parts, part) / 7 - ratio * count) <= 1


def test_another_seed_gives_another_split() -> None:
    sizes = {f"scene-{i}": 1 for i in range(40)}
    splits = {
        tuple(sorted(split.assign(sizes, (0.8, 0.1, 0.1), seed).items())) for seed in range(5)
    }
    assert len(splits) == 5


def test_the_split_of_a_set_is_the_same_for_ever() -> None:
    sizes = {"a": 5, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}
    assert split.assign(sizes, (0.8, 0.1, 0.1)) == {
        "a": "train", "b": "train", "c": "test", "d": "train", "e": "val", "f": "train"
    }  # fmt: skip


def test_the_scene_of_an_image() -> None:
    place = Place("delta.tif", "", None, (0, 0, 9, 9), (90, 90))
    tile, plain = (Item(1, "", 9, 9, (), (), place=p) for p in (place, None))
    name = "tiles/delta_03_04.png"
    assert split.scene_of(tile, name, re.compile("t")) == "delta.tif"
    assert split.scene_of(plain, name) == name
    assert split.scene_of(plain, name, re.compile(r"(\w+?)_\d+")) == "delta"
    assert split.scene_of(plain, name, re.compile(r"[a-z]+/[a-z]+")) == "tiles/delta"
    assert split.scene_of(plain, name, re.compile("x")) == name


def test_ratios() -> None:
    assert split.ratios_of("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
    assert split.ratios_of("0.5, 0.5") == (0.5, 0.5, 0.0)


@pytest.mark.parametrize("text", ["", "1", "0.8,0.1", "1.1,-0.1", "a,b", "nan,1", "1,0,0,0"])
def test_wrong_ratios(text: str) -> None:
    with pytest.raises(ExportError, match="1 together"):
        split.ratios_of(text)
