"""Whoever may edit a project writes its label config: reading it costs no more than its length."""

import tracemalloc
from collections.abc import Callable

import pytest

from backend.project import label_config, markup
from backend.web import service
from tests.security.costs import cost_of

IMAGE = '<Image name="i" value="$image"/>'
MOST_MESSAGE = 2_000  # characters of a problem: it stands in a log and on a page


def labels(count: int) -> str:
    return "".join(f'<Label value="label {n}"/>' for n in range(count))


def nested(size: int) -> str:
    """Controls inside each other: each would have the labels of all inside it."""
    depth = min(size, markup.DEEPEST - 3)
    opened = "".join(
        f'<BrushLabels name="b{n}" toName="i">{labels(size // 20)}' for n in range(depth)
    )
    return f"<View>{IMAGE}{opened}{'</BrushLabels>' * depth}</View>"


def nested_views(size: int) -> str:
    """Controls between views inside each other."""
    depth = min(size, markup.DEEPEST // 2 - 3)
    opened = "".join(f'<View><BrushLabels name="b{n}" toName="i">' for n in range(depth))
    closed = "</BrushLabels></View>" * depth
    return f"<View>{IMAGE}{opened}{labels(size * 2)}{closed}</View>"


def repeated(size: int) -> str:
    """One label in many controls, each with words of its own."""
    words = ", ".join(f"word {n}" for n in range(20))
    controls = "".join(
        f'<BrushLabels name="b{n}" toName="i"><Label value="a" predicted_values="{words} {n}"/>'
        "</BrushLabels>"
        for n in range(size)
    )
    return f"<View>{IMAGE}{controls}</View>"


def shared(size: int) -> str:
    """Many shapes on the labels of one <Labels>."""
    shapes = "".join(f'<Brush name="s{n}" toName="i"/>' for n in range(size))
    return f'<View>{IMAGE}<Labels name="l" toName="i">{labels(size)}</Labels>{shapes}</View>'


def lost(size: int) -> str:
    """Many controls that name none of many images, each in a repeater."""
    images = "".join(
        f'<Repeater on="$x"><Image name="i{n}" value="$x{n}"/></Repeater>' for n in range(size // 5)
    )
    controls = "".join(
        f'<BrushLabels name="b{n}" toName="no">{labels(3)}</BrushLabels>' for n in range(size)
    )
    return f"<View>{images}{controls}</View>"


def repeaters(size: int) -> str:
    """Repeaters inside each other around many images."""
    depth = min(size, markup.DEEPEST - 3)
    images = "".join(f'<Image name="i{n}" value="$x{n}"/>' for n in range(size // 5))
    return f"{'<Repeater>' * depth}{images}{labels(size * 5)}{'</Repeater>' * depth}"


@pytest.mark.parametrize("write", [nested, nested_views, repeated, shared, lost, repeaters])
def test_twice_the_config_costs_twice_as_much(write: Callable[[int], str]) -> None:
    small, large = write(200), write(400)
    before, after = (cost_of(lambda xml=xml: label_config.parse(xml)) for xml in (small, large))
    grown = len(large) / len(small)
    assert after.calls < before.calls * grown * 1.5
    assert after.calls < 30 * len(large)
    assert after.peak < 60 * len(large)


def by_size(size: int) -> str:
    return "<View>" + "x" * size + "</View>"


@pytest.mark.parametrize(
    ("xml", "named"),
    [
        (by_size(markup.MAX_CHARACTERS), "characters"),
        ("<View>" * 10_000 + "</View>" * 10_000, f"more than {markup.DEEPEST} tags inside"),
        (f"<View>{'<a/>' * 200_000}</View>", f"more than {markup.MOST_TAGS} tags"),
        (f"<View>{IMAGE * 10_000}</View>", f"more than {markup.MOST_IMAGES} <Image> tags"),
        (f'<View>{"<Brush toName=$/>".replace("$", chr(34) * 2) * 10_000}</View>', "toName"),
        (f'<View a="{"x" * 500_000}"/>', "an attribute 'a' of 500000 characters"),
        (f'<View {"x" * 500_000}="{"y" * 400_000}"/>', "characters"),
        (f"<View>{IMAGE}<BrushLabels name='b' toName='i'>{labels(1001)}</BrushLabels></View>",
         "1001 labels"),
        ('<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;&b;">]><View>&d;</View>', "entities"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><View/>', "document type"),
        ("<View>&a;</View>", "well-formed"),
        ("<View a='\ud800'/>", "half a character (U+D800)"),
        ("<View>\0</View>", "well-formed"),
    ],
    ids=["long", "deep", "tags", "images", "controls", "attribute", "name of an attribute",
         "labels", "entities", "document type", "unknown entity", "half a character", "NUL"],
)  # fmt: skip
def test_what_is_more_than_any_project_has_is_refused_by_name(xml: str, named: str) -> None:
    parsed = label_config.parse(xml)
    assert named in parsed.problems[-1]
    assert parsed.controls == ()
    assert all(len(problem) < MOST_MESSAGE for problem in parsed.problems)


@pytest.mark.parametrize(("count", "length"), [(900, 100), (20_000, 1)])
def test_synonyms_have_a_limit_for_all_labels_together(count: int, length: int) -> None:
    words = ",".join(f"{n:0{length}}" for n in range(count))
    held = "".join(f'<Label value="{n}" predicted_values="{words[:99_999]}"/>' for n in range(3))
    parsed = label_config.parse(
        f"<View>{IMAGE}<BrushLabels name='b' toName='i'>{held}</BrushLabels></View>"
    )
    assert parsed.controls == ()
    assert f"at most {label_config.MOST_WORDS}" in parsed.problems[-1]


def test_messages_quote_no_more_than_one_can_read() -> None:
    long = "n" * 90_000
    parsed = label_config.parse(
        f'<View><Image name="{long}" value="{long}"/>'
        f'<Brush{long[:900]} name="{long}" toName="{long}"/>'
        f'<BrushLabels name="{long}" toName="{long}" model_mode="{long}"/>'
        f'<BrushLabels name="b" toName="{long}"><Label value="{long}"/></BrushLabels></View>'
    )
    assert len(parsed.problems) > 3
    assert all(len(problem) < MOST_MESSAGE for problem in parsed.problems)


def test_configs_that_stay_read_have_one_limit_of_bytes() -> None:
    style = "<Style>" + "x" * 900_000 + "</Style>"  # all of the XML stays with what it says
    control = "<BrushLabels name='b' toName='i'><Label value='$'/></BrushLabels>"
    xml = f"<View>{IMAGE}{style}{control}</View>"
    assert 30 * len(xml) > 1.5 * service.CONFIG_BYTES
    tracemalloc.start()
    for number in range(30):
        service.read_config(f"{xml}<!-- {number} -->")
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < service.CONFIG_BYTES
    assert left > 2 * len(xml)  # more than one stays
    assert service.read_config(xml) is service.read_config(xml)
