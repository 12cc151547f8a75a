"""`dgl-rsis models`: real weights, in one command each.

Nothing is fetched but by `pull`. The files are opened with torch where it is installed, to see that
they are what they should be; a machine of the web side alone trusts their hashes, and the worker
looks when it loads them.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar, get_args

import typer

from backend.commands import options
from backend.commands.folders import make_writable
from backend.commands.progress import downloading, track
from backend.commands.refusals import refuse, refuse_known, told
from dgl_rsis.weights.identity import ModelKind, SamArchitecture
from workers.extras import installing
from workers.registry.files import RegistryError
from workers.registry.models import Entry, Registry, open_registry
from workers.registry.transfer import Source
from workers.settings import ModelSettings

LOG = logging.getLogger(__name__)

HEADER = ("NAME", "KIND", "ARCHITECTURE", "INSTALLED", "SIZE", "LICENCE", "TRAINED ON")
SETTINGS: dict[ModelKind, tuple[str, ...]] = {
    "clip": ("MODEL",),
    "sam": ("PROPOSALS",),
    "concepts": ("MODEL", "PROPOSALS"),
}
UNITS = ((1e9, "GB", 2), (1e6, "MB", 0))

SAMPLES = Path(__file__).parent / "demo" / "samples" / "set"  # of no place that was trained on

Result = TypeVar("Result")

app = typer.Typer(help="Real weights: what there is, and getting them.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show all models: installed or not, size, licence, what they were trained on."""
    sys.stdout.write(_refusing(lambda: table(_registry())))


@app.command()
def pull(name: Annotated[str, typer.Argument(help="As `models list` shows it.")]) -> None:
    """Fetch a model, or continue fetching it; verified, and there whole or not at all."""
    sys.stdout.write(_refusing(lambda: pulled(_registry(), name)))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it in MODEL or PROPOSALS.")],
    file: Annotated[Path, typer.Option(help="The checkpoint; it is copied.")],
    arch: Annotated[
        str | None,
        typer.Option(help="As open_clip lists it, or vit_b, vit_l, vit_h; a registered name has."),
    ] = None,
    kind: Annotated[ModelKind | None, typer.Option(help="Else the architecture tells.")] = None,
) -> None:
    """Take in a checkpoint that you have."""
    sys.stdout.write(_refusing(lambda: added(_registry(), name, file, arch, kind)))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="One model; else all that are here.")] = None,
) -> None:
    """Read installed models again and compare them with their hashes."""
    faults = _refusing(lambda: _registry().verify(name, lambda each: track(each, "Reading")))
    for model, fault in faults.items():
        sys.stdout.write(f"{model}: {fault or 'as it came'}\n")
    if any(faults.values()):
        raise typer.Exit(1)


@app.command("try")
def try_(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="As `models list` shows them, or folders; else all that are here."),
    ] = None,
    tiles: Annotated[
        Path, typer.Option(help="Labelled tiles: images/, labels/ and classes.txt.")
    ] = SAMPLES,
    out: Annotated[Path, typer.Option(help="The picture: all models side by side.")] = Path(
        "models.png"
    ),
    device: options.Device = None,
) -> None:
    """Try models on this machine: what they give on a few tiles, how long, how much memory."""
    if not (tiles / "classes.txt").is_file():
        refuse(f"there are no labelled tiles in {tiles}: give a folder with --tiles")
    from PIL import Image

    from backend.commands.trial import run

    settings = options.local(device=device)
    _refusing(lambda: make_writable(out.parent))
    asked = _refusing(lambda: run.names_of(names or [], settings))
    trials = [run.trial(name, settings, tiles) for name in track(asked, "trying")]
    sys.stdout.write(run.table(trials))
    _refusing(lambda: Image.fromarray(run.picture(trials, tiles)).save(out))
    sys.stdout.write(f"{out}\n")
    if all(each.measured.problem for each in trials):
        raise typer.Exit(1)


def table(registry: Registry) -> str:
    """All models, registered ones first, as lines of columns."""
    installed = registry.installed()
    rows = [HEADER, *(_row(entry, registry) for entry in registry.entries.values())]
    for name, model in installed.items():
        if name not in registry.entries:
            size = _size(model.bytes)
            rows.append((name, model.kind, model.architecture, "yes", size, "?", "added by hand"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join([*lines, f"models folder: {registry.folder}"]) + "\n"


def pulled(registry: Registry, name: str) -> str:
    """Pull a model, with a bar on standard error.

    Returns:
        What to tell.

    Raises:
        RegistryError, ModelError: it cannot be had; nothing unverified is kept.
    """
    entry = registry.entries.get(name)
    if entry and entry.gate and name not in registry.installed():
        LOG.warning("%s: %s", name, entry.gate)
    with downloading(name) as progress:
        path = registry.pull(name, progress, _check)
    return _told(registry, name, path)


def added(
    registry: Registry, name: str, file: Path, architecture: str | None, kind: ModelKind | None
) -> str:
    """Add a checkpoint.

    Args:
        registry: where to.
        name: what to call it.
        file: the checkpoint.
        architecture: None where the name is registered.
        kind: None to tell it by the architecture.

    Returns:
        What to tell.

    Raises:
        RegistryError, ModelError: it cannot be added; nothing is kept.
    """
    entry = registry.entries.get(name)
    architecture = architecture or (entry.architecture if entry else None)
    if architecture is None:
        raise RegistryError(f"{name} is not registered: give its architecture with --arch")
    kind = kind or ("sam" if architecture in get_args(SamArchitecture) else "clip")
    return _told(registry, name, registry.add(name, file, architecture, kind, _check))


def _registry() -> Registry:
    settings = options.read(ModelSettings)
    options.log(settings)  # for how far a download is
    token = settings.hf_token.get_secret_value() if settings.hf_token else ""
    return open_registry(settings.models_dir, Source(settings.dgl_rsis_models_url or "", token))


def _told(registry: Registry, name: str, path: Path) -> str:
    usage = " or ".join(f"{setting}={name}" for setting in SETTINGS[registry.resolve(name).kind])
    note = registry.entries[name].note if name in registry.entries else ""
    return f"{path}\n{f'Note: {note}' + chr(10) if note else ''}Use it with {usage}\n"


def _row(entry: Entry, registry: Registry) -> tuple[str, ...]:
    here = registry.installed().get(entry.name)
    size = _size(here.bytes if here else entry.bytes)
    return (
        entry.name,
        entry.kind,
        entry.architecture,
        "yes" if here else "no",
        size,
        entry.licence,
        entry.trained_on,
    )


def _size(count: int) -> str:
    for unit, name, digits in UNITS:
        if count >= unit:
            return f"{count / unit:.{digits}f} {name}"
    return f"{count} B" if count else "?"


def _check(path: Path, kind: ModelKind, architecture: str, origin: str) -> None:
    """Open a file as the model that it should be, where there is torch."""
    if importlib.util.find_spec("torch") is None:
        LOG.warning("%s was not opened: torch is not installed here; the worker will", origin)
        return
    if path.is_dir():
        _check_folder(path, kind, origin)
        return
    from dgl_rsis.weights import architectures

    architectures.check(path, kind, architecture, origin)


def _check_folder(path: Path, kind: ModelKind, origin: str) -> None:
    """Load it, where there is the library: it tells nothing of a model without its weights."""
    if importlib.util.find_spec("transformers") is None:
        LOG.warning("%s was not opened; to use it: %s", origin, installing("hf"))
        return
    if kind == "clip":
        from dgl_rsis.weights import architectures

        architectures.check_folder(path, origin)
        return
    from dgl_rsis.sam.sam2 import load_sam2

    load_sam2(origin, path)
    if kind == "concepts":
        from dgl_rsis.concepts.model import load_concepts

        load_concepts(origin, path)


def _refusing(work: Callable[[], Result]) -> Result:
    """Do it; what users can mend ends the command with its message."""
    try:
        return work()
    except OSError as error:
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
