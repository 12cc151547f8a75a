"""What an expression says, for short."""

from dgl_rsis.decoupling.decouple import decouple

RELATIONS = {
    *("left of", "right of", "above", "below"),
    *("top left of", "top right of", "bottom left of", "bottom right of"),
    *("near", "closest to", "between", "on", "surrounded by", "around", "opposite", "with"),
}
POSITIONS = {
    *("left", "right", "top", "bottom", "center", "edge", "corner"),
    *("top left", "top right", "bottom left", "bottom right"),
    *("leftmost", "rightmost", "topmost", "bottommost"),
}


def said(text: str) -> list[tuple[str, str]]:
    return [(modifier.kind, modifier.value) for modifier in decouple(text).modifiers]


def anchors(text: str) -> list[str]:
    return [anchor.noun for anchor in decouple(text).anchors]
