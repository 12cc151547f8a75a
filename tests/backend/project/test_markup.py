import pytest

from backend.project import markup


@pytest.mark.parametrize("text", ["true", " TRUE ", "1", "yes", "Yes"])
def test_what_says_yes(text: str) -> None:
    assert markup.is_true(text)


@pytest.mark.parametrize("text", [None, "", "false", "0", "no", "on"])
def test_what_does_not(text: str | None) -> None:
    assert not markup.is_true(text)


def test_the_labels_of_a_control_are_those_with_a_name() -> None:
    root = markup.parse(
        '<BrushLabels><label value=" a "/><Label/><Choice value="b"/></BrushLabels>'
    )
    assert markup.tag(root) == "brushlabels"
    assert [name for name, _ in markup.labels(root)] == ["a"]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<View", "is not well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "declares a document type or entities"),
        ("<View>" + " " * markup.MAX_CHARACTERS, "characters; at most"),
    ],
)
def test_what_is_no_label_config_is_named(xml: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        markup.parse(xml)
