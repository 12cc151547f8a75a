"""Where masks come from: the region tree, or Segment Anything. Both propose and refine."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any, Protocol

from dgl_rsis.regions import proposals, refinement
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import RegionTree, TreeParameters, build_tree
from dgl_rsis.types import Prompt, Proposals, Refined
from workers.images.cache import Arrays, ImageCache, cache_key
from workers.images.pictures import Picture

REGIONS = "regions"


@dataclass(frozen=True)
class Provider:
    """Who makes the masks, as a part of the model's version.

    Attributes:
        name: as in the settings.
        fingerprint: SHA-256 of its weights, hexadecimal; "" without weights.
    """

    name: str = REGIONS
    fingerprint: str = ""


class MaskProvider(Protocol):
    """Proposes the masks of an image, and refines one by a prompt."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """A `Provider` and the parameters: all that decides the masks beside the image."""

    def propose(self, picture: Picture, parameters: RegionParameters) -> Proposals:
        """Masks of everything."""

    def refine(self, picture: Picture, prompt: Prompt) -> Refined:
        """The mask that a prompt means."""


class Remembered:
    """The cache, for what depends on an image, a stage's parameters and perhaps weights."""

    def __init__(self, cache: ImageCache) -> None:
        self._cache = cache

    def get(
        self, picture: Picture, stage: str, made_with: object, make: Callable[[], Arrays]
    ) -> Arrays:
        """What was made of the same file in the same way before, or what is made now.

        Args:
            picture: one without a digest is not remembered.
            stage: names what is made.
            made_with: its `repr` tells what else it depends on.
            make: makes it.
        """
        if not picture.digest:
            return make()
        key = cache_key(picture.digest, stage, version("dgl-rsis"), repr(made_with))
        return self._cache.remember(key, make)


class RegionProvider:
    """Masks by the region tree of the image: no weights.

    Args:
        remembered: keeps trees, one for proposals and refinement where their parameters agree.
        parameters: of refinement.
    """

    def __init__(
        self, remembered: Remembered, parameters: RefinementParameters | None = None
    ) -> None:
        self._remembered = remembered
        self._parameters = parameters or RefinementParameters()

    @property
    def identity(self) -> tuple[Any, ...]:
        """See `MaskProvider`."""
        return Provider(), self._parameters

    def propose(self, picture: Picture, parameters: RegionParameters) -> Proposals:
        """See `MaskProvider`."""
        return proposals.cut(self._tree(picture, parameters), parameters)

    def refine(self, picture: Picture, prompt: Prompt) -> Refined:
        """See `MaskProvider`."""
        tree = self._tree(picture, TreeParameters())
        return refinement.refine(picture.pixels, tree, prompt, self._parameters)

    def prepare(self, picture: Picture) -> None:
        """Build the tree that questions about a picture begin with, to be remembered."""
        self._tree(picture, TreeParameters())

    def _tree(self, picture: Picture, parameters: TreeParameters) -> RegionTree:
        wanted = TreeParameters(
            **{field.name: getattr(parameters, field.name) for field in fields(TreeParameters)}
        )
        # With the names of the arrays: a folder may hold trees of a release that had others.
        made_with = wanted, [field.name for field in fields(RegionTree)]

        def make() -> Arrays:
            return build_tree(picture.pixels, wanted).to_arrays()

        arrays = self._remembered.get(picture, "tree", made_with, make)
        return RegionTree.from_arrays(arrays)
