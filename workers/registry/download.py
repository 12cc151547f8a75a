"""Downloading one large file whose address stands in the registry: resumed, timed, counted.

Unlike `workers.images.download`, which fetches what strangers name, these addresses are the
project's or the administrator's own: proxies of the environment are used and private hosts (a
mirror) allowed.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from workers.registry.files import AbsentError, RegistryError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # longest wait for the next byte
MOST_FAILURES = 4  # in a row, without a byte between them
CHUNK_BYTES = 1 << 20

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Progress = Callable[[int, int], None]  # (bytes so far, bytes in all; 0 when unknown)


class _BrokenOffError(Exception):
    """The connection failed; what came so far is kept and worth continuing."""


def download(
    url: str,
    part: Path,
    size: int,
    progress: Progress,
    *,
    pinned: bool,
    headers: Mapping[str, str] = NO_HEADERS,
) -> None:
    """Fill a file from an address, continuing what an earlier attempt left in it.

    Args:
        url: http(s).
        part: file to fill; it stays, for the next attempt, when the transfer breaks off.
        size: bytes that are expected; 0 when unknown.
        progress: told after each chunk.
        pinned: the caller knows the file's hash and will check it. Else an earlier attempt is
            continued only where the server says by its ETag that the file is still the same.
        headers: to be sent with each request; a login goes to no other host by a redirect.

    Raises:
        RegistryError: not there, not the expected size, no room for it, or broken off for good.
    """
    failures = 0
    while True:
        before = _length(part)
        try:
            _continue(url, part, size, progress, pinned, headers)
            _tag_of(part).unlink(missing_ok=True)
            return
        except _BrokenOffError as error:
            failures = failures + 1 if _length(part) <= before else 1
            if failures > MOST_FAILURES:
                raise RegistryError(
                    f"{url} broke off at {_length(part):,} bytes ({error}): run the same command "
                    "again to continue"
                ) from None
            log.warning("%s broke off at %d bytes (%s), trying again", url, _length(part), error)
            time.sleep(0.5 * 2 ** (failures - 1))


def discard(part: Path) -> None:
    """Remove what an attempt left."""
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _continue(
    url: str,
    part: Path,
    size: int,
    progress: Progress,
    pinned: bool,
    given: Mapping[str, str],
) -> None:
    tag = _read_tag(part)
    start = _length(part) if pinned or tag else 0
    headers = {**given, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, SILENCE_SECONDS)
        ) as answer:
            _receive(url, answer, part, start, size, progress)
    except requests.exceptions.SSLError as error:
        raise RegistryError(f"{url} cannot be trusted: {error}") from None
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise _BrokenOffError(type(error).__name__) from None
    except requests.RequestException as error:
        raise RegistryError(f"{url} cannot be opened ({type(error).__name__})") from None


def _receive(
    url: str, answer: requests.Response, part: Path, start: int, size: int, progress: Progress
) -> None:
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        if _total(answer) == start:
            return  # all of it was here already
        discard(part)
        raise _BrokenOffError("what was here is longer than the file")
    _check_status(url, answer)
    if answer.status_code != requests.codes.partial_content:
        start = 0  # the server knows no ranges, or has another file by now
    elif _start(answer) != start:
        discard(part)
        raise _BrokenOffError("another range came than was asked for")
    total = start + int(answer.headers.get("Content-Length") or 0)
    total = 0 if total == start else total
    _check_size(url, total, size)
    _check_room(url, part, total - start)
    _write_tag(part, answer.headers.get("ETag", ""))
    _copy(answer, part, start, total, progress)


def _copy(
    answer: requests.Response, part: Path, start: int, total: int, progress: Progress
) -> None:
    """Append the body to the first `start` bytes of the file."""
    done = start
    with part.open("r+b" if part.exists() else "xb") as file:
        file.truncate(start)
        file.seek(start)
        # `read1` gives what came, so that a cut loses nothing of the chunk.
        while chunk := answer.raw.read1(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total and done != total:
        raise _BrokenOffError(f"{total - done} bytes are missing")


def _check_status(url: str, answer: requests.Response) -> None:
    secure = urlsplit(url).scheme != "https" or urlsplit(answer.url).scheme == "https"
    if not secure:
        raise RegistryError(f"{url} redirects to an address without TLS, which is refused")
    if answer.status_code in (requests.codes.ok, requests.codes.partial_content):
        return
    if answer.status_code >= requests.codes.server_error or answer.status_code == 429:
        raise _BrokenOffError(f"HTTP {answer.status_code}")
    if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
        raise RegistryError(
            f"{url} answered HTTP {answer.status_code}: it is given only to people who accepted "
            "its licence there: do so, and set HF_TOKEN to a token of that account; or get the "
            "files yourself, and give their folder"
        )
    refusal = AbsentError if answer.status_code == requests.codes.not_found else RegistryError
    raise refusal(
        f"{url} answered HTTP {answer.status_code}: the file may have moved; get it yourself and "
        "use `dgl-rsis models add`"
    )


def _check_size(url: str, total: int, size: int) -> None:
    if size and total and total != size:
        raise RegistryError(
            f"{url} has {total:,} bytes, not the expected {size:,}: it is another file by now"
        )


def _check_room(url: str, part: Path, missing: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise RegistryError(
            f"{url} needs {missing:,} bytes more, and {part.parent} has {free:,} free: make room, "
            "or set MODELS_DIR to another disk"
        )


def _start(answer: requests.Response) -> int:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _total(answer: requests.Response) -> int:
    match = re.match(r"bytes \*/(\d+)$", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag_of(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _read_tag(part: Path) -> str:
    path = _tag_of(part)
    return path.read_text("utf-8") if path.exists() else ""


def _write_tag(part: Path, tag: str) -> None:
    if tag and not tag.startswith("W/"):  # a weak one does not vouch for the bytes
        _tag_of(part).write_text(tag, "utf-8")
    else:
        _tag_of(part).unlink(missing_ok=True)
