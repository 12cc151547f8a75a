"""Labels on the command line: a list with commas, or the project's label config (XML).

In a list "@worldcover" stands for the classes of a public data set, from `label_sets.toml`.

`read_config` is for commands that predict. `read` is for commands that read what people marked: it
asks what they may mark, not what a model may predict, so ellipses and labels with `model_skip`
count there.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from backend.project import label_config, markup
from backend.project.controls import MASKS
from backend.project.label_config import EXPRESSION, LabelConfig
from backend.regions.findings import ExportError
from backend.studio.export import IMAGE
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
        labels: name → CSS colour, None where not given; in the order of the config.
        ignored: names of the background.
        image_key, expression_key: of the tasks' data.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    image_key: str = IMAGE
    expression_key: str = EXPRESSION


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
    return _without_background(dict.fromkeys(read_names(text)))


def from_config(xml: str) -> LabelNames:
    """What a label config (XML) says.

    Raises:
        LabelsError: it is no label config, or has no label for masks.
    """
    try:
        root = markup.parse(xml)
    except ValueError as error:
        raise LabelsError(f"the label config {error}") from None
    labels: dict[str, str | None] = {}
    for control in root.iter():
        if markup.tag(control) in MASKS:
            for name, element in markup.labels(control):
                labels[name] = labels.get(name) or element.get("background")
    if not labels:
        raise LabelsError("the label config has no label for masks, such as in <BrushLabels>")
    served = label_config.parse(xml)
    return _without_background(labels, served.image_key or IMAGE, served.expression_key)


def _without_background(
    labels: Mapping[str, str | None], image_key: str = IMAGE, expression_key: str = EXPRESSION
) -> LabelNames:
    ignored = frozenset(name for name in labels if names_background(name))
    kept = {name: colour for name, colour in labels.items() if name not in ignored}
    return LabelNames(kept, ignored, image_key, expression_key)


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
