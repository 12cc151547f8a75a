"""Image reference → bytes, guarded: whoever imports tasks writes the reference."""

import base64
import binascii
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

from dgl_rsis.formats import IMAGE_SUFFIXES
from workers.images.credentials import Credentials
from workers.images.download import Downloader, FetchError, shown, too_large
from workers.images.storages import is_cloud
from workers.settings import WorkerSettings

LOCAL_FILES = "/data/local-files"
OWN_PATHS = ("data/upload/", "data/local-files", "upload/")  # without the slash before them
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Fetcher:
    """Fetches images by the rules of one deployment.

    Attributes:
        downloader: for everything that comes over HTTP.
        local_root: resolved folder that `/data/local-files/?d=` may read; None leaves these files
            to Label Studio.
    """

    downloader: Downloader
    local_root: Path | None = None

    @classmethod
    def from_settings(cls, settings: WorkerSettings) -> Self:
        """The fetcher that the environment describes."""
        url, key, verify = settings.label_studio_url, settings.label_studio_api_key, settings.verify
        downloader = Downloader(
            label_studio_url=url,
            credentials=Credentials(url, key.get_secret_value(), verify) if url and key else None,
            allowed_hosts=frozenset(settings.allowed_image_hosts),
            max_bytes=settings.max_image_bytes,
            seconds=settings.fetch_seconds,
            verify=verify,
        )
        return cls(downloader, settings.local_files_document_root)

    def fetch(self, reference: str) -> bytes:
        """The bytes behind an image reference; whether they are an image is for the decoder.

        Args:
            reference: `/data/upload/…`, `/data/local-files/?d=…`, `/tasks/…/resolve/?fileuri=…`,
                `http(s)://…` or `data:…`. Paths may have the backslashes of Windows.

        Raises:
            FetchError: refused, not there, too large or too slow.
        """
        try:
            reference.encode()
        except UnicodeEncodeError:
            raise FetchError(
                f"{shown(reference)} holds half a character, which no address has: write it anew"
            ) from None
        reference = _slashed(reference.strip())
        scheme = reference.partition(":")[0].lower()
        if scheme == "data":
            return self._inline(reference)
        if self.local_root is not None and (name := self._local_name(reference)) is not None:
            return self._read(self.local_root, name)
        if scheme in ("http", "https"):
            return self.downloader.download(reference)
        if reference.startswith("/") and not reference.startswith("//"):
            return self.downloader.download(self._on_label_studio(reference))
        raise _unknown(reference, scheme)

    def _inline(self, reference: str) -> bytes:
        """Decode `data:[type][;base64],content` (RFC 2397)."""
        header, comma, content = reference.partition(",")
        if not comma:
            raise FetchError(f"the data: URL {header[:40]!r} has no comma before its content")
        most = self.downloader.max_bytes
        if len(content) > 3 * most:  # no encoding takes more than three characters a byte
            raise too_large("the data: URL", len(content) // 3, most)
        packed = header.lower().endswith(";base64")
        data = _from_base64(content) if packed else unquote_to_bytes(content)
        if len(data) > most:
            raise too_large("the data: URL", len(data), most)
        return data

    def _local_name(self, reference: str) -> str | None:
        """The `d` of a reference to a local file of Label Studio; None for any other."""
        try:
            parts = urlsplit(reference)
            if parts.netloc and not self.downloader.serves_files(parts):
                return None
        except ValueError:
            return None
        base = urlsplit(self.downloader.label_studio_url or "").path
        is_local = parts.path.removeprefix(base).rstrip("/") == LOCAL_FILES
        return parse_qs(parts.query).get("d", [""])[0] if is_local else None

    def _read(self, root: Path, name: str) -> bytes:
        """Read a file below the root."""
        file = _inside(root, name) or _inside(root, name.replace("\\", "/"))
        if file is None or file.suffix.lower() not in IMAGE_SUFFIXES:
            raise FetchError(
                f"the local file {name[:120]!r} is not an image below LOCAL_FILES_DOCUMENT_ROOT: "
                "use a path inside that folder that ends in one of "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        try:
            with file.open("rb") as opened:
                data = opened.read(self.downloader.max_bytes + 1)
        except OSError as error:
            raise FetchError(
                f"the local file {name[:120]!r} cannot be read ({error.strerror}): check its "
                "permissions"
            ) from None
        if len(data) > self.downloader.max_bytes:
            raise too_large(repr(name[:120]), len(data), self.downloader.max_bytes)
        return data

    def _on_label_studio(self, path: str) -> str:
        url = self.downloader.label_studio_url
        path = path.replace("\\", "/")
        if url is None:
            local = ", or LOCAL_FILES_DOCUMENT_ROOT" if LOCAL_FILES in path else ""
            raise FetchError(
                f"{shown(path)} is to be had from Label Studio, whose address the worker does not "
                f"know: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY{local}"
            )
        parts = urlsplit(url)
        # Behind a prefix, Label Studio writes some paths with it and some without.
        if parts.path and path.startswith(f"{parts.path}/"):
            return f"{parts.scheme}://{parts.netloc}{path}"
        return f"{url}{path}"


def _from_base64(content: str) -> bytes:
    packed = "".join(unquote(content).split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise FetchError("the data: URL is not valid base64: encode the image again") from None


def _slashed(reference: str) -> str:
    """A path on Label Studio as it writes them: slashes, and one before it; all else as it is."""
    path, mark, query = reference.partition("?")
    path = path.replace("\\", "/")
    bare = path.removeprefix("/")
    if not bare.startswith(OWN_PATHS):
        return reference
    data = "data/" if bare.startswith("upload/") else ""
    return f"/{data}{bare}{mark}{query}"


def _inside(root: Path, name: str) -> Path | None:
    """A file below the root; None for none, whatever dots and links its name holds."""
    # Label Studio strips the leading slash, too.
    normal = posixpath.normpath(name).lstrip("/")
    try:
        file = (root / normal).resolve()
        return file if file.is_relative_to(root) and file.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL byte, a long name
        return None


def _unknown(reference: str, scheme: str) -> FetchError:
    if is_cloud(reference):
        return FetchError(
            f"{shown(reference)} is in a cloud storage, which Label Studio alone has the keys of: "
            "it opens the file for a task that is stored there, so the task needs its id; import "
            "the tasks first, then `prelabel --project` (with LABEL_STUDIO_URL and "
            "LABEL_STUDIO_API_KEY), or put the image beside the list"
        )
    if not reference:
        return FetchError("the task's image is empty: give it an address or a path")
    if DRIVE.match(reference) or reference.startswith("\\\\"):
        return FetchError(
            f"{shown(reference)} is a path on somebody's Windows machine: upload the image to "
            "Label Studio, or serve its folder as Local Files (/data/local-files/?d=…)"
        )
    return FetchError(
        f"{shown(reference)} is no address that the worker can read: use http(s)://…, data:…, or a "
        "file uploaded to Label Studio (/data/upload/…)"
    )
