"""Labels as data sets and people spell them get about what their head noun gets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands import words
from backend.commands.labels import label_sets, read_names
from dgl_rsis.api import load
from dgl_rsis.classes import knowledge, pipeline, vocabulary
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.names import names_background
from dgl_rsis.types import Label
from tests.backend.commands.command_line import dgl_rsis

IMAGE = Path(__file__).parent / "data" / "label-qualifier" / "t6.png"
PARAMETERS = OvssParameters()
# Label → what it is.
PAINTED = {
    "building": ["building footprint", "Building_Footprint", "BuildingFootprint", "building_1"],
    "house": ["residential building", "commercial buildings", "roof of a house", "built-up"],
    "road": ["paved road", "road (paved)", "asphalt_road", "road network", "roads with cars"],
    "bare land": ["bare / sparse vegetation", "barren land", "bare soil area", "sandy bare ground"],
}
MEANT = {
    "tree": ["tree cover", "forest land", "row of trees", "deciduous forest", "tree canopy"],
    "farmland": ["cropland", "agricultural fields", "plowed land", "rice field"],
    "water": ["permanent water bodies", "water surface", "body of water", "inland-water"],
    "building": ["urban land", "damaged building", "building outlines", "aircraft hangar"],
    "truck": ["truck w/box", "dump truck"],
    "airplane": ["fixed-wing aircraft", "small aircraft"],
}


@pytest.fixture(scope="module")
def encoded() -> EncodedImage:
    with Image.open(IMAGE) as image:
        return pipeline.encode_image(np.asarray(image.convert("RGB")), load(), PARAMETERS)


def shares(encoded: EncodedImage, *names: str) -> list[float]:
    """What part of the image each label gets."""
    asked = vocabulary.prepare([Label(name) for name in names], load())
    classes = pipeline.classify(encoded, asked, load(), PARAMETERS).class_map
    return [float((classes == i + 1).mean()) for i in range(len(names))]


@pytest.mark.parametrize(("head", "name"), [(h, n) for h, names in PAINTED.items() for n in names])
def test_a_qualified_label_gets_what_its_head_noun_gets(
    encoded: EncodedImage, head: str, name: str
) -> None:
    (wanted,), (got,) = shares(encoded, head), shares(encoded, name)
    assert wanted > 0.02
    assert got == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(("head", "name"), [(h, n) for h, names in MEANT.items() for n in names])
def test_a_qualified_label_means_its_head_noun(head: str, name: str) -> None:
    assert knowledge.means(name, head)
    assert set(knowledge.phrases([Label(head)])[0].phrases[1:]) <= set(
        knowledge.phrases([Label(name)])[0].phrases
    )


@pytest.mark.parametrize("name", ["water tower", "road marking", "building shadow", "car wash"])
def test_a_label_does_not_mean_what_only_qualifies_it(name: str) -> None:
    assert not any(knowledge.means(name, other) for other in ("water", "road", "building", "car"))


def test_a_label_of_two_things_means_both() -> None:
    phrases = knowledge.phrases([Label("shrub & scrub / Trees")])[0].phrases
    assert {"bushes", "forest"} <= set(phrases)


def test_a_word_that_nobody_knows_is_not_painted(encoded: EncodedImage) -> None:
    alone = shares(encoded, "road")
    assert shares(encoded, "zorblax", "road", "non-building") == [0.0, *alone, 0.0]


def test_what_is_not_painted_is_said_before_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = dgl_rsis(
        "segment", str(IMAGE), "--labels", "road,buidling,zorblax,not water", "--out", str(tmp_path)
    )
    assert status == 1
    said = caplog.text[: caplog.text.index("loaded starter")]
    assert "label 'buidling' is not painted: the starter weights have no word of it" in said
    assert "did you mean 'building'?" in said
    assert "label 'zorblax' is not painted" in said
    assert "label 'not water' is not painted: 'not' says what a thing is not" in said
    assert "'road'" not in said
    assert (tmp_path / "t6.classes.png").exists()


def test_words_are_open_to_weights_that_may_know_any() -> None:
    labels = [Label("oil rig"), Label("non-building"), Label("river")]
    assert [words.left_out([x], "remoteclip-vit-b-32") != () for x in labels] == [
        False,
        True,
        False,
    ]
    assert "asked for as it is written" in words.as_written(labels, "remoteclip-vit-b-32")[0]


# ---- sets of labels ------------------------------------------------------------------------------

# What no image that the starter weights learnt from shows; everything else gets phrases of ours.
UNSEEN = {
    "worldcover": {"snow and ice", "herbaceous wetland", "moss and lichen"},
    "dynamicworld": {"flooded vegetation", "snow & ice"},
    "flair": {"snow"},
    "xview": {
        "railway vehicle", "cargo car", "flat car", "tank car", "locomotive", "tower crane",
        "crane truck", "container crane", "reach stacker", "straddle carrier", "mobile crane",
        "construction site", "helipad", "shipping container lot", "shipping container", "pylon",
        "tower",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(label_sets()))
def test_every_class_of_a_set_is_known(name: str) -> None:
    names = read_names(f"@{name}")
    assert len(names) == len(set(names)) == len(label_sets()[name]["classes"])
    labels = [Label(x, background=names_background(x)) for x in names]
    assert all(x.background or knowledge.is_known(x.name) for x in labels)
    lost = {x.name for x in labels if knowledge.unasked(x, closed=True)}
    assert lost == UNSEEN.get(name, set())


def test_sets_stand_among_other_labels_however_they_are_spelt() -> None:
    assert read_names("pool, @World-Cover") == ["pool", *read_names("@worldcover")]


def test_a_set_that_is_not_known_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    status, output = dgl_rsis("config", "--labels", "@corine")
    assert status == 2
    assert "no set of labels '@corine': choose of @worldcover, @dynamicworld" in output
