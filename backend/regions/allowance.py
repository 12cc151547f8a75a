"""How much of what a task holds is decoded for one request: masks are small files of many pixels.

Whoever may annotate writes brushes, bitmasks and outlines. Each is decoded once in a request, and
all of them together take the place and the time of a few large ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from backend.regions import reading
from backend.regions.geometry import RegionError, form_of, value_of
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs
from dgl_rsis.types import Json

# What of a mask tells how much there is to decode.
HELD: Mapping[str, str] = {
    "brush": "rle",
    "bitmask": "imageDataURL",
    "polygon": "points",
    "vector": "vertices",
}
PIXELS_AN_ITEM = 50  # of what is decoded or drawn pixel by pixel, however short it is written


@dataclass(frozen=True)
class Budget:
    """How much is decoded for one request.

    Attributes:
        regions: looked at.
        masks: decoded.
        items: bytes of brush RLE, characters of PNG, corners or runs, of all decoded masks in sum;
            a bitmask costs a fiftieth of its image's pixels at least.
    """

    regions: int = 20_000
    masks: int = 1000  # a project with a region an object has hundreds; 300 take 0.3 s at 4096²
    items: int = 2_000_000


BUDGET = Budget()


class SpentError(RegionError):
    """There is nothing left of the budget for this mask; the message says of it what it costs."""


class Allowance:
    """What is left of a budget.

    Args:
        budget: of one request.
    """

    def __init__(self, budget: Budget = BUDGET) -> None:
        self.budget = budget
        self._masks, self._items = budget.masks, budget.items
        # With the region, so that no other one gets its address; or what is wrong with it, and not
        # the error, whose traceback would hold all that was decoded.
        self._decoded: dict[tuple[int, Size], tuple[Json, Runs | str]] = {}

    @property
    def spent(self) -> bool:
        """Whether no further mask is decoded."""
        return self._masks <= 0

    def mask(self, region: Json, size: Size) -> Runs:
        """The mask of a region, see `reading.mask`; a second time it costs nothing.

        Raises:
            SpentError: the budget does not allow it.
            RegionError: it is no mask, or cannot be read.
        """
        key = id(region), size
        if key not in self._decoded:
            self._check(region, size)
            self._decoded[key] = region, self._read(region, size)
        outcome = self._decoded[key][1]
        if isinstance(outcome, str):
            raise RegionError(outcome)
        return outcome

    def _check(self, region: Json, size: Size) -> None:
        cost = cost_of(region, size)
        if self.spent or cost > self._items:
            raise SpentError(
                f"it costs {cost:,} of the {max(self._items, 0):,} items that are left of "
                f"{self.budget.items:,} for one request: make the masks fewer or smaller"
            )

    def _read(self, region: Json, size: Size) -> Runs | str:
        self._masks -= 1
        self._items -= cost_of(region, size)
        try:
            runs = reading.mask(region, size)
        except RegionError as error:
            return str(error)
        self._items -= max(0, len(runs.counts) - cost_of(region, size))
        return runs


def cost_of(region: Json, size: Size) -> int:
    """What decoding a mask costs, in items of a `Budget`."""
    form, pixels = form_of(region), size[0] * size[1]
    held = value_of(region).get(HELD.get(form, ""))
    length = len(held) if isinstance(held, list | str) else 0
    if form == "polygon" or (form == "brush" and length):
        return length  # however large the image
    return max(length, pixels // PIXELS_AN_ITEM)
