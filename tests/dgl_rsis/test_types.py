import pytest

from dgl_rsis.types import names_background


@pytest.mark.parametrize(
    "name", ["background", "UNLABELLED", "OTHERS", "clutter/background", " Clutter_background"]
)
def test_a_name_that_says_none_of_the_others_is_known_however_it_is_spelt(name: str) -> None:
    assert names_background(name)


@pytest.mark.parametrize("name", ["", "another", "background noise", "road"])
def test_other_names_are_classes(name: str) -> None:
    assert not names_background(name)
