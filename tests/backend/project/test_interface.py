from collections.abc import Sequence
from xml.etree.ElementTree import Element

from label_studio_sdk.label_interface import LabelInterface

from backend.project import label_config, markup
from backend.project.interface import Wanted, write

# What one key, or Shift and a key, does in Label Studio 1.23.2 while an image is labelled.
TAKEN = {*"behkmoprvuw", "shift+1", "shift+2", "shift+r", "escape", "enter", "backspace", "delete"}
TEN = tuple(f"label {number}" for number in range(10))


def keys(xml: str, control: str) -> dict[str, str | None]:
    """Label → its key, of one control."""
    return {name: label.get("hotkey") for name, label in markup.labels(element(xml, control))}


def element(xml: str, control: str) -> Element:
    (one,) = (e for e in markup.parse(xml).iter() if e.get("name") == control)
    return one


def written(*names: str) -> str:
    return write(Wanted(names))


def all_keys(names: Sequence[str]) -> list[str]:
    xml = write(Wanted(names))
    return [key for name in ("mask", "click", "box") for key in keys(xml, name).values() if key]


def test_no_key_does_two_things() -> None:
    assert len(all_keys(TEN)) == 30
    assert len({*all_keys(TEN)}) == 30
    assert not {*all_keys(TEN)} & TAKEN


def test_a_label_has_the_same_place_on_the_keyboard_for_each_tool() -> None:
    xml = written("road", "background", "water")
    assert keys(xml, "mask") == {"road": "1", "background": "2", "water": "3"}
    assert keys(xml, "click") == {"road": "a", "water": "d"}
    assert keys(xml, "box") == {"road": "shift+a", "water": "shift+d"}


def test_labels_beyond_the_tenth_get_a_key_that_nobody_can_press() -> None:
    mask = keys(written(*TEN, "one more"), "mask")
    assert mask["label 9"] == "0"
    assert mask["one more"] == " "


def test_synonyms_reach_the_vocabulary() -> None:
    xml = write(Wanted(("road", "water"), synonyms={"water": ("river", "sea")}))
    labels = {label.name: label.synonyms for label in label_config.parse(xml).labels}
    assert labels == {"road": (), "water": ("river", "sea")}


def test_only_tools_that_send_what_they_draw_are_smart() -> None:
    for polygons in (False, True):
        xml = write(Wanted(("road",), polygons=polygons))
        assert element(xml, "mask").get("smart") == "false"
        for control in ("click", "box"):
            assert element(xml, control).get("smartOnly") == "true"


def test_a_field_for_reasons_takes_no_line() -> None:
    reason = LabelInterface(written("road")).get_control("reason")
    assert (reason.tag, reason.to_name) == ("TextArea", ["image"])
    assert element(written("road"), "reason").get("maxSubmissions") == "0"
    assert label_config.parse(written("road")).reason_on == "image"


def test_all_tools_stand_before_the_image() -> None:
    names = [e.get("name") for e in markup.parse(written("road")).iter() if e.get("name")]
    assert names == ["prompt", "reason", "mask", "click", "box", "image"]
