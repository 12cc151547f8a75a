import gzip
import time
from io import BytesIO

import pytest
import requests
from urllib3 import HTTPResponse

from workers.receiving import BrokenOffError, TooLongError, TooSlowError, receive


def answer(body: bytes, **headers: str) -> requests.Response:
    response = requests.Response()
    response.headers.update(headers)
    response.raw = HTTPResponse(BytesIO(body), headers=headers, preload_content=False)
    return response


def soon() -> float:
    return time.monotonic() + 60


def test_a_body_is_received_as_it_was_packed() -> None:
    assert receive(answer(b"x" * 100_000), 100_000, soon()) == b"x" * 100_000
    packed = answer(gzip.compress(b"x" * 9), **{"Content-Encoding": "gzip"})
    assert receive(packed, 9, soon()) == b"x" * 9


def test_a_body_that_says_that_it_is_too_long_is_not_read() -> None:
    declared = answer(b"xx", **{"Content-Length": "9" * 30})
    with pytest.raises(TooLongError, match="bytes or more"):
        receive(declared, 100, soon())
    assert declared.raw.read() == b"xx"


def test_a_body_ends_at_its_limits() -> None:
    bomb = answer(gzip.compress(b"x" * 1_000_000), **{"Content-Encoding": "gzip"})
    with pytest.raises(TooLongError) as raised:
        receive(bomb, 100, soon())
    assert raised.value.size > 100
    with pytest.raises(TooSlowError):
        receive(answer(b"xx"), 100, time.monotonic() - 1)


def test_a_body_that_breaks_off_says_where() -> None:
    torn = answer(b"no gzip at all", **{"Content-Encoding": "gzip"})
    with pytest.raises(BrokenOffError, match=r"after 0 bytes \(DecodeError\)"):
        receive(torn, 100, soon())
