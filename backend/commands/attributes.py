"""Attributes of a label config that look like slips, which Label Studio passes over silently."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rapidfuzz import fuzz, process

from backend.project import markup
from backend.project.controls import KINDS

ALIKE = 80.0  # of 100: letters that a slip of the finger leaves in common
# Ours, then those of Label Studio 1.23 for images, labels and the controls of regions.
OURS = ("predicted_values", "model_score_threshold", "model_skip", "model_mode")
KNOWN = (
    *OURS,
    *("name", "toName", "value", "valueList", "valueType", "alias", "category", "hint", "hotkey"),
    *("html", "size", "selected", "background", "selectedColor", "showAlias", "aliasStyle", "id"),
    *("maxUsages", "granularity", "choice", "showInline", "opacity", "fillColor", "strokeColor"),
    *("strokeWidth", "strokeStyle", "pointSize", "pointStyle", "fillOpacity", "smart", "smartOnly"),
    *("snap", "canRotate", "allowEmpty", "required", "requiredMessage", "perRegion", "perItem"),
    *("visibleWhen", "whenTagName", "whenLabelValue", "whenChoiceValue", "whenRole", "style"),
    *("className", "display", "smoothing", "width", "height", "maxWidth", "maxHeight", "zoom"),
    *("negativeZoom", "zoomBy", "grid", "gridSize", "gridColor", "zoomControl", "crossOrigin"),
    *("brightnessControl", "contrastControl", "rotateControl", "crosshair", "defaultZoom"),
    *("horizontalAlignment", "verticalAlignment", "imageWidthField", "imageHeightField"),
    *("closable", "curves", "minPoints", "maxPoints", "skeleton", "filter", "allowRotate"),
)
BY_LETTERS = {name.lower(): name for name in KNOWN}
TAGS = {"image", "label", "labels", *KINDS, *(kind.form for kind in KINDS.values())}


def misspelt(root: Element) -> Iterator[str]:
    """A sentence for each attribute that is unknown, and nearly one that is known."""
    for element in root.iter():
        if markup.tag(element) not in TAGS:
            continue
        for name in element.keys():  # noqa: SIM118  an Element is no mapping
            if name not in KNOWN and (meant := _meant(name)):
                yield (
                    f"{_title(element)} has {name}='{element.get(name)}', which nobody reads: "
                    f"write {meant} if you mean that."
                )


def _meant(name: str) -> str:
    """The known attribute that an unknown one is most like; "" for none."""
    plain = name.replace("-", "_")
    words = (plain.lower(), plain.replace("_", "").lower())
    for each in words:
        if each in BY_LETTERS:
            return BY_LETTERS[each]
    found = process.extractOne(words[0], list(BY_LETTERS), scorer=fuzz.ratio, score_cutoff=ALIKE)
    return BY_LETTERS[found[0]] if found else ""


def _title(element: Element) -> str:
    name = element.get("name") or element.get("value")
    return f"<{element.tag} {name!r}>" if name else f"<{element.tag}>"
