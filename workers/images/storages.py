"""Images that Label Studio keeps in a cloud storage, and the link under which it opens them.

A task says `s3://bucket/key`; only Label Studio has the keys of the bucket. Under
`/tasks/ID/resolve/?fileuri=…` it answers whoever may see the task, if a storage of the task's
project holds the file: with the bytes, or with a redirect to an address that it signed (Label
Studio 1.23, `io_storages/proxy_api.py`; `presign` is the older name of `resolve`). So a file is
asked for as the pair of its task and its address: what one project may read, another may not.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

CLOUD_SCHEMES = frozenset({"s3", "gs", "gcs", "azure-blob", "azure_spi", "minio"})
LINK = re.compile(r"/(task|project)s/([0-9]+)/(?:resolve|presign)/?")

# Where the addresses lead that the libraries of each cloud sign.
AMAZON = re.compile(r"(?:.+\.)?s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com(?:\.cn)?")
GOOGLE = re.compile(r"(?:[^.]+\.)?storage\.googleapis\.com")
AZURE = re.compile(r"[a-z0-9-]+\.blob\.core\.windows\.net")
HOSTS = {"s3": AMAZON, "gs": GOOGLE, "gcs": GOOGLE, "azure-blob": AZURE, "azure_spi": AZURE}


@dataclass(frozen=True)
class StorageLink:
    """A file in a cloud storage, asked for from Label Studio.

    Attributes:
        uri: as the task's data hold it, `s3://bucket/key`.
        owner: "task 5", or "project 3": for whom Label Studio opens it.
    """

    uri: str
    owner: str

    def leads_to(self, parts: SplitResult) -> bool:
        """Whether an address is one that a storage of this kind signs."""
        hosts = HOSTS.get(scheme_of(self.uri))
        host = parts.hostname or ""
        return parts.scheme == "https" and hosts is not None and bool(hosts.fullmatch(host))


def scheme_of(reference: str) -> str:
    """What stands before `://`, in lower case; empty where nothing does."""
    scheme, separator, _ = reference.partition("://")
    return scheme.lower() if separator else ""


def is_cloud(reference: str) -> bool:
    """Whether a reference is an address inside a cloud storage."""
    return scheme_of(reference) in CLOUD_SCHEMES


def link(uri: str, task_id: int) -> str:
    """The path on Label Studio that opens a file of a task; `read_link` inverts it."""
    packed = base64.urlsafe_b64encode(uri.encode("utf-8", "surrogatepass")).decode()
    return f"/tasks/{task_id}/resolve/?fileuri={packed}"


def read_link(reference: str) -> StorageLink | None:
    """The file that a link of Label Studio opens; None for any other reference.

    Args:
        reference: a path, or an address with a scheme and a host.
    """
    try:
        parts = urlsplit(reference)
    except ValueError:  # a bracket in the host
        return None
    match = re.search(LINK.pattern + "$", parts.path)
    asked = parse_qs(parts.query).get("fileuri")
    if match is None or not asked:
        return None
    return StorageLink(_unpacked(asked[0]), f"{match[1]} {match[2]}")


def stored(reference: str) -> str:
    """The address inside the cloud that a link opens; any other reference as it is."""
    opened = read_link(reference)
    return reference if opened is None else opened.uri


def _unpacked(packed: str) -> str:
    """As Label Studio reads it: base64, in older versions percent signs."""
    try:
        return base64.b64decode(packed, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return unquote(packed)
