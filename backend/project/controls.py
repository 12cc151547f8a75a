"""The kinds of control whose regions are masks or point at something, and what becomes of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["semantic", "instance"]


@dataclass(frozen=True)
class Kind:
    """One kind of control.

    Attributes:
        tag: as Label Studio spells it; its regions have it in lower case as their type.
        mode: of the masks that are predicted for it, unless the label config says another: one
            region a class ("semantic") or an object ("instance"); None for no predictions.
        smart: its smart tool asks for the mask of what is drawn with it. Label Studio 1.23.2 shows
            one for brushes and bitmasks, too, but sends nothing of theirs (decision 33).
    """

    tag: str
    mode: Mode | None
    smart: bool = False

    @property
    def form(self) -> str:
        """How its regions are drawn, such as "brush"; without labels, this is their type, too."""
        return form_named(self.tag.lower())


def form_named(kind: str) -> str:
    """How regions of a type are drawn: "brush" of "brushlabels", "brush" and "magicwand"."""
    form = kind.removesuffix("labels")
    return "brush" if form == "magicwand" else form


# By the type of their regions. Browsers suffer from many brush and bitmask regions, so those get
# one a class unless told.
KINDS: Mapping[str, Kind] = {
    kind.tag.lower(): kind
    for kind in (
        Kind("BrushLabels", "semantic"),
        Kind("BitmaskLabels", "semantic"),
        Kind("PolygonLabels", "instance"),
        Kind("RectangleLabels", "instance", smart=True),
        Kind("EllipseLabels", "instance"),
        Kind("VectorLabels", None),
        Kind("KeyPointLabels", None, smart=True),
    )
}
MASKS = frozenset(KINDS) - {"keypointlabels"}
PREDICTED: Mapping[str, Mode] = {name: kind.mode for name, kind in KINDS.items() if kind.mode}
*_FIRST, _LAST = (KINDS[name].tag for name in PREDICTED)
USABLE = f"{', '.join(_FIRST)} or {_LAST}"  # for messages
SMART = frozenset(name for name, kind in KINDS.items() if kind.smart)
REASON = "reason"  # name of the TextArea, closed to people, that shows why a prompt got no mask
FORMS = frozenset(kind.form for kind in KINDS.values())
# Without labels of their own: tags whose labels stand in a <Labels> on the same image. Where
# several of them share one, the first of this order gets the masks.
SHAPES: Mapping[str, Mode] = {
    kind.form: kind.mode for kind in KINDS.values() if kind.mode is not None
}
