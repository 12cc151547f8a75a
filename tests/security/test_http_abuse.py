"""Requests as no client of Label Studio sends them: each has an answer, none an internal error."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.backend.worker_end import predict_body
from tests.security.web_process import WebProcess, web_process

GOOD = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
REFUSED = (400, 404, 405, 413, 431, 501)


@pytest.fixture(scope="module")
def web(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder: Path = tmp_path_factory.mktemp("web")
    with web_process(folder, valkey, MAX_BODY_BYTES="100000") as started:
        yield started
        assert "Traceback" not in started.log.read_text()


def answers(web: WebProcess, sent: bytes) -> list[bytes]:
    """The status lines that come back."""
    with socket.create_connection(web.address, 20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return re.findall(rb"HTTP/1\.\d \d{3}", received)


@pytest.mark.parametrize("path", ["/health", "/predict", "/setup", "/webhook", "/", "/status"])
@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "X" * 100]
)
def test_methods(web: WebProcess, method: str, path: str) -> None:
    answer = requests.request(method, web.url + path, timeout=20)
    assert answer.status_code in (200, *REFUSED)
    assert answer.ok == (method == "OPTIONS")


@pytest.mark.parametrize("path", ["/health", "/versions", "/metrics", "/", "/status"])
def test_head_has_no_body(web: WebProcess, path: str) -> None:
    answer = requests.head(web.url + path, timeout=20)
    assert answer.status_code == 200
    assert answer.content == b""
    assert requests.head(f"{web.url}/predict", timeout=20).status_code == 405


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/json; charset=utf-7",
        "x",
        "\xff",
        "",
    ],
)
def test_content_types_do_not_matter(web: WebProcess, kind: str) -> None:
    headers = {"Content-Type": kind.encode("latin-1")}
    answer = requests.post(f"{web.url}/predict", json=predict_body(), headers=headers, timeout=20)
    assert answer.json() == {"results": []}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GOOD.replace(b"/health", b"/" + b"a" * 30_000), 404),
        (GOOD.replace(b"/health", b"/health?" + b"a=1&" * 7000), 200),
        (GOOD.replace(b"/health", b"/%00%0d%0aX:%20y"), 404),
        (GOOD.replace(b"/health", b"/tasks/1/%2e%2e%2f%2e%2e%2fetc"), 404),
        (GOOD.replace(b"/health", b"http://other.example/health"), 200),
        (GOOD.replace(b"Host: x\r\n", b""), 200),
        (GOOD.replace(b"Host: x", b"Host: x\r\nHost: y"), 200),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/9.9"), 200),
        (GOOD.replace(b"Host: x", b"Host: x\nX: y"), 400),
        (GOOD.replace(b"Host: x", b"Content-Length: 1,2"), 400),
        (GOOD.replace(b"Host: x", b"Content-Length: 99999999999999999999"), 413),
        (GOOD.replace(b"Host: x", b"Content-Length: " + b"9" * 5000), 400),
        (GOOD.replace(b"Host: x", b"Transfer-Encoding: chunked, chunked, gzip"), 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    ],
)
def test_what_is_odd_is_answered(web: WebProcess, sent: bytes, status: int) -> None:
    first, *_ = answers(web, sent)
    assert int(first.split()[1]) == status


def test_a_body_is_no_second_request(web: WebProcess) -> None:
    """What follows a refused head is not read as a request of its own."""
    inner = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    for head in (b"Content-Length: 999999", b"Transfer-Encoding: gzip", b"Content-Length: x"):
        sent = b"POST /predict HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%b" % (head, inner)
        assert len(answers(web, sent)) == 1


def test_requests_in_a_row_are_answered_in_order(web: WebProcess) -> None:
    row = GOOD.replace(b"Connection: close\r\n", b"") * 20 + GOOD.replace(b"health", b"nowhere")
    statuses = [int(line.split()[1]) for line in answers(web, row)]
    assert statuses == [200] * 20 + [404]
