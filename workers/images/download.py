"""Downloading from an address that a stranger wrote.

Defences: every address of an unknown host is checked and then connected to as checked (requests-
hardened), so that neither a redirect nor a second DNS answer leads into the private network; the
Authorization header goes to one origin and follows no redirect, and that origin may redirect for
files in a cloud storage alone, to the hosts of that cloud or those that are allowed; bytes and
seconds are capped while they stream.
"""

import logging
import posixpath
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import requests
from requests_hardened.ip_filter import InvalidIPAddress

from workers.images.addresses import PublicAdapter
from workers.images.credentials import Credentials, CredentialsError
from workers.images.storages import LINK, StorageLink, read_link
from workers.receiving import BrokenOffError, TooLongError, TooSlowError, receive

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 15.0  # longest wait for the next byte
MOST_REDIRECTS = 5
DOTS = frozenset({".", ".."})
MOST_DECODINGS = 4  # of a path: the last one has to change nothing
LONGEST_SHOWN = 120
PORTS = {"http": 80, "https": 443}
# What Label Studio answers for good, but also while a proxy, a login or a key is being changed.
DOUBTFUL = frozenset({401, 403, 404})
WHOAMI, VERSION = "/api/current-user/whoami", "/api/version"
UPLOADED = "/storage-data/uploaded"  # where Label Studio serves uploads that it keeps in a cloud

# What each status means, by who answered.
ADVICE = {
    401: "set LABEL_STUDIO_API_KEY, or check it",
    403: "it needs a login that the worker does not have",
    404: "there is no such file; for local files, add a Local Files storage of that folder",
    429: "the server asks to slow down",
}
OF_LINKS = {
    403: "whose key LABEL_STUDIO_API_KEY is may not see it: make them a member of the project",
    404: "Label Studio has no such task, or its project has no cloud storage of that bucket: add "
    "one under Settings → Cloud Storage (it need not be synced)",
    424: "Label Studio cannot read it from its storage: check the name, and the storage's keys",
}
OF_SIGNED = {
    403: "the storage refuses the address that Label Studio signed: check the keys of the storage "
    "there, and the clock of its machine",
    404: "the storage has no such file",
}


class FetchError(Exception):
    """An image cannot be had. The message names the reference, the cause and the way out.

    Attributes:
        transient: whether trying again later may help, however long that takes.
        doubtful: Label Studio refuses everything at present, as it does for good and while it
            starts: worth some minutes.
    """

    def __init__(self, message: str, *, transient: bool = False, doubtful: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        self.doubtful = doubtful


@dataclass(frozen=True)
class Downloader:
    """Downloads by the rules of one deployment.

    Attributes:
        label_studio_url: without a trailing slash; None when unknown. Its exact origin (scheme,
            host, port) may be private.
        credentials: for the files that Label Studio serves; None without an API key.
        allowed_hosts: lower-case `host` or `host:port` that may be private, too.
        max_bytes: cap of one body, after decompression.
        seconds: cap of one download with its redirects.
        verify: as in requests: True, or a file of certificate authorities.
    """

    label_studio_url: str | None
    credentials: Credentials | None
    allowed_hosts: frozenset[str]
    max_bytes: int
    seconds: float
    verify: bool | str = True

    def download(self, url: str) -> bytes:
        """The body behind an http(s) address.

        Raises:
            FetchError: refused, not there, too large or too slow.
        """
        try:
            return self._download(url)
        except FetchError as error:
            if not error.doubtful or not self._is_studio_well():
                raise
        try:
            return self._download(url)  # it may have come back in between
        except FetchError as error:
            error.doubtful = False  # it means this file
            raise

    def _download(self, url: str) -> bytes:
        deadline = time.monotonic() + self.seconds
        url = _normalised(url)
        link = read_link(url) if self.serves_files(urlsplit(url)) else None
        for _ in range(MOST_REDIRECTS + 1):
            with self._open(urlsplit(url), deadline) as answer:
                if not answer.is_redirect:
                    self._check_status(answer, url, link)
                    return self._body(answer, deadline, shown(url))
                url = self._redirected(url, answer.headers["Location"], link)
        raise FetchError(f"{shown(url)} redirects more than {MOST_REDIRECTS} times")

    def serves_files(self, parts: SplitResult) -> bool:
        """Whether the address is a file of Label Studio itself, or one that it opens in a cloud."""
        if not self._is_studio(parts):
            return False
        base = urlsplit(self.label_studio_url or "")
        path = _as_read(parts.path)
        if path is None or not path.startswith(f"{base.path}/"):
            return False
        own = path.removeprefix(base.path)
        return own.startswith("/data/") or own == UPLOADED or LINK.fullmatch(own) is not None

    def _is_studio(self, parts: SplitResult) -> bool:
        return _origin(parts) == _origin(urlsplit(self.label_studio_url or ""))

    def _is_named(self, parts: SplitResult) -> bool:
        """Whether a setting names the host, which may be private then."""
        host, port = parts.hostname or "", _origin(parts)[2]
        allowed = host in self.allowed_hosts or f"{host}:{port}" in self.allowed_hosts
        return allowed or self._is_studio(parts)

    def _open(self, parts: SplitResult, deadline: float) -> requests.Response:
        """Send the request; with credentials, once more when the access token has expired."""
        if self.credentials is None or not self.serves_files(parts):
            return self._send(parts, {}, deadline)
        answer = self._send(parts, _authorized(self.credentials), deadline)
        if answer.status_code != requests.codes.unauthorized:
            return answer
        answer.close()
        self.credentials.forget()
        return self._send(parts, _authorized(self.credentials), deadline)

    def _send(
        self, parts: SplitResult, headers: dict[str, str], deadline: float
    ) -> requests.Response:
        url = parts.geturl()
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._too_slow(shown(url))
        session = requests.Session() if self._is_named(parts) else _hardened_session()
        session.trust_env = False  # no .netrc, whose logins would be sent; no proxy, see above
        try:
            return session.get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=(min(CONNECT_SECONDS, left), min(SILENCE_SECONDS, left)),
                allow_redirects=False,
                stream=True,
                verify=self.verify,
            )
        except InvalidIPAddress:
            raise FetchError(
                f"{shown(url)} points to a private or reserved address, which is refused: if the "
                "host may be read, name it in ALLOWED_IMAGE_HOSTS"
            ) from None
        except requests.Timeout:
            raise self._too_slow(shown(url)) from None
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise FetchError(f"{shown(url)} cannot be opened ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise FetchError(
                f"{shown(url)} cannot be reached at {shown_host(parts)} ({type(error).__name__}): "
                "check the host's name and that the worker's machine may reach it",
                transient=True,
            ) from None

    def _is_studio_well(self) -> bool:
        """Whether Label Studio answers and takes the key: then what it says of a file holds."""
        path = VERSION if self.credentials is None else WHOAMI
        try:
            headers = {} if self.credentials is None else _authorized(self.credentials)
            address = urlsplit(f"{self.label_studio_url}{path}")
            with self._send(address, headers, time.monotonic() + self.seconds) as answer:
                return bool(answer.status_code == requests.codes.ok)
        except FetchError:
            return False

    def _redirected(self, url: str, location: str, link: StorageLink | None) -> str:
        if link is not None:
            return self._in_storage(url, location, link)
        if self.credentials is not None and self.serves_files(urlsplit(url)):
            raise FetchError(
                f"Label Studio answered {shown(url)} with a redirect, which is not followed with "
                "the API key: check LABEL_STUDIO_URL (scheme, host, port) and LABEL_STUDIO_API_KEY"
            )
        if self.serves_files(urlsplit(url)):
            raise FetchError(
                f"Label Studio asks for a login for {shown(url)}: set LABEL_STUDIO_API_KEY"
            )
        target = urljoin(url, location)
        if urlsplit(target).scheme not in PORTS:
            raise FetchError(f"{shown(url)} redirects to {shown(target)}, which is not http(s)")
        return _normalised(target)

    def _in_storage(self, url: str, location: str, link: StorageLink) -> str:
        """Where a file in a cloud storage is, as Label Studio or the storage says."""
        target = _normalised(urljoin(url, location))
        parts = urlsplit(target)
        if read_link(target) is not None and not self._is_studio(parts):
            raise FetchError(
                f"Label Studio redirects {_named(link)} to {shown_host(parts)}: set "
                "LABEL_STUDIO_URL to that address (scheme, host, port)"
            )
        if not (self._is_named(parts) or link.leads_to(parts)):
            raise FetchError(
                f"{_named(link)} is at {shown_host(parts)}, as Label Studio says: if images may be "
                "read from there, name that in ALLOWED_IMAGE_HOSTS; or switch “Use pre-signed "
                "URLs” of the storage off, so that Label Studio passes the file on itself"
            )
        return target

    def _check_status(self, answer: requests.Response, url: str, link: StorageLink | None) -> None:
        status = answer.status_code
        if status == requests.codes.ok:
            return
        way_out = ADVICE.get(status, "try the address in a browser")
        if link is not None:
            way_out = (OF_LINKS if read_link(url) else OF_SIGNED).get(status, way_out)
        raise FetchError(
            f"{shown(url)} answered HTTP {status}: {way_out}",
            transient=status == 429 or status >= 500,
            doubtful=status in DOUBTFUL and self.serves_files(urlsplit(url)),
        )

    def _body(self, answer: requests.Response, deadline: float, name: str) -> bytes:
        try:
            return receive(answer, self.max_bytes, deadline)
        except TooLongError as error:
            raise too_large(name, error.size, self.max_bytes) from None
        except TooSlowError:
            raise self._too_slow(name) from None
        except BrokenOffError as error:
            raise FetchError(f"{name} broke off {error}", transient=True) from None

    def _too_slow(self, name: str) -> FetchError:
        return FetchError(
            f"{name} took longer than {self.seconds:g} s: try later, or raise FETCH_SECONDS",
            transient=True,
        )


def shown(reference: str) -> str:
    """A reference as it may stand in a message: no query (it may be signed), no login, short.

    Of a link to a file in a cloud storage, the file and its task.
    """
    if (link := read_link(reference)) is not None:
        return _named(link)
    bare = reference.partition("?")[0].partition("#")[0]
    scheme, separator, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else bare
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…")


def _named(link: StorageLink) -> str:
    return f"{shown(link.uri)} of {link.owner}"


def shown_host(parts: SplitResult) -> str:
    """Host and port of an address, as ALLOWED_IMAGE_HOSTS takes them."""
    return f"{parts.hostname}:{_origin(parts)[2]}"


def too_large(name: str, size: int, most: int) -> FetchError:
    """The error for more than `most` bytes."""
    return FetchError(
        f"{name} has {size:,} bytes or more, above the allowed {most:,}: make the image smaller, "
        "or raise MAX_IMAGE_BYTES"
    )


def _normalised(url: str) -> str:
    """The address as requests will use it, so that what is checked is what is opened.

    Parsers disagree on odd addresses (a backslash before an @), and the disagreement is the attack.
    """
    try:
        prepared = requests.Request("GET", url).prepare().url or ""
        parts = urlsplit(prepared)
        odd = "@" in parts.netloc or not parts.hostname or _origin(parts)[2] is None
    except (requests.RequestException, ValueError):
        odd = True
    if odd or any(character in url for character in "\\\r\n\t"):
        raise FetchError(f"{shown(url)} is not a valid address: write http(s)://host/path")
    return prepared


def _as_read(path: str) -> str | None:
    """A path as whoever stands before Label Studio may read it: each proxy may decode it once more.

    None for one that no decoding settles, or that leads up: `/data/%252e%252e/api` is no file.
    """
    for _ in range(MOST_DECODINGS):
        decoded = unquote(path).replace("\\", "/")
        if decoded == path:
            return None if DOTS.intersection(path.split("/")) else posixpath.normpath(path)
        path = decoded
    return None


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)


def _hardened_session() -> requests.Session:
    session = requests.Session()
    for scheme in PORTS:
        adapter = PublicAdapter(is_https_proto=scheme == "https", allow_loopback=False)
        session.mount(f"{scheme}://", adapter)
    return session


def _authorized(credentials: Credentials) -> dict[str, str]:
    try:
        return {"Authorization": credentials.authorization()}
    except CredentialsError as error:
        transient = error.transient
        raise FetchError(str(error), transient=transient, doubtful=not transient) from None
