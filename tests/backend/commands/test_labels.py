import pytest

from backend.commands import labels
from backend.regions.findings import ExportError

CONFIG = """
<View>
  <Image name="photo" value="$picture"/>
  <Text name="expression" value="$sentence"/>
  <BrushLabels name="a" toName="photo">
    <Label value="water" background="blue"/><Label value="road" model_skip="true"/>
    <Label value="Background"/><Label/>
  </BrushLabels>
  <EllipseLabels name="b" toName="photo">
    <Label value="tank" background="#112233"/><Label value="road" background="red"/>
  </EllipseLabels>
  <KeyPointLabels name="c" toName="photo"><Label value="point"/></KeyPointLabels>
</View>
"""


def test_a_config_says_what_people_may_mark() -> None:
    names = labels.from_config(CONFIG)
    assert list(names.labels.items()) == [("water", "blue"), ("road", "red"), ("tank", "#112233")]
    assert names.ignored == {"Background"}
    assert (names.pictures.key, names.expression_key) == ("picture", "sentence")


def test_a_config_without_models_keeps_the_usual_keys() -> None:
    xml = '<View><EllipseLabels name="b" toName="i"><Label value="tank"/></EllipseLabels></View>'
    names = labels.from_config(xml)
    assert (names.pictures.key, names.expression_key) == ("image", "expression")


@pytest.mark.parametrize("xml", ["", "<View", "<View/>", '<!DOCTYPE x [<!ENTITY a "b">]><View/>'])
def test_other_configs_are_refused(xml: str) -> None:
    with pytest.raises(ExportError, match="the label config"):
        labels.from_config(xml)


def test_a_list() -> None:
    names = labels.from_list("road, water,,other")
    assert list(names.labels) == ["road", "water"]
    assert names.ignored == {"other"}


@pytest.mark.parametrize("text", [",", "a,b,a"])
def test_wrong_lists(text: str) -> None:
    with pytest.raises(ExportError, match="label"):
        labels.from_list(text)
