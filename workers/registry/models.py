"""Which models there are, which of them are here, and how one gets here.

The registry is `models.toml` beside this file, and a file of the same form in the models folder,
whose entries win: for a mirror inside a closed network. What is installed stands in
`models.lock.json` of the models folder, with the hash that it is held to. No model is opened here:
that needs torch, so whoever pulls or adds gives a function that does.
"""

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import NoReturn, get_args

from dgl_rsis.weights.identity import STARTER, ModelKind, files_of, fingerprint
from workers.registry.download import Progress, discard, download
from workers.registry.files import RegistryError, check_hash, extract, locking, suffix
from workers.registry.transfer import Source, fetch_folder

# (file, kind, architecture, how to call the file in messages); raises for an unfit file.
Check = Callable[[Path, ModelKind, str, str], None]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
LOCK = "models.lock.json"
ORIGINAL = Source()  # each entry's own address


@dataclass(frozen=True)
class Entry:
    """A model that can be pulled.

    Attributes:
        name: as in `MODEL=name`.
        kind: "clip" for MODEL, "sam" for PROPOSALS, or "concepts" for both.
        architecture: of open_clip, of segment_anything's sam_model_registry, or "transformers".
        url: address of the file; of a folder, what its files lie below.
        files: of a folder in Hugging Face's form; none for a single file. One that ends in "?" may
            be absent.
        sha256: of what `url` gives, or of a folder's safetensors; "" when nobody publishes it.
        bytes: its size; 0 when unknown.
        member: the file to take out, where `url` is a zip archive.
        gate: what has to be done before anybody gets it, and what its licence asks; "" for nothing.
        licence, trained_on, note, source: for people.
    """

    name: str
    kind: ModelKind
    architecture: str
    url: str
    files: tuple[str, ...] = ()
    sha256: str = ""
    bytes: int = 0
    member: str = ""
    gate: str = ""
    licence: str = ""
    trained_on: str = ""
    note: str = ""
    source: str = ""


@dataclass(frozen=True)
class Installed:
    """A model that is here.

    Attributes:
        file: its name in the models folder; of a folder, the folder's.
        bytes, sha256: of that file, or over the files of that folder.
        pulled: SHA-256 of what came from the source, which may be an archive; "" for an added one.
    """

    name: str
    kind: ModelKind
    architecture: str
    file: str
    bytes: int
    sha256: str
    pulled: str = ""


@dataclass(frozen=True)
class Registry:
    """A models folder and what may come into it.

    Attributes:
        folder: where the files lie; made when the first comes.
        entries: name → what can be pulled, in the order of the file.
        source: where files come from.
    """

    folder: Path
    entries: Mapping[str, Entry]
    source: Source = ORIGINAL

    def installed(self) -> dict[str, Installed]:
        """Name → what is here, whole as far as its size tells."""
        return {n: m for n, m in self._locked().items() if self._whole(m)}

    def pull(self, name: str, progress: Progress, check: Check) -> Path:
        """Fetch a registered model, or continue fetching it.

        Args:
            name: of an entry.
            progress: told how far the transfer is.
            check: opens the file as the model that it should be.

        Returns:
            The file; at once when it is here already.

        Raises:
            RegistryError: no such entry, it cannot be fetched (what came stays, to be continued),
                another hash than the known one, not the archive that was expected.
            ValueError: what `check` raises; nothing is kept then.
        """
        entry = self._entry(name)
        if here := self.installed().get(name):
            return self.path(here)
        known = self._locked().get(name)
        with self._alone(name):
            if entry.files:
                return self._pull_folder(entry, known, progress, check)
            return self._pull_file(entry, known, progress, check)

    def _pull_file(
        self, entry: Entry, known: Installed | None, progress: Progress, check: Check
    ) -> Path:
        name, mirrored = entry.name, bool(self.source.mirror and entry.member)
        url = self.source.file(name, entry.url, entry.member)
        # A mirror has what came out of an archive, whose hash the source does not publish.
        wanted = "" if mirrored else entry.sha256 or (known.pulled if known else "")
        part = self.folder / f".{name}.part"
        size = 0 if mirrored else entry.bytes
        headers = self.source.headers(url)
        download(url, part, size, progress, pinned=bool(wanted), headers=headers)
        try:
            pulled = check_hash(part, wanted, url)
            packed = bool(entry.member) and not mirrored
            fresh = self._fresh(name) if packed else part
            if packed:
                extract(part, entry.member, fresh, url)
            check(fresh, entry.kind, entry.architecture, f"what came from {url}")
            return self._keep(fresh, name, entry.member or entry.url, entry, pulled)
        finally:
            discard(part)
            self._fresh(name).unlink(missing_ok=True)

    def _pull_folder(
        self, entry: Entry, known: Installed | None, progress: Progress, check: Check
    ) -> Path:
        url = self.source.folder(entry.name, entry.url)
        part = self.folder / f".{entry.name}.part"
        fetch_folder(url, entry.files, part, self.source, progress)
        try:
            for file in part.glob("*.safetensors") if entry.sha256 else ():
                check_hash(file, entry.sha256, f"{url}/{file.name}")
            pulled = check_hash(part, known.pulled if known else "", url)
            check(part, entry.kind, entry.architecture, f"what came from {url}")
            return self._keep(part, entry.name, "", entry, pulled)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def add(self, name: str, file: Path, architecture: str, kind: ModelKind, check: Check) -> Path:
        """Copy a checkpoint that the user has into the models folder.

        Args:
            name: what to call it; a registered name only for that very file.
            file: the checkpoint.
            architecture: as of an entry.
            kind: as of an entry.
            check: opens the file as the model that it should be.

        Returns:
            The copy.

        Raises:
            RegistryError: no such file, or a name that cannot be or that another model has.
            ValueError: what `check` raises; nothing is kept then.
        """
        if not NAME.fullmatch(name) or name == STARTER:
            raise RegistryError(f"a model cannot be called {name!r}: use a-z, 0-9, '.', '_', '-'")
        if file.is_dir():
            raise RegistryError(
                f"{file} is a folder: give the checkpoint in it, or use a folder with "
                "open_clip_config.json or config.json as it is, by MODEL or PROPOSALS"
            )
        if not file.is_file():
            raise RegistryError(f"there is no file {file}")
        if here := self.installed().get(name):
            raise RegistryError(
                f"{name} is here already: choose another name, or delete {self.path(here)}"
            )
        entry = self.entries.get(name)
        if entry and entry.sha256 and not entry.member:
            check_hash(file, entry.sha256, f"{file}, to be added under the registered name {name},")
        with self._alone(name):
            fresh = self._fresh(name)
            try:
                shutil.copyfile(file, fresh)
                check(fresh, kind, architecture, str(file))
                model = Entry(name, kind, architecture, url="")
                return self._keep(fresh, name, file.name, model, "")
            finally:
                fresh.unlink(missing_ok=True)

    def verify(
        self, name: str | None = None, told: Callable[[list[str]], Iterable[str]] = iter
    ) -> dict[str, str]:
        """Read the files that should be here.

        Args:
            name: of one model; None for all.
            told: gives the same names, and may tell somebody how far it is.

        Returns:
            Name → what is wrong with its file; "" for nothing.

        Raises:
            RegistryError: that one was never here.
        """
        locked = self._locked()
        if name is not None and name not in locked:
            self._refuse_absent(name)
        return {n: self._fault(locked[n]) for n in told([n for n in locked if name in (None, n)])}

    def resolve(self, name: str) -> Installed:
        """What a name stands for.

        Raises:
            RegistryError: it is not here.
        """
        model = self.installed().get(name)
        if model is None:
            self._refuse_absent(name)
        return model

    def path(self, model: Installed) -> Path:
        """The file of a model that is here."""
        return self.folder / model.file

    def __contains__(self, name: object) -> bool:
        """Whether the name is registered, or was added."""
        return name in self.entries or name in self._locked()

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise RegistryError(
                f"no model {name!r} is registered: choose one of {', '.join(self.entries)}, or use "
                "`dgl-rsis models add` for a checkpoint that you have"
            )
        return self.entries[name]

    def _refuse_absent(self, name: str) -> NoReturn:
        self._entry(name)
        raise RegistryError(
            f"the weights of {name} are not in {self.folder}: run `dgl-rsis models pull {name}`"
        )

    def _whole(self, model: Installed) -> bool:
        files = files_of(self.path(model))
        return bool(files) and _bytes(files) == model.bytes

    def _fault(self, model: Installed) -> str:
        path = self.path(model)
        if not (files := files_of(path)):
            return f"{path} is missing"
        if not self._whole(model):
            return f"{path} has {_bytes(files):,} bytes, not {model.bytes:,}"
        return "" if fingerprint(path) == model.sha256 else f"{path} has changed since it came"

    def _fresh(self, name: str) -> Path:
        return self.folder / f".{name}.new"

    def _keep(self, fresh: Path, name: str, origin: str, entry: Entry, pulled: str) -> Path:
        """Give a checked file its name, and write down what it is."""
        digest = pulled if pulled and not entry.member else fingerprint(fresh)
        file = name if fresh.is_dir() else name + suffix(origin)
        size = _bytes(files_of(fresh))
        model = Installed(name, entry.kind, entry.architecture, file, size, digest, pulled)
        with locking(self.folder / ".lock"):
            if self.path(model).is_dir():  # a damaged one: a folder does not take another's place
                shutil.rmtree(self.path(model))
            fresh.replace(self.path(model))
            self._write({**self._locked(), name: model})
        return self.path(model)

    def _locked(self) -> dict[str, Installed]:
        path = self.folder / LOCK
        try:
            return {
                name: Installed(name, **row) for name, row in json.loads(path.read_text()).items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            raise RegistryError(f"{path} cannot be read ({error}): repair or delete it") from None

    def _write(self, models: Mapping[str, Installed]) -> None:
        rows = {name: asdict(model) for name, model in sorted(models.items())}
        for row in rows.values():
            del row["name"]
        path = self.folder / LOCK
        fresh = path.with_name(f".{LOCK}.new")
        fresh.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        fresh.replace(path)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Make the folder; refuse where another process brings the same model."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(
                f"the models folder {self.folder} cannot be made ({error.strerror}): set MODELS_DIR"
            ) from None
        with locking(self.folder / f".{name}.lock", f"{name} is on its way in another process"):
            yield


def _bytes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def open_registry(folder: Path, source: Source | None = None) -> Registry:
    """The registry over a models folder.

    Args:
        folder: as the setting MODELS_DIR.
        source: where files come from, by default each entry's own address.

    Raises:
        RegistryError: the folder's own `models.toml` is wrong.
    """
    entries = _read(Path(str(files("workers.registry"))) / "models.toml")
    own = folder / "models.toml"
    if own.is_file():
        entries |= _read(own)
    return Registry(folder, entries, source or ORIGINAL)


def _read(path: Path) -> dict[str, Entry]:
    try:
        rows = tomllib.loads(path.read_text("utf-8"))["model"]
        entries = [Entry(**{**row, "files": tuple(row.get("files", ()))}) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"{path} is no list of models: {error}") from None
    for entry in entries:
        if entry.kind not in get_args(ModelKind) or not NAME.fullmatch(entry.name):
            raise RegistryError(f"{path} has a wrong name or kind: {entry.name!r}, {entry.kind!r}")
    return {entry.name: entry for entry in entries}
