import tomllib
from importlib.resources import files

import pytest

from dgl_rsis.classes import knowledge
from dgl_rsis.classes.indices import INDICES
from dgl_rsis.types import Label

DATA = tomllib.loads(files("dgl_rsis.classes").joinpath("knowledge.toml").read_text("utf-8"))
VOCABULARIES = {
    "iSAID": "ship, storage_tank, baseball_diamond, tennis_court, basketball_court, "
    "Ground_Track_Field, Bridge, Large_Vehicle, Small_Vehicle, Helicopter, Swimming_pool, "
    "Roundabout, Soccer_ball_field, plane, Harbor",
    "LoveDA": "building, road, water, barren, forest, agriculture",
    "Potsdam": "impervious surfaces, building, low vegetation, tree, car",
    "OpenEarthMap": "bareland, rangeland, developed space, road, tree, water, "
    "agriculture land, building",
    "DIOR": "airplane, airport, baseballfield, basketballcourt, bridge, chimney, dam, "
    "Expressway-Service-area, Expressway-toll-station, golffield, groundtrackfield, harbor, "
    "overpass, ship, stadium, storagetank, tenniscourt, trainstation, vehicle, windmill",
    "Dubai": "building, land, road, vegetation, water",
}


@pytest.mark.parametrize(
    ("vocabulary", "name"), [(v, n) for v, names in VOCABULARIES.items() for n in names.split(", ")]
)
def test_every_class_of_the_vocabularies_is_known(vocabulary, name):
    entry = knowledge.phrases([Label(name)])[0]
    assert len(entry.phrases) >= 2, f"{name} of {vocabulary} has no phrases beside its name"


def test_the_data_are_consistent():
    classes = DATA["classes"]
    names = [n for entry in classes.values() for n in (*entry["names"], *entry.get("also", ()))]
    assert len(names) == len(set(names))
    assert all(entry["phrases"] for entry in classes.values())
    known = set(classes)
    assert set(DATA["background"]) <= known
    assert all(set(entry.get("covers", ())) <= known for entry in classes.values())
    assert all("{c}" in template for template in DATA["templates"])


def test_a_users_synonyms_come_before_the_projects():
    entry = knowledge.phrases([Label("building", synonyms=("hangar",))])[0]
    assert entry.phrases[:2] == ("building", "hangar")


def test_an_unknown_word_is_asked_for_as_it_is():
    entry = knowledge.phrases([Label("Oil_Rig")])[0]
    assert entry.phrases == ("oil rig",)
    assert "an aerial image of oil rig." in knowledge.prompts("oil rig")


def test_what_the_labels_do_not_cover_is_the_background():
    *_, background = knowledge.phrases([Label("building")])
    assert background.label.background
    assert "road" in background.phrases
    assert "building" not in background.phrases
    assert "house" not in background.phrases


def test_labels_that_cover_the_surroundings_leave_no_background():
    names = ("building", "land", "road", "vegetation", "water")
    *asked, background = knowledge.phrases([Label(name) for name in names])
    assert [entry.label.name for entry in asked] == list(names)
    assert {"car", "ship"} <= set(background.phrases)  # things stand on any ground
    names = (*names, *background.phrases)
    entries = knowledge.phrases([Label(name) for name in names])
    assert [entry.label.name for entry in entries] == list(names)


def test_a_phrase_without_a_size_is_as_wide_as_its_label():
    car, unknown = knowledge.phrases([Label("car", ("jalopy",)), Label("zebra")])[:2]
    assert car.extents[1] == car.extents[0] == knowledge.extent("car")
    assert car.largest[1] == knowledge.largest("car")
    assert (unknown.extents, unknown.largest) == ((None,), (None,))
    assert knowledge.largest("land") is None  # of land no place is without any


def test_the_widths_of_things_are_in_order():
    for entry in DATA["classes"].values():
        least, most = entry.get("metres", (1, 1))
        assert 0 < least <= most
        assert entry.get("largest", most) >= most


def test_a_background_label_takes_the_surroundings():
    entries = knowledge.phrases([Label("building"), Label("background", background=True)])
    assert len(entries) == 2
    assert "water" in entries[1].phrases
    assert "background" not in entries[1].phrases


def test_without_knowledge_labels_are_their_names():
    entries = knowledge.phrases([Label("building", ("hangar",)), Label("x")], enrich=False)
    assert [entry.phrases for entry in entries] == [("building", "hangar"), ("x",)]


def test_a_noun_names_its_label_by_name_then_synonym_then_knowledge():
    labels = [Label("Rooftop"), Label("tanks", synonyms=("oil depot",)), Label("road")]
    assert knowledge.named("building", labels) == "Rooftop"  # the same table
    assert knowledge.named("rooftop", labels) == "Rooftop"
    assert knowledge.named("oil depot", labels) == "tanks"
    assert knowledge.named("streets", labels) == "road"
    assert knowledge.named("zebra", labels) is None
    assert knowledge.named("woods", [Label("Forests")]) == "Forests"
    # The label's own word goes before another label's table.
    assert knowledge.named("house", [Label("building"), Label("house")]) == "house"


@pytest.mark.parametrize(
    ("label", "noun"),
    [
        ("buses", "bus"),
        ("Churches", "church"),
        ("classes", "class"),
        ("boxes", "box"),
        ("glass", "glass"),
        ("wharves", "wharf"),
    ],
)
def test_a_singular_noun_names_its_label_in_the_plural(label, noun):
    assert knowledge.named(noun, [Label("x"), Label(label)]) == label
    assert knowledge.named(label, [Label("x"), Label(noun)]) == noun


def test_rivals_are_all_known_classes_but_those_that_are_meant():
    every, ships = knowledge.rivals(()), knowledge.rivals(["ship", "roundabout"])
    assert set(every) - set(ships) == {"ship", "roundabout"}
    assert knowledge.rivals(["flying saucer"]) == every
    green = knowledge.rivals(["vegetation"])
    assert not {"trees", "grass", "farmland", "vegetation"} & set(green)
    assert "vegetation" not in knowledge.rivals(["tree"])


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("Houses", "building", True),
        ("grass", "vegetation", True),
        ("vegetation", "grass", False),
        ("sand", "land", True),
        ("storage_tank", "oil tank", True),
        ("water tower", "water towers", True),  # not in the data: by its spelling
        ("water tower", "chimney", False),
        ("water tower", "beacon", False),
    ],
)
def test_what_means_the_same_or_a_part_of_it(name: str, other: str, expected: bool):
    assert knowledge.means(name, other) is expected


def test_what_indices_say_is_known_of_each_phrase():
    water, unlike = knowledge.phrases([Label("sea", synonyms=("brine",)), Label("car")])[:2]
    assert all(tie["ndwi"] == (0.0, 0.1) for tie in knowledge.ties(water))
    assert len(knowledge.ties(water)) == len(water.phrases)
    assert not any(knowledge.ties(unlike))


def test_a_background_is_tied_by_what_its_phrases_are():
    background = knowledge.phrases([Label("water")])[-1]
    tied = dict(zip(background.phrases, knowledge.ties(background), strict=True))
    assert tied["trees"]["ndvi"][1] > 0 > tied["building"]["ndvi"][1]
    assert tied["car"] == {}


def test_evidence_names_indices_and_says_how_soft_its_threshold_is():
    ties = [entry.get("evidence", {}) for entry in DATA["classes"].values()]
    assert {name for tie in ties for name in tie} == set(INDICES)
    for threshold, softness in (values for tie in ties for values in tie.values()):
        assert -1 < threshold < 1
        assert softness != 0
