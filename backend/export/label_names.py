"""The labels that a set is to have, as a list or as the project's label config says them.

Not `label_config`: that asks what a model may predict, this what people may mark. So ellipses and
labels with `model_skip` count here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from backend import label_config, local
from backend.export.findings import ExportError
from backend.export.label_studio import EXPRESSION, IMAGE
from backend.export.label_studio_regions import KINDS
from backend.label_config import BACKGROUND


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
        ExportError: both, or what was given cannot be used.
    """
    if labels and file is not None:
        raise ExportError("give --labels or --config, not both")
    if file is None:
        return from_list(labels) if labels else None
    try:
        return from_config(file.read_text("utf-8"))
    except OSError as error:
        raise ExportError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExportError(f"{file} is no text in UTF-8: export the label config again") from None


def from_list(text: str) -> LabelNames:
    """Names with commas between them.

    Raises:
        ExportError: none, or one twice.
    """
    try:
        names = local.read_names(text)
    except local.LocalError as error:
        raise ExportError(str(error)) from None
    return _without_background(dict.fromkeys(names))


def from_config(xml: str) -> LabelNames:
    """What a label config (XML) says.

    Raises:
        ExportError: it is no label config, or has no label for masks.
    """
    try:
        root: Element = ElementTree.fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise ExportError(f"the label config cannot be read: {error}") from None
    labels: dict[str, str | None] = {}
    for control in root.iter():
        if control.tag.lower() in KINDS:
            for element in control.iter():
                name = (element.get("value") or "").strip()
                if element.tag.lower() == "label" and name:
                    labels[name] = labels.get(name) or element.get("background")
    if not labels:
        raise ExportError("the label config has no label for masks, such as in <BrushLabels>")
    served = label_config.parse(xml)
    return _without_background(labels, served.image_key or IMAGE, served.expression_key)


def _without_background(
    labels: Mapping[str, str | None], image_key: str = IMAGE, expression_key: str = EXPRESSION
) -> LabelNames:
    ignored = frozenset(name for name in labels if name.lower() in BACKGROUND)
    kept = {name: colour for name, colour in labels.items() if name not in ignored}
    return LabelNames(kept, ignored, image_key, expression_key)
