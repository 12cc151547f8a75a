"""Pulling from a real server on loopback, adding, verifying, resolving."""

import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.file_server import Shelf, file_server
from workers import registry_download
from workers.registry import (
    Entry,
    Kind,
    Registry,
    RegistryError,
    models_folder,
    open_registry,
    resolve_clip,
    resolve_sam,
)
from workers.registry_files import locking

WEIGHTS = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Opened:
    """A check that remembers, and refuses when told to."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.seen: list[tuple[bytes, str, str]] = []

    def __call__(self, path: Path, kind: Kind, architecture: str) -> None:
        self.seen.append((path.read_bytes(), kind, architecture))
        if self.refusal:
            raise ValueError(self.refusal)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with file_server() as shelf:
        shelf.files["/m.pt"] = WEIGHTS
        yield shelf


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_download.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(registry_download, "CHUNK_BYTES", 10_000)


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


def test_a_model_is_pulled_checked_and_locked(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path / "models", shelf)
    steps: list[tuple[int, int]] = []
    check = Opened()
    path = models.pull("m", lambda done, total: steps.append((done, total)), check)
    assert path.read_bytes() == WEIGHTS
    assert check.seen == [(WEIGHTS, "clip", "ViT-B-32")]
    assert steps[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert sorted(steps) == steps
    assert len(steps) > 10
    assert models.resolve("m").sha256 == SHA256
    assert models.verify() == {"m": ""}
    assert kept(models.folder) == {"m.pt", "models.lock.json"}


def test_what_is_here_is_not_fetched_again(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    assert pull(models) == pull(models)
    assert len(shelf.seen) == 1


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(
    tmp_path: Path, shelf: Shelf, sha256: str
) -> None:
    shelf.cuts = [300_000, 200_000]
    assert pull(registry(tmp_path, shelf, sha256=sha256)).read_bytes() == WEIGHTS
    assert shelf.seen == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_command_continues(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    shelf.cuts = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(RegistryError, match=r"broke off at 300,000 bytes.*again to continue"):
        pull(models)
    assert models.installed() == {}
    shelf.cuts, shelf.seen = [], []
    assert pull(models).read_bytes() == WEIGHTS
    assert shelf.seen == ["bytes=300000-"]


def test_an_interrupted_command_leaves_its_part(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)

    def interrupt(done: int, _total: int) -> None:
        if done >= 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull("m", interrupt, Opened())
    shelf.seen = []
    assert pull(models).read_bytes() == WEIGHTS
    assert re.fullmatch(r"bytes=5\d{5}-", shelf.seen[0] or "")


@settings(max_examples=25, deadline=None)
@given(
    st.binary(min_size=1, max_size=3000),
    st.integers(0, 3000),
    st.lists(st.integers(1, 3000), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_whatever_breaks_where_the_file_comes_whole(
    content: bytes, start: int, cuts: list[int], ranges: bool, tags: bool
) -> None:
    with TemporaryDirectory() as folder, file_server() as shelf:
        shelf.files["/m.pt"] = content
        shelf.cuts, shelf.ranges, shelf.tags = cuts, ranges, tags
        part = Path(folder) / "part"
        part.write_bytes(content[:start])
        for _ in range(len(cuts) + 1):  # as a user who does not give up
            with contextlib.suppress(RegistryError):
                registry_download.download(
                    f"{shelf.url}/m.pt", part, 0, lambda _done, _total: None, pinned=True
                )
                break
        assert part.read_bytes() == content
        assert not part.with_name("part.etag").exists()


def test_a_complete_part_needs_no_transfer(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / ".m.part").write_bytes(WEIGHTS)
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS
    assert shelf.seen == [f"bytes={len(WEIGHTS)}-"]


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / ".m.part").write_bytes(WEIGHTS + b"more")
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS


def test_a_server_without_ranges_starts_anew(tmp_path: Path, shelf: Shelf) -> None:
    shelf.ranges, shelf.cuts = False, [300_000]
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS
    assert shelf.seen == [None, "bytes=300000-"]


def test_without_a_known_hash_a_changed_file_starts_anew(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf, sha256="", bytes=0)
    shelf.cuts = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(RegistryError, match="broke off"):
        pull(models)
    shelf.cuts, shelf.files["/m.pt"] = [], WEIGHTS[::-1]
    assert pull(models).read_bytes() == WEIGHTS[::-1]


def test_without_hash_and_tag_nothing_is_continued(tmp_path: Path, shelf: Shelf) -> None:
    shelf.tags, shelf.cuts = False, [300_000]
    assert pull(registry(tmp_path, shelf, sha256="")).read_bytes() == WEIGHTS
    assert shelf.seen == [None, None]


def test_a_busy_server_is_asked_again(tmp_path: Path, shelf: Shelf) -> None:
    shelf.statuses = [503, 429]
    assert pull(registry(tmp_path, shelf)).read_bytes() == WEIGHTS


def test_redirects_are_followed(tmp_path: Path, shelf: Shelf) -> None:
    shelf.moves["/here"] = "/m.pt"
    assert pull(registry(tmp_path, shelf, url=f"{shelf.url}/here")).read_bytes() == WEIGHTS


def test_a_redirect_that_leaves_tls_is_refused(tmp_path: Path) -> None:
    answer = requests.Response()
    answer.url, answer.status_code = "http://elsewhere/m.pt", 200
    with pytest.raises(RegistryError, match="without TLS"):
        registry_download._check_status("https://here/m.pt", answer)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "/gone.pt"}, "HTTP 404: the file may have moved"),
        ({"bytes": 5}, "has 1,024,000 bytes, not the expected 5"),
        ({"sha256": "ab" * 32}, f"has the SHA-256 {SHA256}, not the expected abab"),
        ({"member": "epoch_20.pt"}, "is no whole zip archive"),
    ],
)
def test_what_is_not_the_model_is_not_kept(
    tmp_path: Path, shelf: Shelf, changes: dict[str, str], words: str
) -> None:
    if "url" in changes:
        changes = {"url": shelf.url + changes["url"]}
    models = registry(tmp_path, shelf, **changes)
    with pytest.raises(RegistryError, match=words):
        pull(models)
    assert models.installed() == {}
    assert kept(tmp_path) == set()


def test_what_cannot_be_opened_is_not_kept(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    with pytest.raises(ValueError, match="another architecture"):
        pull(models, Opened("it is of another architecture"))
    assert kept(tmp_path) == set()


def test_no_server(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(RegistryError, match="broke off at 0 bytes"):
        pull(registry(tmp_path, shelf, url="http://127.0.0.1:9/m.pt"))


def test_no_room(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(registry_download.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(RegistryError, match=r"needs 1,024,000 bytes more.*1,000 free"):
        pull(registry(tmp_path, shelf))


def test_the_first_pull_pins_an_unknown_hash(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf, sha256="", bytes=0)
    path = pull(models)
    path.unlink()
    shelf.files["/m.pt"] = b"other weights"
    with pytest.raises(RegistryError, match=f"not the expected {SHA256}"):
        pull(models)
    shelf.files["/m.pt"] = WEIGHTS
    assert pull(models) == path


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"SkyCLIP/{name}.pt", data)
    return content.getvalue()


def test_a_model_comes_out_of_its_archive(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/m.zip"] = archive = zipped(epoch_20=WEIGHTS, epoch_1=b"")
    changes = {"url": f"{shelf.url}/m.zip", "sha256": "", "bytes": 0, "member": "epoch_20.pt"}
    models = registry(tmp_path, shelf, **changes)
    assert pull(models).read_bytes() == WEIGHTS
    found = models.resolve("m")
    assert (found.file, found.sha256) == ("m.pt", SHA256)
    assert found.pulled == hashlib.sha256(archive).hexdigest()
    assert kept(tmp_path) == {"m.pt", "models.lock.json"}


def test_an_archive_without_the_model(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/m.pt"] = zipped(epoch_1=b"")
    with pytest.raises(RegistryError, match=r"holds 0 files epoch_20\.pt"):
        pull(registry(tmp_path, shelf, sha256="", bytes=0, member="epoch_20.pt"))
    assert kept(tmp_path) == set()


def test_a_damaged_archive(tmp_path: Path, shelf: Shelf) -> None:
    content = zipped(epoch_20=WEIGHTS)
    place = content.index(WEIGHTS[:500])
    shelf.files["/m.pt"] = content[:place] + b"x" * 500 + content[place + 500 :]
    with pytest.raises(RegistryError, match="no whole zip archive"):
        pull(registry(tmp_path, shelf, sha256="", bytes=0, member="epoch_20.pt"))
    assert kept(tmp_path) == set()


def test_one_process_brings_a_model(tmp_path: Path, shelf: Shelf) -> None:
    with locking(tmp_path / ".m.lock"), pytest.raises(RegistryError, match="another process"):
        pull(registry(tmp_path, shelf))


def test_a_checkpoint_is_added(tmp_path: Path, shelf: Shelf) -> None:
    file = tmp_path / "Mine.SafeTensors"
    file.write_bytes(b"mine")
    models, check = registry(tmp_path / "models", shelf), Opened()
    path = models.add("mine", file, "vit_b", "sam", check)
    assert path.name == "mine.safetensors"
    assert path.read_bytes() == file.read_bytes()
    assert check.seen == [(b"mine", "sam", "vit_b")]
    assert resolve_sam("mine", models.folder) == ("vit_b", path)
    with pytest.raises(RegistryError, match="is here already"):
        models.add("mine", file, "vit_b", "sam", check)


@pytest.mark.parametrize("name", ["starter", "Mine", "a/b", "../a", "", "a:b", ".a"])
def test_names_that_cannot_be(tmp_path: Path, shelf: Shelf, name: str) -> None:
    with pytest.raises(RegistryError, match="cannot be called"):
        registry(tmp_path, shelf).add(name, Path(__file__), "vit_b", "sam", Opened())


def test_what_cannot_be_added(tmp_path: Path, shelf: Shelf) -> None:
    file, folder = tmp_path / "a.pt", tmp_path / "models"
    file.write_bytes(b"not m")
    models = registry(folder, shelf)
    with pytest.raises(RegistryError, match="there is no file"):
        models.add("a", tmp_path / "none.pt", "ViT-B-32", "clip", Opened())
    with pytest.raises(RegistryError, match=f"registered name m.*not the expected {SHA256}"):
        models.add("m", file, "ViT-B-32", "clip", Opened())
    with pytest.raises(ValueError, match="code of a stranger"):
        models.add("a", file, "ViT-B-32", "clip", Opened("code of a stranger"))
    assert kept(folder) == set()


def test_verify_sees_what_changed(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    path = pull(models)
    path.write_bytes(WEIGHTS[::-1])
    assert "has changed since it came" in models.verify("m")["m"]
    path.write_bytes(WEIGHTS[:-1])
    assert "has 1,023,999 bytes, not 1,024,000" in models.verify()["m"]
    path.unlink()
    assert "is missing" in models.verify("m")["m"]
    with pytest.raises(RegistryError, match="no model 'other' is registered"):
        models.verify("other")


def test_a_truncated_file_is_not_installed(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    path = pull(models)
    path.write_bytes(WEIGHTS[:-1])
    with pytest.raises(RegistryError, match="dgl-rsis models pull m"):
        models.resolve("m")
    assert pull(models).read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["starter", "ViT-B-32:a.pt", "nothing-known"])
def test_names_that_mean_themselves(tmp_path: Path, name: str) -> None:
    assert resolve_clip(name, tmp_path) == name
    assert resolve_clip(str(tmp_path), tmp_path) == str(tmp_path)


def own_registry(folder: Path, shelf: Shelf, name: str, kind: str = "clip") -> Registry:
    """With an entry of the folder's own file, as for a mirror."""
    (folder / "models.toml").write_text(
        f'[[model]]\nname = "{name}"\nkind = "{kind}"\narchitecture = "ViT-B-32"\n'
        f'url = "{shelf.url}/m.pt"\nsha256 = "{SHA256}"\n'
    )
    return open_registry(folder)


def test_a_pulled_name_stands_for_architecture_and_file(tmp_path: Path, shelf: Shelf) -> None:
    models = own_registry(tmp_path, shelf, "remoteclip-vit-b-32")
    with pytest.raises(RegistryError, match="dgl-rsis models pull remoteclip-vit-b-32"):
        resolve_clip("remoteclip-vit-b-32", tmp_path)
    path = models.pull("remoteclip-vit-b-32", lambda _done, _total: None, Opened())
    assert resolve_clip("remoteclip-vit-b-32", tmp_path) == f"ViT-B-32:{path}"
    with pytest.raises(RegistryError, match="no Segment Anything"):
        resolve_sam("remoteclip-vit-b-32", tmp_path)


def test_a_sam_is_no_clip(tmp_path: Path, shelf: Shelf) -> None:
    own_registry(tmp_path, shelf, "sam-vit-b", "sam").pull(
        "sam-vit-b", lambda _done, _total: None, Opened()
    )
    with pytest.raises(RegistryError, match="knows no words"):
        resolve_clip("sam-vit-b", tmp_path)
    assert resolve_sam("vit_l:a.pth", tmp_path) == ("vit_l", Path("a.pth"))
    with pytest.raises(RegistryError, match="dgl-rsis models pull sam-vit-h"):
        resolve_sam("sam-vit-h", tmp_path)


@pytest.mark.parametrize(
    "text", ["model = 3", "[[model]]\nname = 'a'", "x", "[[model]]\nname='A b'\nkind='clip'\n"
             "architecture=''\nurl=''"],
)  # fmt: skip
def test_a_wrong_registry_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(RegistryError, match=r"models\.toml"):
        open_registry(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"m": {"kind": 3}}'])
def test_a_wrong_lock_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.lock.json").write_text(text)
    with pytest.raises(RegistryError, match=r"models\.lock\.json cannot be read"):
        open_registry(tmp_path).installed()


def test_the_built_in_registry_is_sound(tmp_path: Path) -> None:
    entries = open_registry(tmp_path).entries
    assert len(entries) == 14
    for entry in entries.values():
        assert entry.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}|", entry.sha256)
        assert entry.licence
        assert entry.trained_on
        assert entry.source
        assert bool(entry.member) == entry.url.endswith(".zip")
        # A file behind an address that may change needs its hash, or its ETag, or a fixed version.
        assert "/main/" not in entry.url
        if "openaipublic" in entry.url:
            assert entry.sha256 in entry.url
    shas = [entry.sha256 for entry in entries.values() if entry.sha256]
    assert len(set(shas)) == len(shas)


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.setenv("MODELS_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert models_folder() == Path("/data/dgl-rsis/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert models_folder() == Path("/somewhere/.local/share/dgl-rsis/models")


def test_the_lock_is_readable_json(tmp_path: Path, shelf: Shelf) -> None:
    pull(registry(tmp_path, shelf))
    assert json.loads((tmp_path / "models.lock.json").read_text()) == {
        "m": {
            "kind": "clip", "architecture": "ViT-B-32", "file": "m.pt", "bytes": len(WEIGHTS),
            "sha256": SHA256, "pulled": SHA256,
        }
    }  # fmt: skip


def test_the_registry_loads_no_torch() -> None:
    code = (
        "import sys, workers.registry\n"
        "heavy = {'torch', 'dgl_rsis', 'numpy', 'open_clip'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
