"""The XML of a label config: read under a size cap, its tags and labels, and what counts as true.

Parsed with defusedxml, since whoever may edit a project writes it; the SDK parses with lxml's
defaults and is only the oracle of the tests.
"""

import re
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from backend.project.controls import FORMS

MAX_CHARACTERS = 1_000_000
BARE = re.compile(r"&(?!#\d+;|#x[\da-fA-F]+;|(?:amp|lt|gt|quot|apos);)")  # no entity of XML
TRUE = frozenset({"true", "1", "yes"})


def parse(xml: str) -> Element:
    """The root of a label config.

    Raises:
        ValueError: too long, not XML, or XML with a document type or entities. The message says of
            the label config what is wrong ("is not …").
    """
    if len(xml) > MAX_CHARACTERS:
        raise ValueError(f"has {len(xml)} characters; at most {MAX_CHARACTERS} are read")
    try:
        root: Element = ElementTree.fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        bare = BARE.search(xml)
        hint = "" if bare is None else f"; write &amp; for the & in {_around(xml, bare.start())!r}"
        raise ValueError(f"is not well-formed XML: {error}{hint}") from None
    except DefusedXmlException as error:
        cause = type(error).__name__
        raise ValueError(f"declares a document type or entities ({cause}); remove them") from None
    return root


def _around(xml: str, at: int) -> str:
    """What stands around a place of its line."""
    line = xml[xml.rfind("\n", 0, at) + 1 :].partition("\n")[0]
    column = at - (xml.rfind("\n", 0, at) + 1)
    return line[max(column - 20, 0) : column + 20].strip()


def tag(element: Element) -> str:
    """Lower-case name of a tag; Label Studio's tags ignore case."""
    return element.tag.lower() if isinstance(element.tag, str) else ""


def names(element: Element, attribute: str = "toName") -> list[str]:
    """The names in an attribute, which commas part."""
    return [part.strip() for part in element.get(attribute, "").split(",") if part.strip()]


def shared_labels(root: Element) -> dict[str, Element]:
    """Name of an image → the first <Labels> on it, which shapes such as <Brush> share."""
    shared: dict[str, Element] = {}
    for element in root.iter():
        if tag(element) == "labels":
            for image in names(element):
                shared.setdefault(image, element)
    return shared


def labelling(control: Element, shared: Mapping[str, Element]) -> Element | None:
    """What holds the labels of a control: itself, or, of a shape, the <Labels> on its image."""
    if tag(control) not in FORMS:
        return control
    return next((shared[image] for image in names(control) if image in shared), None)


def stored_as(label: Element) -> str:
    """What Label Studio stores and sends for a label: its alias, else its value, to the blank."""
    alias = label.get("alias") or ""
    return alias if alias.strip() else label.get("value") or ""


def labels(control: Element) -> Iterator[tuple[str, Element]]:
    """The labels of a control with their names; those without one are left out."""
    for element in control.iter():
        name = (element.get("value") or "").strip()
        if tag(element) == "label" and name:
            yield name, element


def is_true(text: str | None) -> bool:
    """Whether an attribute says yes; one that is not there does not."""
    return text is not None and text.strip().lower() in TRUE
