"""The XML of a label config: read under limits, its tags and labels, and what counts as true.

Parsed with defusedxml, since whoever may edit a project writes it; the SDK parses with lxml's
defaults and is only the oracle of the tests. Whatever follows goes over the tags once for each
image or control, so their numbers are limited where they are read: before the tree stands.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException, ElementTree

from backend.project.controls import FORMS

MAX_CHARACTERS = 1_000_000
MOST_TAGS = 20_000
MOST_IMAGES = 100
MOST_CONTROLS = 500  # what has a toName
DEEPEST = 100  # tags inside each other
LONGEST_ATTRIBUTE = 100_000  # characters
LONGEST_QUOTED = 60
MOST_LISTED = 10  # names in a message
BARE = re.compile(r"&(?!#\d+;|#x[\da-fA-F]+;|(?:amp|lt|gt|quot|apos);)")  # no entity of XML
TRUE = frozenset({"true", "1", "yes"})


def parse(xml: str) -> Element:
    """The root of a label config.

    Raises:
        ValueError: too long, too deep, of too many tags, not XML, or XML with a document type or
            entities. The message says of the label config what is wrong ("is not …").
    """
    if len(xml) > MAX_CHARACTERS:
        raise ValueError(f"has {len(xml)} characters; at most {MAX_CHARACTERS} are read")
    parser = ElementTree.DefusedXMLParser(target=_Limited(), forbid_dtd=True)
    try:
        parser.feed(xml)
        root: Element = parser.close()
    except UnicodeEncodeError as error:
        half = f"U+{ord(xml[error.start]):04X}"
        raise ValueError(f"holds half a character ({half}), which is no text; remove it") from None
    except ParseError as error:
        bare = BARE.search(xml)
        hint = "" if bare is None else f"; write &amp; for the & in {_around(xml, bare.start())!r}"
        raise ValueError(f"is not well-formed XML: {error}{hint}") from None
    except DefusedXmlException as error:
        cause = type(error).__name__
        raise ValueError(f"declares a document type or entities ({cause}); remove them") from None
    return root


class _Limited(TreeBuilder):
    """Builds the tree of a label config, and refuses one that would cost more than any is worth."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._counts = {"tags": 0, "<Image> tags": 0, "tags with a toName": 0}

    def start(self, tag: str, attributes: dict[Any, Any], /) -> Element:
        """Take one tag.

        Raises:
            ValueError: it is one too many, or too deep, or has an attribute that is too long.
        """
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"has more than {DEEPEST} tags inside each other; flatten it")
        longest = max(attributes, key=lambda name: len(attributes[name]), default="")
        if len(attributes.get(longest, "")) > LONGEST_ATTRIBUTE:
            raise ValueError(
                f"has an attribute {short(longest)!r} of {len(attributes[longest])} characters; at "
                f"most {LONGEST_ATTRIBUTE} are read"
            )
        self._count("tags", MOST_TAGS)
        if tag.lower() == "image":
            self._count("<Image> tags", MOST_IMAGES)
        if "toName" in attributes:
            self._count("tags with a toName", MOST_CONTROLS)
        return super().start(tag, attributes)

    def end(self, tag: str, /) -> Element:
        """Close one tag."""
        self._depth -= 1
        return super().end(tag)

    def _count(self, what: str, most: int) -> None:
        self._counts[what] += 1
        if self._counts[what] > most:
            raise ValueError(f"has more than {most} {what}; make several projects of it")


def short(text: str) -> str:
    """A text of the label config as a message quotes it: not endless."""
    return text if len(text) <= LONGEST_QUOTED else f"{text[: LONGEST_QUOTED - 1]}…"


def listed(quoted: Sequence[str]) -> str:
    """Names as a message lists them: the first few."""
    shown = ", ".join(quoted[:MOST_LISTED]) or "none"
    more = len(quoted) - MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def title(element: Element) -> str:
    """The element as a message names it."""
    name = element.get("name") or element.get("value")
    tag = short(element.tag)
    return f"<{tag} name='{short(name)}'>" if name else f"<{tag}>"


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


def inside(root: Element, name: str) -> dict[Element, Element]:
    """Element → the outermost element of a name that it stands in; without those in none."""
    holders: dict[Element, Element] = {}
    for element in root.iter():  # a parent comes before its children
        outer = holders.get(element, element if tag(element) == name else None)
        if outer is not None:
            holders.update(dict.fromkeys(element, outer))
    return holders


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
    for element in label_tags(control):
        if name := (element.get("value") or "").strip():
            yield name, element


def label_tags(control: Element) -> Iterator[Element]:
    """The <Label> tags of a control; those of a control inside it are that one's alone.

    Of a tag that holds no labels itself, as the root, those of all that stand in it.
    """
    apart = _holds_labels(control)
    waiting = list(reversed(control))
    while waiting:
        element = waiting.pop()
        if tag(element) == "label":
            yield element
        if not (apart and _holds_labels(element)):
            waiting.extend(reversed(element))


def _holds_labels(element: Element) -> bool:
    return tag(element).endswith("labels")


def is_true(text: str | None) -> bool:
    """Whether an attribute says yes; one that is not there does not."""
    return text is not None and text.strip().lower() in TRUE
