"""A shelf of models on loopback, and a registry of them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgl_rsis.weights.identity import ModelKind
from tests.file_server import Shelf, file_server
from workers.registry import download
from workers.registry.models import Entry, Registry

WEIGHTS = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Opened:
    """A check that remembers, and refuses when told to."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.seen: list[tuple[bytes, str, str]] = []

    def __call__(self, path: Path, kind: ModelKind, architecture: str, _origin: str) -> None:
        self.seen.append((path.read_bytes(), kind, architecture))
        if self.refusal:
            raise ValueError(self.refusal)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A server of one model, and pulls that neither wait nor read much at once."""
    monkeypatch.setattr(download.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(download, "CHUNK_BYTES", 10_000)
    with file_server() as shelf:
        shelf.files["/m.pt"] = WEIGHTS
        yield shelf


def registry(folder: Path, shelf: Shelf, **changes: object) -> Registry:
    entry = Entry(**{"name": "m", "kind": "clip", "architecture": "ViT-B-32"} | {
        "url": f"{shelf.url}/m.pt", "sha256": SHA256, "bytes": len(WEIGHTS)
    } | changes)  # fmt: skip
    return Registry(folder, {entry.name: entry})


def pull(models: Registry, check: Opened | None = None) -> Path:
    return models.pull("m", lambda _done, _total: None, check or Opened())


def kept(folder: Path) -> set[str]:
    """What lies in the folder, but for the empty files that locks need."""
    return {p.name for p in folder.iterdir() if not p.name.endswith("lock")}
