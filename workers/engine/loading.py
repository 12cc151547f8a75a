"""Settings → the model that they name, and its provider of masks."""

from pathlib import Path

from dgl_rsis.clip.model import load_clip
from dgl_rsis.resolution import stated
from dgl_rsis.weights.checkpoints import ModelError
from workers.engine.model import Model
from workers.engine.providers import REGIONS, MaskProvider, RegionProvider, Remembered
from workers.engine.segmenter import Segmenter
from workers.extras import way_out
from workers.images.cache import ImageCache
from workers.registry.files import RegistryError
from workers.registry.names import resolve_clip, resolve_concepts
from workers.settings import WorkerSettings


def load_model(settings: WorkerSettings, cache: ImageCache | None = None) -> Model:
    """Load the model and the provider of masks that the settings name.

    Args:
        settings: of MODEL, PROPOSALS, DEVICE, MODELS_DIR and METRES_PER_PIXEL.
        cache: None to remember nothing.

    Raises:
        ModelError: there is no such model.
    """
    try:
        folder = resolve_concepts(settings.model, settings.models_dir)
        if folder is None:
            return load_segmenter(settings, cache)
        return _load_concepts(settings, folder, _remembered(cache))
    except RegistryError as error:
        raise ModelError(str(error)) from None


def load_segmenter(settings: WorkerSettings, cache: ImageCache | None = None) -> Segmenter:
    """The same where only a CLIP will do, as for scenes, which are read window by window.

    Raises:
        ModelError: there is no such model, or it is no CLIP.
    """
    remembered = _remembered(cache)
    try:
        if resolve_concepts(settings.model, settings.models_dir) is not None:
            raise ModelError(
                f"MODEL={settings.model} answers about images, and here a CLIP is needed: choose a "
                "model of kind clip, or cut scenes by `dgl-rsis tile` and segment the tiles"
            )
        name = resolve_clip(settings.model, settings.models_dir)
        clip = load_clip(name, settings.device, settings.precision)
        setting = stated(settings.metres_per_pixel, "setting")
        return Segmenter(clip, load_provider(settings, remembered), remembered, setting)
    except RegistryError as error:
        raise ModelError(str(error)) from None


def load_provider(settings: WorkerSettings, remembered: Remembered) -> MaskProvider:
    """The provider of masks that the settings name.

    Args:
        settings: of PROPOSALS, DEVICE and MODELS_DIR.
        remembered: for what it computes.

    Raises:
        ModelError, RegistryError: there is no such model.
    """
    if settings.proposals == REGIONS:
        return RegionProvider(remembered)
    try:
        from workers.engine.sam import load_sam_provider  # its library is needed for nothing else

        return load_sam_provider(settings, remembered)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"PROPOSALS={settings.proposals} needs the package {error.name}: "
            f"{way_out(error.name)}; or set PROPOSALS={REGIONS}"
        ) from None


def _load_concepts(settings: WorkerSettings, folder: Path, remembered: Remembered) -> Model:
    try:
        # Their library takes seconds to load, and nothing else needs it.
        from dgl_rsis.concepts.model import load_concepts
        from workers.engine.concepts import ConceptSegmenter
    except ModuleNotFoundError as error:
        raise ModelError(
            f"MODEL={settings.model} needs the package {error.name}: {way_out(error.name)}"
        ) from None
    model = load_concepts(settings.model, folder, settings.device)
    setting = stated(settings.metres_per_pixel, "setting")
    return ConceptSegmenter(model, load_provider(settings, remembered), remembered, setting)


def _remembered(cache: ImageCache | None) -> Remembered:
    return Remembered(cache if cache is not None else ImageCache(0))
