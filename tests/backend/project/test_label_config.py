from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from backend.project.label_config import (
    LONGEST_NAME,
    MOST_LABELS,
    MOST_PROBLEMS,
    LabelConfig,
    parse,
)
from backend.project.markup import MAX_CHARACTERS, MOST_CONTROLS
from backend.project.tasks import TaskError
from dgl_rsis.types import Label

# As recorded from Label Studio 1.23.2.
RECORDED = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image">
    <Label value="ship" background="#FF0000"/><Label value="water" background="#0000FF"/>
  </BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="ship"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true"><Label value="ship"/></RectangleLabels>
  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"/>
</View>"""


def config(controls: str, images: str = '<Image name="image" value="$image"/>') -> LabelConfig:
    return parse(f"<View>{images}{controls}</View>")


def brush(labels: str, attributes: str = "") -> str:
    return f'<BrushLabels name="brush" toName="image" {attributes}>{labels}</BrushLabels>'


def only_problem(parsed: LabelConfig) -> str:
    (problem,) = parsed.problems
    return problem


def test_the_recorded_config() -> None:
    parsed = parse(RECORDED)
    assert parsed.problems == ()
    assert parsed.image_key == "image"
    assert parsed.labels == (Label("ship"), Label("water"))
    assert parsed.colours == {"ship": "#FF0000", "water": "#0000FF"}
    assert [(c.kind, c.name, c.to_name, c.mode) for c in parsed.controls] == [
        ("brushlabels", "brush", "image", "semantic"),
        ("rectanglelabels", "rect", "image", "instance"),
    ]
    assert parsed.controls[1].labels == {"ship"}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('maxSubmissions="0"', "image"),
        ("", ""),
        ('maxSubmissions="1"', ""),
        ('editable="false"', ""),
        ('maxSubmissions="0" perRegion="true"', ""),
    ],
)
def test_reasons_go_where_nobody_can_type(attributes: str, expected: str) -> None:
    field = f'<TextArea name="reason" toName="image" {attributes}/>'
    assert config(brush('<Label value="ship"/>') + field).reason_on == expected
    assert config(field).reason_on == expected


def test_the_sdk_reads_the_same_controls_and_labels() -> None:
    parsed = parse(RECORDED)
    interface = LabelInterface(RECORDED)
    for control in parsed.controls:
        theirs = interface.get_control(control.name)
        assert theirs.to_name == [control.to_name]
        assert set(theirs.labels) == control.labels


def test_upstreams_conventions() -> None:
    parsed = config(
        brush(
            '<Label value="building" predicted_values="rooftop, house ,," '
            'model_score_threshold="0.7"/><Label value="road"/>'
            '<Label value="secret" model_skip="true"/>',
            'model_score_threshold="0.4"',
        )
    )
    assert parsed.labels == (
        Label("building", ("rooftop", "house"), threshold=0.7),
        Label("road", threshold=0.4),
    )
    assert parsed.controls[0].labels == {"building", "road"}


@pytest.mark.parametrize(
    "name", ["background", "Background", "UNLABELED", "unlabelled", "Other", "clutter"]
)
def test_the_background_is_known_by_its_name(name: str) -> None:
    parsed = config(brush(f'<Label value="road"/><Label value="{name}"/>'))
    assert [(p.name, p.background) for p in parsed.labels] == [("road", False), (name, True)]
    assert parsed.controls[0].labels == {"road"}


def test_a_label_in_several_controls_is_one_class() -> None:
    parsed = config(
        brush('<Label value="ship" predicted_values="boat" model_score_threshold="0.5"/>')
        + '<PolygonLabels name="outline" toName="image">'
        '<Label value="ship" background="red" predicted_values="vessel,boat" '
        'model_score_threshold="0.3"/><Label value="car"/></PolygonLabels>'
    )
    assert parsed.labels == (Label("ship", ("boat", "vessel"), 0.3), Label("car"))
    assert parsed.colours == {"ship": "red"}


def test_labels_with_different_thresholds_take_the_smallest_and_it_is_said() -> None:
    parsed = config(
        brush('<Label value="ship"/><Label value="car"/>', 'model_score_threshold="0.5"')
        + '<RectangleLabels name="box" toName="image" model_score_threshold="0.3">'
        '<Label value="ship"/><Label value="car" model_score_threshold="0.5"/></RectangleLabels>'
        '<PolygonLabels name="outline" toName="image"><Label value="ship"/></PolygonLabels>'
    )
    assert parsed.labels == (Label("ship", threshold=0.3), Label("car", threshold=0.5))
    assert only_problem(parsed).endswith("take the smallest in all of them: 'ship' 0.3.")


def test_what_is_skipped_or_on_another_image_sets_no_threshold() -> None:
    parsed = config(
        brush('<Label value="car" model_score_threshold="0.5"/>')
        + '<PolygonLabels name="p" toName="image" model_skip="true">'
        '<Label value="car" model_score_threshold="0.1"/></PolygonLabels>'
        '<PolygonLabels name="q" toName="nir">'
        '<Label value="car" model_score_threshold="0.2"/><Label value="other"/></PolygonLabels>',
        '<Image name="image" value="$image"/><Image name="nir" value="$nir"/>',
    )
    assert parsed.labels == (Label("car", threshold=0.5),)
    assert "'q' is on image 'nir'" in only_problem(parsed)


@pytest.mark.parametrize(
    "labels",
    [
        '<Label value="car" model_skip="true"/><Label value="ship" model_skip="1"/>',
        '<Label value="background"/><Label value="Other"/>',
        '<Label value="car" model_skip="yes"/><Label value="background"/>',
    ],
)
def test_a_control_of_which_no_label_counts_is_named_and_the_others_are_used(labels: str) -> None:
    alone = config(brush(labels))
    assert alone.controls == ()
    assert "<BrushLabels name='brush'> has no labels to predict" in alone.problems[0]
    assert "model_skip do not count" in alone.problems[0]
    assert "no usable control" in alone.problems[-1]
    polygon = '<PolygonLabels name="p" toName="image"><Label value="road"/></PolygonLabels>'
    beside = config(brush(labels) + polygon)
    assert [control.name for control in beside.controls] == ["p"]
    assert beside.labels == (Label("road"),)


def test_a_skipped_control_takes_nothing_and_adds_no_words() -> None:
    parsed = config(
        brush('<Label value="ship"/>')
        + '<PolygonLabels name="p" toName="image" model_skip="1"><Label value="car"/>'
        "</PolygonLabels>"
    )
    assert [c.name for c in parsed.controls] == ["brush"]
    assert parsed.labels == (Label("ship"),)
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("tag", "attributes", "classes", "objects"),
    [
        ("BrushLabels", "", True, False),
        ("BitmaskLabels", "", True, False),
        ("PolygonLabels", "", False, True),
        ("RectangleLabels", "", False, True),
        ("BrushLabels", 'model_mode="instance"', False, True),
        ("PolygonLabels", 'model_mode="Semantic"', True, False),
    ],
)
def test_modes(tag: str, attributes: str, classes: bool, objects: bool) -> None:
    parsed = config(f'<{tag} name="c" toName="image" {attributes}><Label value="car"/></{tag}>')
    request = parsed.to_request({"id": 7, "data": {"image": "/data/upload/1/a.png"}}, "v1")
    assert (request.classes, request.objects) == (classes, objects)
    assert (request.task_id, request.image) == ("7", "/data/upload/1/a.png")
    assert [label.name for label in request.labels] == ["car"]
    assert request.model_version == "v1"


def test_an_unknown_mode_is_named() -> None:
    parsed = config(brush('<Label value="car"/>', 'model_mode="panoptic"'))
    assert parsed.controls[0].mode == "semantic"
    assert "model_mode='panoptic'" in only_problem(parsed)


@pytest.mark.parametrize("threshold", ["2", "-0.1", "nan", "high", "", "inf"])
def test_a_threshold_that_is_no_probability_is_named(threshold: str) -> None:
    parsed = config(brush(f'<Label value="car" model_score_threshold="{threshold}"/>'))
    assert parsed.labels == (Label("car"),)
    assert f"model_score_threshold='{threshold}'" in only_problem(parsed)


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("", "not well-formed"),
        ("<View>", "not well-formed"),
        ("no xml", "not well-formed"),
        ("<View>" + " " * MAX_CHARACTERS + "</View>", "at most 1000000"),
        ('<!DOCTYPE v [<!ENTITY a "b">]><View>&a;</View>', "document type or entities"),
        ('<!DOCTYPE v SYSTEM "file:///etc/passwd"><View/>', "document type or entities"),
        ("<View/>", "no usable control"),
        ('<View><Image name="i" value="$i"/></View>', "no usable control"),
    ],
)
def test_a_config_that_cannot_be_served_says_why(xml: str, words: str) -> None:
    parsed = parse(xml)
    assert parsed.controls == ()
    assert words in only_problem(parsed)
    with pytest.raises(TaskError, match=words):
        parsed.to_request({"id": 1, "data": {"image": "a.png"}}, "v1")


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        (brush(""), "<BrushLabels name='brush'> has no labels"),
        (brush('<Label value="background"/>'), "has no labels to predict"),
        (brush('<Label value=" "/>'), "has a label without value"),
        ('<BrushLabels toName="image"><Label value="a"/></BrushLabels>', "has no name"),
        (
            '<BrushLabels name="b" toName="imag"><Label value="a"/></BrushLabels>',
            "toName='imag', which names no image of the config (images: 'image')",
        ),
        ('<BrushLabels name="b"><Label value="a"/></BrushLabels>', "names no image"),
    ],
)
def test_an_unusable_control_is_named(controls: str, words: str) -> None:
    parsed = config(controls)
    assert parsed.controls == ()
    assert words in " ".join(parsed.problems)
    assert "no usable control" in parsed.problems[-1]


def test_other_controls_are_noted_and_those_of_other_features_are_not() -> None:
    parsed = config(
        brush('<Label value="car"/>')
        + '<VectorLabels name="e" toName="image"><Label value="a"/></VectorLabels>'
        '<Future name="f" toName="image"/>'
        '<Choices name="c" toName="image"><Choice value="x"/></Choices>'
        '<KeyPointLabels name="k" toName="image"><Label value="a"/></KeyPointLabels>'
        '<Header value="h"/><Unheard/>'
    )
    assert [problem.split(" is left alone")[0] for problem in parsed.problems] == [
        "<VectorLabels name='e'>",
        "<Future name='f'>",
    ]
    assert [label.name for label in parsed.labels] == ["car"]


TWO_IMAGES = '<Image name="rgb" value="$images.rgb"/><Image name="nir" value="$nir"/>'


def test_with_two_images_the_controls_own_counts() -> None:
    parsed = config(
        '<BrushLabels name="b" toName="nir"><Label value="car"/></BrushLabels>', TWO_IMAGES
    )
    assert parsed.problems == ()
    assert parsed.image_key == "nir"


def test_controls_on_two_images_are_ambiguous_and_the_first_wins() -> None:
    parsed = config(
        '<BrushLabels name="a" toName="rgb"><Label value="car"/></BrushLabels>'
        '<BrushLabels name="b" toName="nir"><Label value="tree"/></BrushLabels>',
        TWO_IMAGES,
    )
    assert [c.name for c in parsed.controls] == ["a"]
    assert parsed.image_key == "images.rgb"
    assert parsed.labels == (Label("car"),)
    assert "'b' is on image 'nir'" in only_problem(parsed)


def test_a_control_on_both_images_is_ambiguous() -> None:
    parsed = config(
        '<BrushLabels name="b" toName="rgb,nir"><Label value="car"/></BrushLabels>', TWO_IMAGES
    )
    assert parsed.controls == ()
    assert "names several images (images: 'rgb', 'nir')" in parsed.problems[0]


def test_a_control_on_an_image_and_a_text_is_on_the_image() -> None:
    parsed = config(
        '<BrushLabels name="b" toName="t, image"><Label value="car"/></BrushLabels>',
        '<Image name="image" value="$image"/><Text name="t" value="$t"/>',
    )
    assert parsed.controls[0].to_name == "image"


@pytest.mark.parametrize("image", ['value="a.png"', 'valueList="pages"', "", 'value="$"'])
def test_an_image_that_is_not_one_of_the_tasks_is_named(image: str) -> None:
    parsed = config(brush('<Label value="car"/>'), f'<Image name="image" {image}/>')
    assert parsed.controls == ()
    assert "<Image name='image'>" in parsed.problems[0]


def test_300_labels_and_unicode() -> None:
    names = [f"建物 {i} – zone d'activité ß" for i in range(300)]
    parsed = config(brush("".join(f'<Label value="{name}"/>' for name in names)))
    assert [label.name for label in parsed.labels] == names
    assert parsed.problems == ()


def test_too_many_labels_are_refused() -> None:
    parsed = config(brush("".join(f'<Label value="{i}"/>' for i in range(MOST_LABELS + 1))))
    assert parsed.controls == ()
    assert f"has {MOST_LABELS + 1} labels; at most {MOST_LABELS}" in only_problem(parsed)


def test_of_many_problems_some_are_told_and_the_last() -> None:
    unknown = "".join(f'<Ellipse name="e{i}" toName="image"/>' for i in range(400))
    parsed = config(unknown)
    assert len(parsed.problems) == MOST_PROBLEMS + 1
    assert "no usable control" in parsed.problems[-1]


def test_as_many_controls_are_read_as_are_allowed() -> None:
    controls = "".join(
        f'<BrushLabels name="b{i}" toName="image"><Label value="a"/></BrushLabels>'
        for i in range(MOST_CONTROLS)
    )
    assert len(config(controls).controls) == MOST_CONTROLS
    more = controls + '<BrushLabels name="more" toName="image"><Label value="a"/></BrushLabels>'
    assert f"more than {MOST_CONTROLS} tags with a toName" in only_problem(config(more))


def test_labels_belong_to_the_control_that_they_stand_in() -> None:
    inner = '<BrushLabels name="inner" toName="image"><View><Label value="b"/></View></BrushLabels>'
    outer = f'<BrushLabels name="outer" toName="image"><Label value="a"/>{inner}</BrushLabels>'
    held = {control.name: control.labels for control in config(outer).controls}
    assert held == {"outer": {"a"}, "inner": {"b"}}


def test_a_label_whose_name_no_one_could_mean_is_left_alone() -> None:
    long = "x" * (LONGEST_NAME + 1)
    parsed = config(
        '<BrushLabels name="b" toName="image"><Label value="a"/>'
        f'<Label value="{long}"/><Label value="c" predicted_values="{long}"/></BrushLabels>'
    )
    assert [label.name for label in parsed.labels] == ["a"]
    assert len(parsed.problems) == 2
    assert str(len(long)) in parsed.problems[0]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert parse(text).problems


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=40))
def test_any_attribute_is_read_or_refused(value: str) -> None:
    escaped = value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    parsed = config(
        brush(f'<Label value="{escaped}"/>', f'model_mode="{escaped}" model_skip="{escaped}"'),
        f'<Image name="image" value="${escaped}"/>',
    )
    with suppress(TaskError):  # and no other
        assert parsed.to_request({"id": 1, "data": {value: "a.png"}}, "v1").image == "a.png"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('<Text name="expression" value="$sentence"/>', "sentence"),
        ('<Text name="caption" value="$expression"/>', "expression"),
        ('<Text name="expression" value="Find it"/>', "expression"),
        ("", "expression"),
    ],
)
def test_an_expression_comes_from_its_text_object_or_its_key(text: str, key: str) -> None:
    config = parse(
        f'<View><Image name="image" value="$image"/>{text}<BrushLabels name="b" toName="image">'
        '<Label value="ship"/></BrushLabels></View>'
    )
    assert config.expression_key == key
    request = config.to_request({"id": 1, "data": {"image": "a.png", key: "the ship"}}, "v")
    assert request.expression == "the ship"
    assert config.to_request({"id": 1, "data": {"image": "a.png"}}, "v").expression == ""


def test_the_metres_of_a_task_are_asked_with_it() -> None:
    parsed = config('<BrushLabels name="c" toName="image"><Label value="car"/></BrushLabels>')
    data = {"image": "a.png", "gsd": "30 cm"}
    assert parsed.to_request({"id": 1, "data": data}, "v").metres == pytest.approx(0.3)
    assert parsed.to_request({"id": 1, "data": {"image": "a.png"}}, "v").metres is None
