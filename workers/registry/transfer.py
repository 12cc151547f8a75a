"""Getting a registered model: one file, or the files of a folder, from its source or a mirror."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workers.registry.download import Progress, discard, download
from workers.registry.files import AbsentError, suffix

HUGGING_FACE = "huggingface.co"


@dataclass(frozen=True)
class Source:
    """Where files come from.

    Attributes:
        mirror: address of a models folder that some server shows; "" fetches from the registry's
            own addresses.
        token: for Hugging Face, and sent to no other host; "" for none.
    """

    mirror: str = ""
    token: str = ""

    def file(self, name: str, url: str, member: str) -> str:
        """The address of a model's file; a mirror has what came out of an archive."""
        if not self.mirror:
            return url
        return f"{self.mirror.rstrip('/')}/{name}{suffix(member or url)}"

    def folder(self, name: str, url: str) -> str:
        """The address that a model's files lie below."""
        return f"{self.mirror.rstrip('/')}/{name}" if self.mirror else url.rstrip("/")

    def headers(self, url: str) -> Mapping[str, str]:
        """Who asks, where that is Hugging Face over TLS."""
        parts = urlsplit(url)
        if self.token and (parts.scheme, parts.netloc) == ("https", HUGGING_FACE):
            return {"Authorization": f"Bearer {self.token}"}
        return {}


def fetch_folder(
    address: str, files: tuple[str, ...], part: Path, source: Source, progress: Progress
) -> None:
    """Bring the files of a folder, those that are missing of it and the rest of a begun one.

    Args:
        address: that they lie below.
        files: their names; one that ends in "?" may be absent.
        part: folder to fill; it stays, for the next attempt, when the transfer breaks off.
        source: who asks.
        progress: told after each chunk, of the file in hand.

    Raises:
        RegistryError: see `download`.
    """
    part.mkdir(exist_ok=True)
    for name in files:
        whole, begun = part / name.rstrip("?"), part / f"{name.rstrip('?')}.part"
        if whole.is_file():
            continue
        url = f"{address}/{whole.name}"
        try:
            download(url, begun, 0, progress, pinned=False, headers=source.headers(url))
        except AbsentError:
            if not name.endswith("?"):
                raise
            continue
        begun.replace(whole)
        discard(begun)
