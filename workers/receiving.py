"""The body of an HTTP answer, within bytes and seconds: who sends it may go on for ever."""

import time

import requests
from urllib3.exceptions import HTTPError

CHUNK_BYTES = 64 * 1024


class TooLongError(requests.RequestException):
    """A body has more bytes than are taken.

    Attributes:
        size: bytes that it has at least.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"{size:,} bytes or more")
        self.size = size


class TooSlowError(requests.Timeout):
    """A body was not there in time."""


class BrokenOffError(requests.ConnectionError):
    """A body ended before its end; the message says after how many bytes and why."""


def receive(answer: requests.Response, most_bytes: int, deadline: float) -> bytes:
    """Read the body of an answer that was asked for with `stream=True`.

    Args:
        answer: whose.
        most_bytes: that are taken, unpacked.
        deadline: until when, by `time.monotonic`.

    Raises:
        TooLongError: it has more bytes, or says that it has.
        TooSlowError: it took longer.
        BrokenOffError: the connection ended.
    """
    declared = answer.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared[:20]) > most_bytes:
        raise TooLongError(int(declared[:20]))
    body = bytearray()
    while chunk := _next(answer, len(body)):
        body += chunk
        if len(body) > most_bytes:
            raise TooLongError(len(body))
        if time.monotonic() > deadline:
            raise TooSlowError
    return bytes(body)


def _next(answer: requests.Response, so_far: int) -> bytes:
    """What one read of the socket gives, unpacked; nothing at the end.

    `iter_content` waits for a whole chunk, so a server that drips would never meet a deadline.
    """
    try:
        return bytes(answer.raw.read1(CHUNK_BYTES, decode_content=True))
    except (HTTPError, OSError) as error:
        raise BrokenOffError(f"after {so_far} bytes ({type(error).__name__})") from None
