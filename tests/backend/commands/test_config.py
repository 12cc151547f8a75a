import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface
from typer.testing import CliRunner

from backend.commands import check
from backend.commands.config import config
from backend.project import label_config
from backend.project.interface import Wanted, write
from dgl_rsis.names import names_background
from samples.studio import LABEL_CONFIG
from tests.loading import MODELS, SCENES, loads_none_of

NAMES = ("building", "road", "water")
MIXED = """<View>
  <Text name="expression" value="$sentence"/>
  <Image name="image" value="$image"/><Image name="second" value="$other"/>
  <BrushLabels name="mask" toName="image">
    <Label value="house" predicted_values="hut, shed" model_score_threshold="0.4"/>
    <Label value="cloud" model_skip="true"/>
    <Label value="background"/>
    <Label value="frobnicator"/>
  </BrushLabels>
  <KeyPointLabels name="click" toName="image" smart="true">
    <Label value="house"/><Label value="cloud"/>
  </KeyPointLabels>
  <RectangleLabels name="box" toName="image" model_skip="true" smart="true">
    <Label value="house"/>
  </RectangleLabels>
  <EllipseLabels name="dull" toName="image" smart="false"><Label value="house"/></EllipseLabels>
  <PolygonLabels name="outline" toName="second"><Label value="house"/></PolygonLabels>
</View>"""


def dgl_rsis(*arguments: str) -> tuple[int, str]:
    """Exit status and output of the command."""
    app = typer.Typer()
    app.command()(config)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    return result.exit_code, result.output


def checked(xml: str, folder: Path) -> tuple[int, dict[str, Any]]:
    file = folder / "config.xml"
    file.write_text(xml, "utf-8")
    status, _ = dgl_rsis("--check", str(file), "--json", str(folder / "new" / "checked.json"))
    return status, json.loads((folder / "new" / "checked.json").read_text("utf-8"))


def fate(report: dict[str, Any], label: str, control: str) -> dict[str, Any]:
    (entry,) = (x for x in report["labels"] if (x["label"], x["control"]) == (label, control))
    return entry


# ---- writing -------------------------------------------------------------------------------------


def test_it_is_what_label_studio_and_the_backend_read() -> None:
    status, output = dgl_rsis("--labels", "building, road,water")
    assert status == 0
    interface = LabelInterface(output)
    interface.validate()
    for name in ("mask", "click", "box"):
        control = interface.get_control(name)
        assert (control.to_name, tuple(control.labels)) == (["image"], NAMES)
    assert interface.get_control("prompt").tag == "TextArea"
    assert interface.get_object("image").value_name == "image"
    ours = label_config.parse(output)
    assert ours.problems == ()
    assert [(c.kind, c.mode) for c in ours.controls] == [("brushlabels", "semantic")]
    assert tuple(label.name for label in ours.labels) == NAMES
    assert set(ours.colours.values()) == {"#d55e00", "#cc79a7", "#0072b2"}


@pytest.mark.parametrize(
    ("options", "kind", "mode"),
    [
        (["--polygons"], "polygonlabels", "instance"),
        (["--instances"], "brushlabels", "instance"),
        (["--polygons", "--instances"], "polygonlabels", "instance"),
    ],
)
def test_the_form_of_the_masks(options: list[str], kind: str, mode: str) -> None:
    _, output = dgl_rsis("--labels", "building", *options)
    LabelInterface(output).validate()
    (control,) = label_config.parse(output).controls
    assert (control.kind, control.mode) == (kind, mode)


def test_with_expressions_a_task_shows_its_sentence() -> None:
    _, output = dgl_rsis("--labels", "building", "--expression")
    interface = LabelInterface(output)
    interface.validate()
    assert interface.get_object("expression").value_name == "expression"
    assert label_config.parse(output).expression_key == "expression"


@given(
    st.lists(
        st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1).map(str.strip),
        min_size=1,
        max_size=12,
        unique=True,
    ).filter(lambda names: not all(map(names_background, names))),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_names_come_back(
    names: list[str], polygons: bool, instances: bool, expression: bool
) -> None:
    xml = write(Wanted(names, polygons, instances, expression))
    parsed = label_config.parse(xml)
    assert parsed.problems == ()
    assert [label.name for label in parsed.labels] == names
    assert all(problem.startswith("label ") for problem in check.check(xml).problems)
    assert LabelInterface(xml).get_control("mask").labels == names


def test_a_background_gets_no_smart_tool() -> None:
    _, output = dgl_rsis("--labels", "building,background")
    interface = LabelInterface(output)
    assert interface.get_control("mask").labels == ["building", "background"]
    assert interface.get_control("click").labels == ["building"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no labels: give some"),
        (["--labels", " , "], "no labels"),
        (["--labels", "a,b,a"], "labels given twice: a"),
        (["--labels", "background"], "never painted; add what to look for"),
        (["--labels", "bell\x07"], "not well-formed"),
        (["--labels", ",".join(f"l{n}" for n in range(1001))], "at most 1000"),
        (["--labels", "a", "--json", "x.json"], "--json goes with --check"),
        (["--labels", "a", "--check", "x.xml"], "give --check FILE alone"),
        (["--check", "nowhere.xml"], "nowhere.xml cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_way_out(arguments: list[str], words: str) -> None:
    status, output = dgl_rsis(*arguments)
    assert status == 2
    assert words in output
    assert "Traceback" not in output


# ---- checking ------------------------------------------------------------------------------------


def test_each_label_has_its_line(tmp_path: Path) -> None:
    status, report = checked(MIXED, tmp_path)
    assert status == 0
    house = fate(report, "house", "mask")
    assert house["gets"] == "predicted"
    assert (house["form"], house["mode"], house["threshold"]) == ("brush", "semantic", 0.4)
    assert house["synonyms"] == ["hut", "shed"]
    assert house["smart"] == ["click", "box"]
    assert house["known"] is True
    assert {"house", "hut", "building"} <= set(house["asked"])
    assert fate(report, "cloud", "mask")["gets"] == "skipped"
    assert fate(report, "background", "mask")["gets"] == "background"
    assert fate(report, "frobnicator", "mask")["known"] is False
    assert fate(report, "frobnicator", "mask")["gets"] == "ignored"
    assert fate(report, "house", "box")["gets"] == "prompt"
    assert fate(report, "house", "outline")["gets"] == "ignored"
    assert fate(report, "house", "outline")["form"] == "polygon"


def test_where_sentences_come_from_and_what_is_wrong(tmp_path: Path) -> None:
    _, report = checked(MIXED, tmp_path)
    assert (report["image"], report["expression"], report["shown"]) == ("image", "sentence", True)
    assert report["prompts"] == []
    problems = "\n".join(report["problems"])
    assert "'click' gets no mask for 'cloud': give the label to a BrushLabels" in problems
    assert "one image a task is pre-labelled" in problems
    assert any("TextArea" in hint for hint in report["hints"])
    assert not any("KeyPointLabels" in hint for hint in report["hints"])


def test_the_demo_leaves_nothing_to_say(tmp_path: Path) -> None:
    status, report = checked(LABEL_CONFIG, tmp_path)
    assert (status, report["problems"], report["hints"]) == (0, [], [])
    assert report["prompts"] == ["prompt"]
    assert all(x["known"] for x in report["labels"])


def test_what_is_written_checks_well(tmp_path: Path) -> None:
    status, report = checked(write(Wanted(NAMES)), tmp_path)
    assert (status, report["problems"], report["hints"]) == (0, [], [])
    assert fate(report, "water", "mask")["smart"] == ["click", "box"]
    assert "car" in report["rest"]
    assert "road" not in report["rest"]


def test_a_description_of_regions_is_no_prompt(tmp_path: Path) -> None:
    xml = LABEL_CONFIG.replace('<TextArea name="prompt"', '<TextArea name="note" perRegion="true"')
    report = checked(xml, tmp_path)[1]
    assert report["prompts"] == []
    assert any("No prompt field" in hint for hint in report["hints"])


@pytest.mark.parametrize("tag", ["BrushLabels", "PolygonLabels", "EllipseLabels"])
def test_smart_tools_that_send_nothing_are_pointed_out(tag: str, tmp_path: Path) -> None:
    plain = f'<{tag} name="drawn" toName="image"><Label value="water"/></{tag}>'
    smart = plain.replace(' name="drawn"', ' name="drawn" smart="true"')
    written = write(Wanted(NAMES)).replace("</View>\n</View>\n", "%s</View></View>")
    for control, hinted in ((plain, False), (smart, True)):
        _, report = checked(written % control, tmp_path)
        assert any("sends nothing" in hint and "'drawn'" in hint for hint in report["hints"]) is (
            hinted
        )


def test_boxes_that_nobody_meant_are_pointed_out(tmp_path: Path) -> None:
    xml = LABEL_CONFIG.replace(' model_skip="true"', "")
    assert any("a box an object" in hint for hint in checked(xml, tmp_path)[1]["hints"])


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<View>", "not well-formed"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "declares a document type"),
        ('<View><Image name="i" value="$i"/></View>', "no usable control"),
        (
            '<View><Image name="i" value="$i"/>'
            '<BrushLabels name="b" toName="x"><Label value="a"/></BrushLabels></View>',
            "names no image",
        ),
    ],
)
def test_an_unusable_config_ends_with_1(xml: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "config.xml"
    file.write_text(xml, "utf-8")
    status, output = dgl_rsis("--check", str(file))
    assert status == 1
    assert words in output
    assert output.endswith("This config cannot be served.\n")


def test_the_table_for_people(tmp_path: Path) -> None:
    file = tmp_path / "config.xml"
    file.write_text(MIXED, "utf-8")
    status, output = dgl_rsis("--check", str(file))
    assert status == 0
    header, house, cloud = output.splitlines()[:3]
    assert header.split()[:3] == ["LABEL", "CONTROL", "FORM"]
    assert house.index("one region a class") == header.index("WHAT IT GETS")
    assert "0.4" in house
    assert "model_skip" in cloud
    assert "sentence of a task: task data 'sentence'\n" in output


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_bytes(b"\xff\xfe\x00")
    status, output = dgl_rsis("--check", str(tmp_path / "config.xml"))
    assert status == 2
    assert "no text in UTF-8" in output


def test_checking_loads_no_model_code() -> None:
    code = (
        "import sys\nfrom backend.commands import check\n"
        "assert check.check(sys.stdin.read()).usable\n"
        "assert 'dgl_rsis.classes.knowledge' in sys.modules\n"
    )
    code += loads_none_of(*MODELS, *SCENES, algorithm=True)
    subprocess.run([sys.executable, "-c", code], input=LABEL_CONFIG, text=True, check=True)


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    assert check.check(text).usable is False


# ---- words and attributes ------------------------------------------------------------------------


def of(*labels: str, attributes: str = "", rest: str = "") -> str:
    """A config of these labels."""
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return (
        f'<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image" '
        f"{attributes}>{inside}</BrushLabels>{rest}</View>"
    )


def test_a_word_that_nobody_knows_says_what_becomes_of_it_and_the_nearest_one() -> None:
    found = check.check(of("road", "buidling footprnt", "zorblax", "non-water"))
    gets = {fate.label: (fate.gets, fate.known, bool(fate.asked)) for fate in found.labels}
    assert gets.pop("road") == ("predicted", True, True)
    assert set(gets.values()) == {("ignored", False, False)}
    said = " ".join(found.problems)
    assert "'buidling footprnt' is not painted" in said
    assert "did you mean 'building'?" in said
    assert "'zorblax' is not painted: the starter weights have no word of it" in said
    assert "'non' says what a thing is not" in said
    assert "'road'" not in said


def test_weights_of_captions_are_asked_for_any_word() -> None:
    found = check.check(of("road", "zorblax"), model="remoteclip-vit-b-32")
    assert found.problems == ()
    assert {fate.gets for fate in found.labels} == {"predicted"}
    assert any("'zorblax' is in no table" in hint for hint in found.hints)


def test_labels_that_are_asked_for_by_the_same_words_compete() -> None:
    def pairs(*labels: str) -> list[str]:
        return [hint for hint in check.check(of(*labels)).hints if "compete" in hint]

    (one,) = pairs("residential building", "house", "road")
    assert "'residential building' and 'house' compete" in one
    assert "'rooftop'" in one
    (other,) = pairs("trees", "vegetation")
    assert "'trees' and 'vegetation'" in other
    assert pairs("building", "road", "vegetation", "water", "land") == []
    assert pairs("building", "background", "other") == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("model_treshold", "model_score_threshold"),
        ("modelskip", "model_skip"),
        ("model-mode", "model_mode"),
        ("toname", "toName"),
        ("strokewidth", "strokeWidth"),
    ],
)
def test_a_misspelt_attribute_is_said_with_the_right_one(written: str, meant: str) -> None:
    (problem,) = check.check(of("road", attributes=f'{written}="1"')).problems
    assert f"<BrushLabels 'mask'> has {written}='1', which nobody reads: write {meant}" in problem


@given(st.sampled_from(["customNote", "data-x", "x", "granularity", "opacity", "smart"]))
def test_other_attributes_are_left_alone(name: str) -> None:
    assert check.check(of("road", attributes=f'{name}="1"')).problems == ()


def test_controls_of_the_whole_image_are_as_harmless_as_choices() -> None:
    rest = "".join(
        f'<{tag} name="{tag}" toName="image"><Choice value="a"/></{tag}>'
        for tag in ("Choices", "Taxonomy", "Rating", "Number", "DateTime")
    )
    assert check.check(of("road", rest=rest)).problems == ()


@pytest.mark.parametrize("name", ["house & home", "a&b", "R&D;", "&"])
def test_a_bare_ampersand_is_shown_with_what_to_write(name: str) -> None:
    (problem,) = check.check(of("road", name)).problems
    assert "write &amp; for the & in" in problem
    assert name.partition("&")[0] in problem
    assert "write &amp;" not in "".join(check.check(of("road", "a &amp; b &#38; c")).problems)


def test_labels_of_the_command_line_are_answered_as_such() -> None:
    for command in (["--labels", "background"], ["--labels", "other, clutter"]):
        status, output = dgl_rsis(*command)
        assert status == 2
        assert "never painted; add what to look for" in output
        assert "<" not in output


def test_a_config_is_written_with_its_words_said_beside_it() -> None:
    status, output = dgl_rsis("--labels", "road,zorblax")
    assert status == 0
    assert "label 'zorblax' is not painted" in output
