"""What training pixels may be, and what that is called.

The sources name different things, and most of them name only some: a mask that knows buildings says
of every other pixel no more than that it is none. So a pixel carries a *judgement*: the set of
concepts that it may be, of which one is right (learning from candidate sets; Cour, Sapp and Taskar,
JMLR 2011). Concepts exclude each other; wider words, as "vegetation", stand for several of them.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from dgl_rsis.classes import knowledge

# Concept → its words: those of tables of `knowledge.toml`, or words of its own.
_TABLES: Mapping[str, str | tuple[str, ...]] = {
    "building": "building",
    "greenhouse": "greenhouse",
    "road": "road",
    "roundabout": "roundabout",
    "runway": "runway",
    "bridge": "bridge",
    "parking lot": "parking lot",
    "pier": "pier",
    "bare land": "bare land",
    "beach": "beach",
    "tree": ("tree", "trees"),
    "forest": ("forest", "woodland", "woods"),
    "grassland": "low vegetation",
    "farmland": "agriculture",
    "shrub": "shrub",
    "water": "water",
    "swimming pool": "swimming pool",
    "car": "car",
    "large vehicle": "large vehicle",
    "ship": "ship",
    "airplane": "airplane",
    "helicopter": "helicopter",
    "storage tank": "storage tank",
    "tennis court": "tennis court",
    "baseball field": "baseball field",
    "ground track field": "ground track field",
    "solar panel": "solar panel",
    "wind turbine": "windmill",
}
CONCEPTS: Mapping[str, tuple[str, ...]] = {
    concept: knowledge.words(words) if isinstance(words, str) else words
    for concept, words in _TABLES.items()
}
NAMES = tuple(CONCEPTS)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

EVERY = frozenset(NAMES)
VEGETATION = frozenset({"tree", "forest", "grassland", "farmland", "shrub"})
WOODS = frozenset({"tree", "forest"})
GROUND = frozenset({"bare land", "beach"})
PAVED = frozenset({"road", "roundabout", "runway", "bridge", "parking lot"})
VEHICLES = frozenset({"car", "large vehicle"})
# Things that stand on the ground: of most of them most places have none.
THINGS = frozenset(
    {
        "greenhouse", "roundabout", "runway", "bridge", "pier", "swimming pool", "car",
        "large vehicle", "ship", "airplane", "helicopter", "storage tank", "tennis court",
        "baseball field", "ground track field", "solar panel", "wind turbine",
    }
)  # fmt: skip
NATURE = EVERY - THINGS - {"building", "parking lot"}

# Words for several concepts at once.
WIDER: Mapping[frozenset[str], tuple[str, ...]] = {
    VEGETATION: ("vegetation", "plants", "green area"),
    WOODS: ("trees", "tree", "forest"),
    GROUND: ("land", "unpaved area", "bare land", "ground", "sand"),
    PAVED: ("road", "impervious surface", "pavement"),
    PAVED - {"parking lot"}: ("road", "street"),
    VEHICLES: ("vehicle", "car"),
    frozenset({"water", "swimming pool"}): ("water",),
    frozenset({"grassland", "shrub"}): ("low vegetation", "grass", "rangeland"),
    frozenset({"grassland", "farmland", "shrub"}): ("low vegetation", "grass"),
    frozenset({"building", "greenhouse"}): ("building", "house"),
    frozenset({"airplane", "helicopter"}): ("aircraft",),
}

# The vocabularies that land cover is mapped with the most: what training meets often.
COMMON: tuple[tuple[frozenset[str], ...], ...] = (
    (  # Dubai's
        frozenset({"building", "greenhouse"}), PAVED, VEGETATION, GROUND,
        frozenset({"water", "swimming pool"}),
    ),
    (
        frozenset({"building", "greenhouse"}), PAVED, WOODS,
        frozenset({"grassland", "farmland", "shrub"}), GROUND,
    ),
)  # fmt: skip


class Judgements:
    """The judgements of all sources, numbered; 0 says nothing."""

    def __init__(self) -> None:
        self.sets: list[frozenset[str]] = [EVERY]

    def number(self, *may_be: str | AbstractSet[str]) -> int:
        """The number of the judgement "one of these", 0 … 255.

        Args:
            *may_be: concepts, and sets of concepts.

        Raises:
            ValueError: no concept, one that is none, or more judgements than a byte can number.
        """
        union = frozenset().union(*({x} if isinstance(x, str) else x for x in may_be))
        unknown = union - EVERY
        if unknown or not union:
            raise ValueError(f"no concepts: {sorted(unknown) or 'an empty set'}; see `CONCEPTS`")
        if union not in self.sets:
            if len(self.sets) == 256:
                raise ValueError("more than 256 judgements do not fit in a byte")
            self.sets.append(union)
        return self.sets.index(union)
