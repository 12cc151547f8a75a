import pytest

from dgl_rsis.names import names_background, normal_name, singular


@pytest.mark.parametrize(
    "name", ["background", "UNLABELLED", "OTHERS", "clutter/background", " Clutter_background"]
)
def test_a_name_that_says_none_of_the_others_is_known_however_it_is_spelt(name: str) -> None:
    assert names_background(name)


@pytest.mark.parametrize("name", ["", "another", "background noise", "road"])
def test_other_names_are_classes(name: str) -> None:
    assert not names_background(name)


@pytest.mark.parametrize(
    ("spellings", "normal"),
    [
        (("Factories", "factory", " FACTORY "), "factory"),
        (("swimming_pools", "Swimming-Pool", "swimming  pool"), "swimming pool"),
        (("meadow/grass", "Meadow grass"), "meadow grass"),
        (("buses", "Bus"), "bus"),
        (("school-buses", "school bus"), "school bus"),
        (("Churches", "church"), "church"),
        (("classes", "class"), "class"),
        (("boxes", "box"), "box"),
        (("glass", "Glasses"), "glass"),
        (("people", "person"), "person"),
        (("", " - "), ""),
    ],
)
def test_spellings_of_one_class_share_a_name(spellings: tuple[str, ...], normal: str) -> None:
    assert {normal_name(spelling) for spelling in spellings} == {normal}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ferries", "ferry"),
        ("buses", "bus"),
        ("houses", "house"),
        ("boxes", "box"),
        ("wharves", "wharf"),
        ("people", "person"),
        ("tennis", "tennis"),
        ("campus", "campus"),
        ("overpass", "overpass"),
        ("aircraft", "aircraft"),
        ("bridges", "bridge"),
        ("churches", "church"),
        ("crossroads", "crossroads"),
        ("pies", "pie"),
        ("gas", "gas"),
        ("volcanoes", "volcano"),
    ],
)
def test_singulars(word: str, expected: str) -> None:
    assert singular(word) == expected
    assert singular(expected) == expected
