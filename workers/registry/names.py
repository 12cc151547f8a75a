"""What `MODEL` and `PROPOSALS` say → what is loaded: a name of the registry, a folder, a file."""

from pathlib import Path

from dgl_rsis.weights.identity import CONFIG, FOLDER, STARTER
from workers.registry import hub
from workers.registry.files import RegistryError
from workers.registry.models import Installed, Registry, open_registry

OPEN_CLIP_CONFIG = "open_clip_config.json"  # of a folder that `load_clip` takes


def resolve_clip(name: str, folder: Path) -> str:
    """What `MODEL` says of a CLIP, as `load_clip` takes it.

    Args:
        name: of a model of the registry; anything else ("starter", a folder, ARCHITECTURE:FILE)
            comes back as it is.
        folder: as for `open_registry`.

    Raises:
        RegistryError: the model is not here, or is no CLIP.
    """
    if name == STARTER or ":" in name or Path(name).is_dir():
        return name
    registry = open_registry(folder)
    if name not in registry:
        return name  # `load_clip` says what could have been meant
    model = registry.resolve(name)
    if model.kind == "concepts":
        raise RegistryError(f"{name} is no CLIP: here MODEL takes a model of kind clip")
    if model.kind != "clip":
        raise RegistryError(
            f"{name} segments and knows no words: MODEL takes a model of kind clip or concepts"
        )
    path = registry.path(model)
    return str(path) if path.is_dir() else f"{model.architecture}:{path}"


def resolve_concepts(name: str, folder: Path) -> Path | None:
    """The folder of the SAM 3 that `MODEL` says; None where it says a CLIP.

    Args:
        name: of a model of the registry, a folder, or OWNER/NAME of Hugging Face's cache.
        folder: as for `open_registry`.

    Raises:
        RegistryError: the model is not here.
    """
    if (given := _given(name)) is not None:
        return None if (given / OPEN_CLIP_CONFIG).is_file() else given
    registry = open_registry(folder)
    if name not in registry or _kind(registry, name) != "concepts":
        return None
    return registry.path(registry.resolve(name))


def resolve_sam(name: str, folder: Path) -> tuple[str, Path]:
    """What `PROPOSALS` says.

    Args:
        name: of a model of the registry, "vit_b:FILE", a folder of SAM 2.1 or SAM 3, or OWNER/NAME
            of Hugging Face's cache.
        folder: as for `open_registry`.

    Returns:
        Key of sam_model_registry and checkpoint, or "transformers" and folder.

    Raises:
        RegistryError: the model is not here, or is no Segment Anything.
    """
    if (given := _given(name)) is not None:
        return FOLDER, given
    architecture, colon, file = name.partition(":")
    if colon:
        return architecture, Path(file)
    registry = open_registry(folder)
    model: Installed = registry.resolve(name)
    if model.kind == "clip":
        raise RegistryError(f"{name} is no Segment Anything: choose a model of kind sam")
    return model.architecture, registry.path(model)


def _given(name: str) -> Path | None:
    """The folder that a name says by itself, with a config in it."""
    here = Path(name)
    if (here / CONFIG).is_file() or (here / OPEN_CLIP_CONFIG).is_file():
        return here
    return hub.cached(name)


def _kind(registry: Registry, name: str) -> str:
    entry = registry.entries.get(name)
    return entry.kind if entry else registry.resolve(name).kind
