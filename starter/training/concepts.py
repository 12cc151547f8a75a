"""What training pixels may be, and what that is called.

The sources name different things, and most of them name only some: a mask that knows buildings says
of every other pixel no more than that it is none. So a pixel carries a *judgement*: the set of
concepts that it may be, of which one is right (learning from candidate sets; Cour, Sapp and Taskar,
JMLR 2011). Concepts exclude each other; wider words, as "vegetation", stand for several of them.
"""

from collections.abc import Mapping

CONCEPTS: Mapping[str, tuple[str, ...]] = {
    "building": ("building", "house", "rooftop", "roof"),
    "greenhouse": ("greenhouse", "greenhouses"),
    "road": ("road", "street", "highway", "asphalt road"),
    "roundabout": ("roundabout", "traffic circle"),
    "runway": ("runway", "taxiway"),
    "bridge": ("bridge", "overpass"),
    "parking lot": ("parking lot", "car park"),
    "pier": ("pier", "dock", "jetty"),
    "bare land": ("bare land", "bare soil", "sand", "bare ground", "barren"),
    "beach": ("beach", "sandy shore"),
    "tree": ("tree", "trees"),
    "forest": ("forest", "woodland"),
    "grassland": ("grass", "grassland", "lawn", "meadow", "low vegetation"),
    "farmland": ("farmland", "agricultural field", "crops", "agricultural land"),
    "shrub": ("shrub", "bushes", "chaparral"),
    "water": ("water", "sea", "lake", "river", "pond"),
    "swimming pool": ("swimming pool", "pool", "turquoise pool"),
    "car": ("car", "small vehicle"),
    "large vehicle": ("truck", "bus", "large vehicle"),
    "ship": ("ship", "boat", "vessel"),
    "airplane": ("airplane", "aircraft", "plane"),
    "helicopter": ("helicopter", "helicopter with rotor blades"),
    "storage tank": ("storage tank", "round oil tank", "oil tank"),
    "tennis court": ("tennis court", "court with white lines"),
    "baseball field": ("baseball field", "baseball diamond"),
    "ground track field": ("ground track field", "running track"),
    "solar panel": ("solar panel", "photovoltaic panels"),
    "wind turbine": ("wind turbine", "windmill"),
}  # fmt: skip
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
    GROUND: ("land", "unpaved area", "bare land", "ground"),
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

    def number(self, *may_be: str | frozenset[str]) -> int:
        """The number of the judgement "one of these", 0 … 255."""
        union = frozenset().union(*({x} if isinstance(x, str) else x for x in may_be))
        unknown = union - EVERY
        if unknown or not union:
            raise ValueError(f"no concepts: {sorted(unknown) or 'an empty set'}")
        if union not in self.sets:
            if len(self.sets) == 256:
                raise ValueError("more than 256 judgements do not fit in a byte")
            self.sets.append(union)
        return self.sets.index(union)
