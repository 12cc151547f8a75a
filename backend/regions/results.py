"""Label Studio's results → regions: what lies apart under one id, put together.

A region of `<BrushLabels>` is one result. One of `<Labels>` and `<Brush>` is two with one id: the
shape, and its labels in a result of the type "labels", which repeats the geometry (measured with
1.23.2). Some exports hold the latter alone, or a "brushlabels" without labels beside it. All of
these are one region here: the shape, with all of its labels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.regions.geometry import LABELS, form_of, kind_of, value_of
from dgl_rsis.types import Json

# What only a value of that form has, the most telling first.
FORMS_BY_KEY: Sequence[tuple[frozenset[str], str]] = (
    (frozenset({"rle"}), "brush"),
    (frozenset({"touches"}), "brush"),
    (frozenset({"imageDataURL"}), "bitmask"),
    (frozenset({"vertices"}), "vector"),
    (frozenset({"points"}), "polygon"),
    (frozenset({"radiusX", "radiusY"}), "ellipse"),
    (frozenset({"x", "y", "width", "height"}), "rectangle"),
    (frozenset({"x", "y"}), "keypoint"),
)
SHAPES = frozenset(form for _, form in FORMS_BY_KEY)


def whole(result: Any) -> list[Json]:
    """The regions of a result in their order, each with its labels.

    Args:
        result: as Label Studio has it; what is no object in it is left out.

    Returns:
        Results that are what they were, but that a shape whose labels stand beside it has them
        under "labels", and what stood beside it is gone. Labels without a shape that hold a
        geometry are the shape.
    """
    every = [
        each for each in (result if isinstance(result, list) else []) if isinstance(each, dict)
    ]
    if not (beside := labels_beside(every)):
        return every
    known = {identity_of(each) for each in every if form_of(each) in SHAPES}
    regions = []
    for each in every:
        identity = identity_of(each)
        if form_of(each) in SHAPES:
            regions.append(_labelled(each, beside.get(identity, ())))
        elif kind_of(each) != LABELS:
            regions.append(each)
        elif identity not in known:
            known.add(identity)
            form = form_held(value_of(each))
            regions.append(_labelled({**each, "type": form}, beside[identity]) if form else each)
    return regions


def labels_beside(results: Iterable[Json]) -> Mapping[str, tuple[str, ...]]:
    """Identity of a region → the labels that stand in results of their own."""
    found: dict[str, tuple[str, ...]] = {}
    for each in results:
        if kind_of(each) == LABELS:
            identity = identity_of(each)
            found[identity] = (*found.get(identity, ()), *labels_of(each))
    return found


def labels_of(region: Json) -> list[str]:
    """Its labels, each once, without blanks around them.

    They stand under a key of its own type, under "labels", or, where a result only holds labels,
    under the key of another type.
    """
    value = value_of(region)
    keys = [kind_of(region), LABELS]
    if kind_of(region) == LABELS:
        keys += [key for key in value if key.endswith(LABELS)]
    names = next((value[key] for key in keys if value.get(key)), None)
    every = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    texts = (readable(name).strip() for name in every if isinstance(name, str))
    return list(dict.fromkeys(text for text in texts if text))


def readable(text: str) -> str:
    """Text that can be written: half a character, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _labelled(shape: Json, names: Sequence[str]) -> Json:
    """A shape with the labels beside it; its own come first."""
    if not names:
        return shape
    every = list(dict.fromkeys((*labels_of(shape), *names)))
    value = {key: each for key, each in value_of(shape).items() if not key.endswith(LABELS)}
    return {**shape, "value": {**value, LABELS: every}}


def form_held(value: Json) -> str:
    """How the geometry of a value is drawn, such as "brush"; empty where it holds none."""
    keys = value.keys()
    return next((form for needed, form in FORMS_BY_KEY if needed <= keys), "")


def identity_of(result: Json) -> str:
    """What results of one region share: the id, else the geometry; each on its own picture."""
    held, picture = result.get("id"), result.get("item_index", "")
    if held is None or held == "":
        geometry = {k: each for k, each in value_of(result).items() if not k.endswith(LABELS)}
        held = json.dumps(geometry, sort_keys=True, default=str)
    return f"{picture}\n{readable(str(held))}"
