"""Masks by Segment Anything, as a provider."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.sam import proposals
from dgl_rsis.sam.promptable import Embedding, Promptable
from dgl_rsis.sam.proposals import SamParameters
from dgl_rsis.types import Prompt, Proposals, Refined
from dgl_rsis.weights.identity import FOLDER
from workers.engine.providers import Provider, Remembered
from workers.images.cache import Arrays
from workers.images.pictures import Picture
from workers.registry import names
from workers.settings import WorkerSettings


class SamProvider:
    """Masks by Segment Anything.

    Args:
        remembered: keeps embeddings and proposals.
        name: as in the settings.
        model: loaded.
        parameters: of proposals.
    """

    def __init__(
        self,
        remembered: Remembered,
        name: str,
        model: Promptable,
        parameters: SamParameters | None = None,
    ) -> None:
        self._remembered = remembered
        self._name = name
        self._model = model
        self._parameters = parameters or SamParameters()

    @property
    def identity(self) -> tuple[Any, ...]:
        """See `MaskProvider`."""
        # How many points are decoded at a time does not change what comes out.
        return Provider(self._name, self._model.fingerprint), replace(self._parameters, batch=None)

    def propose(self, picture: Picture, parameters: RegionParameters) -> Proposals:
        """See `MaskProvider`; the parameters of regions do not matter here.

        An image that was pre-labelled is one that somebody will click into, so the embedding is
        left behind, too.
        """
        embedding = self._embedding(picture) if picture.digest else None
        arrays = self._remembered.get(
            picture, "sam proposals", self.identity, lambda: self._proposed(picture, embedding)
        )
        return _unpacked(arrays)

    def refine(self, picture: Picture, prompt: Prompt) -> Refined:
        """See `MaskProvider`."""
        return self._model.refine(self._embedding(picture), prompt)

    def _proposed(self, picture: Picture, embedding: Embedding | None) -> Arrays:
        return _packed(proposals.propose(picture.pixels, self._model, self._parameters, embedding))

    def _embedding(self, picture: Picture) -> Embedding:
        model = self._model
        arrays = self._remembered.get(
            picture, "sam", model.fingerprint, lambda: model.encode(picture.pixels).to_arrays()
        )
        return model.from_arrays(arrays)


def load_sam_provider(settings: WorkerSettings, remembered: Remembered) -> SamProvider:
    """See `loading.load_provider`.

    Raises:
        ModelError, RegistryError: there is no such model.
    """
    name = settings.proposals
    architecture, path = names.resolve_sam(name, settings.models_dir)
    return SamProvider(remembered, name, _load(name, architecture, path, settings.device))


def _load(name: str, architecture: str, path: Path, device: str) -> Promptable:
    """Each family has a library of its own, which is needed for nothing else."""
    if architecture == FOLDER:
        from dgl_rsis.sam.sam2 import load_sam2

        return load_sam2(name, path, device)
    from dgl_rsis.sam.model import load_sam

    return load_sam(architecture, path, device)


def _packed(proposed: Proposals) -> Arrays:
    """Proposals as arrays, their masks as bits: an eighth."""
    sizes = np.array([*proposed.masks.shape, proposed.height, proposed.width])
    bits = np.packbits(proposed.masks, axis=None)
    return {"bits": bits, "boxes": proposed.boxes, "quality": proposed.quality, "sizes": sizes}


def _unpacked(arrays: Arrays) -> Proposals:
    count, rows, columns, height, width = arrays["sizes"].tolist()
    flat = np.unpackbits(arrays["bits"], count=count * rows * columns)
    masks = flat.view(np.bool_).reshape(count, rows, columns)
    return Proposals(masks, arrays["boxes"], arrays["quality"], height, width)
