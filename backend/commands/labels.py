"""Labels on the command line: a list with commas, or the project's label config (XML).

In a list "@worldcover" stands for the classes of a public data set, from `label_sets.toml`.

`read_config` is for commands that predict. `read` is for commands that read what people marked: it
asks what they may mark, not what a model may predict, so ellipses and labels with `model_skip`
count there.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from backend.project import label_config, markup
from backend.project.controls import MASKS
from backend.project.label_config import EXPRESSION, LabelConfig
from backend.project.pictures import Pictures
from backend.regions.findings import ExportError
from backend.studio.export import PLAIN
from dgl_rsis.names import names_background

# Of a list that names only backgrounds.
NOTHING_ASKED = (
    "that is what stands for none of the other labels and is never painted; add what to look for, "
    'as in --labels "building,road,background"'
)


class LabelsError(ExportError):
    """--labels or --config cannot be used; the message says why."""


@dataclass(frozen=True)
class LabelNames:
    """What is known of a project's labels.

    Attributes:
        labels: name → CSS colour, None where not given; in the order of the config. A label with an
            alias is called by it, as Label Studio stores it and calls it in its own exports.
        ignored: names of the background.
        expression_key: of the tasks' data.
        pictures, beside: where tasks hold their image, or several, and what further images show.
        names: what else may be stored for a label → its name.
        categories: name → number, of the labels whose `category` gives one.
        chosen: they are given one by one, out of perhaps more.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    expression_key: str = EXPRESSION
    pictures: Pictures = PLAIN
    beside: tuple[Pictures, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)
    chosen: bool = False


def read(labels: str, file: Path | None) -> LabelNames | None:
    """What --labels or --config say; None when neither was given.

    Raises:
        LabelsError: both, or what was given cannot be used.
    """
    if labels and file is not None:
        raise LabelsError("give --labels or --config, not both")
    if file is None:
        return from_list(labels) if labels else None
    return from_config(config_text(file))


def from_list(text: str) -> LabelNames:
    """Names with commas between them.

    Raises:
        LabelsError: none, or one twice.
    """
    return LabelNames(chosen=True, **_without_background(dict.fromkeys(read_names(text))))


def from_config(xml: str) -> LabelNames:
    """What a label config (XML) says.

    Raises:
        LabelsError: it is no label config, or has no label for masks.
    """
    try:
        root = markup.parse(xml)
    except ValueError as error:
        raise LabelsError(f"the label config {error}") from None
    elements = list(_mask_labels(root))
    if not elements:
        raise LabelsError("the label config has no label for masks, such as in <BrushLabels>")
    labels: dict[str, str | None] = {}
    names: dict[str, str] = {}
    categories: dict[str, int] = {}
    for value, element in elements:
        name = markup.stored_as(element).strip()
        labels[name] = labels.get(name) or element.get("background")
        names[value] = name
        if (number := _category(element)) is not None:
            categories[name] = number
    served = label_config.parse(xml)
    return LabelNames(
        expression_key=served.expression_key,
        pictures=served.pictures if served.image_key else PLAIN,
        beside=served.beside,
        names={value: name for value, name in names.items() if value != name},
        categories=categories,
        **_without_background(labels, [n for v, n in names.items() if names_background(v)]),
    )


def _mask_labels(root: Element) -> Iterator[tuple[str, Element]]:
    """The labels that masks may have, with their values: of controls, and of <Labels> on images."""
    images = {each.get("name") for each in root.iter() if markup.tag(each) == "image"}
    for control in root.iter():
        of_masks = markup.tag(control) in MASKS
        if of_masks or (markup.tag(control) == "labels" and images & {*markup.names(control)}):
            yield from markup.labels(control)


def _category(label: Element) -> int | None:
    """The number that Label Studio's own exports give a label; None for none."""
    text = (label.get("category") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _without_background(
    labels: Mapping[str, str | None], backgrounds: Sequence[str] = ()
) -> dict[str, Any]:
    """`labels` and `ignored` of some labels, of which some are known to be background."""
    ignored = frozenset((*backgrounds, *(name for name in labels if names_background(name))))
    kept = {name: colour for name, colour in labels.items() if name not in ignored}
    return {"labels": kept, "ignored": ignored}


def read_config(labels: str, file: Path | None) -> LabelConfig:
    """The config in a file, or that of a project with one brush of some labels.

    Args:
        labels: names with commas between them.
        file: a label config as Label Studio has it, instead of labels.

    Raises:
        LabelsError: both or neither, a label twice, only backgrounds, or a file that cannot be
            read.
    """
    if file is None:
        names = read_names(labels)
        if all(map(names_background, names)):
            raise LabelsError(f"--labels {labels!r}: {NOTHING_ASKED}")
        return _brush_config(names)
    if labels:
        raise LabelsError("give --labels or --config, not both")
    return label_config.parse(config_text(file))


def config_text(file: Path) -> str:
    """The text of a file that should hold a label config.

    Raises:
        LabelsError: it cannot be read, or is no text.
    """
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise LabelsError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LabelsError(f"{file} is no text in UTF-8: export the label config again") from None


def read_names(labels: str) -> list[str]:
    """Names with commas between them, and names of sets after "@".

    Raises:
        LabelsError: none, one twice, or a set that is not known.
    """
    given = [name.strip() for name in labels.split(",") if name.strip()]
    names = [n for name in given for n in (_label_set(name) if name[0] == "@" else [name])]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if not names:
        raise LabelsError('no labels: give some, as in --labels "building,road,water"')
    if twice:
        raise LabelsError(f"labels given twice: {', '.join(twice)}")
    return names


def label_sets() -> Mapping[str, Mapping[str, Any]]:
    """Name → title, source and classes of each set in `label_sets.toml`."""
    text = files("backend.commands").joinpath("label_sets.toml").read_text("utf-8")
    sets: dict[str, Mapping[str, Any]] = tomllib.loads(text)
    return sets


def _label_set(name: str) -> list[str]:
    """The classes of a set.

    Raises:
        LabelsError: there is no such set.
    """
    sets = label_sets()
    known = sets.get(re.sub(r"[\s_-]", "", name[1:]).lower())
    if known is None:
        raise LabelsError(f"no set of labels {name!r}: choose of @{', @'.join(sets)}")
    return list(known["classes"])


def _brush_config(names: Sequence[str]) -> LabelConfig:
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in names)
    return label_config.parse(
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="mask" toName="image">{labels}</BrushLabels></View>'
    )
