"""Downloads from real servers on loopback, and refusals of everything that leads there unasked."""

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import connection

from workers.images.credentials import Credentials
from workers.images.download import Downloader, FetchError, shown

KEY = "sesame-sesame-sesame"
IMAGE = b"not quite an image"


class FileServer(ThreadingHTTPServer):
    """Serves /data/… to whoever has the key, as Label Studio does; the rest misbehaves."""

    daemon_threads = True
    seen: list[tuple[str, str | None]]
    away = 0  # requests that are answered 404, whatever they ask for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        authorization = self.headers["Authorization"]
        self.server.seen.append((self.path, authorization))
        if self.server.away:
            self.server.away -= 1
            return self._send(404, b"a page of the proxy")
        parts = urlsplit(self.path)
        name, _, argument = parts.path.strip("/").partition("/")
        behave = getattr(self, f"_{name}", self._none)
        return behave(parse_qs(parts.query).get("to", [argument])[0], authorization)

    def _none(self, argument: str, authorization: str | None) -> None:
        self._send(404, b"")

    def _api(self, argument: str, authorization: str | None) -> None:
        known = argument == "version" or authorization == f"Token {KEY}"
        self._send(200 if known else 401, b"{}")

    def _data(self, argument: str, authorization: str | None) -> None:
        if argument == "gone.png":
            self._none(argument, authorization)
        elif argument == "moved":
            self._redirect("/data/upload/a.png", None)
        elif authorization == f"Token {KEY}":
            self._send(200, IMAGE)
        elif authorization is None:
            self._redirect("/user/login", None)
        else:
            self._send(401, b"{}")

    def _image(self, argument: str, authorization: str | None) -> None:
        self._send(200, IMAGE)

    def _status(self, argument: str, authorization: str | None) -> None:
        self._send(int(argument), b"<html>a page for people</html>")

    def _redirect(self, argument: str, authorization: str | None) -> None:
        self.send_response(302)
        self.send_header("Location", argument)
        self.end_headers()

    def _round(self, argument: str, authorization: str | None) -> None:
        self._redirect("/round", None)

    def _size(self, argument: str, authorization: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * int(argument))

    def _declared(self, argument: str, authorization: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", argument)
        self.end_headers()
        self.wfile.write(b"x" * 100)

    def _zipped(self, argument: str, authorization: str | None) -> None:
        self._send(200, gzip.compress(b"x" * int(argument)), ("Content-Encoding", "gzip"))

    def _dripping(self, argument: str, authorization: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        while True:  # until the other side goes away
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _silent(self, argument: str, authorization: str | None) -> None:
        self.rfile.read(1)

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (("Content-Length", str(len(body))), *headers):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # it did go away
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def _downloader(**changes: Any) -> Downloader:
    rules: dict[str, Any] = {
        "label_studio_url": None,
        "credentials": None,
        "allowed_hosts": frozenset(),
        "max_bytes": 10_000,
        "seconds": 5.0,
    }
    return Downloader(**(rules | changes))


def _studio(server: FileServer, **changes: Any) -> Downloader:
    credentials = Credentials(server.url, KEY)
    return _downloader(label_studio_url=server.url, credentials=credentials, **changes)


PRIVATE = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused_however_they_are_written(
    server: FileServer, host: str
) -> None:
    with pytest.raises(FetchError) as raised:
        _downloader().download(f"http://{host}:{server.server_port}/image")
    assert server.seen == []
    # Refused by rule, save where the system speaks no IPv6 at all.
    expected = (
        "private or reserved address"
        if "[" not in host or connection.HAS_IPV6
        else "cannot be reached"
    )
    assert expected in str(raised.value)


def test_the_deprecated_ipv4_in_ipv6_form_reaches_nothing(server: FileServer) -> None:
    with pytest.raises(FetchError):
        _downloader(seconds=1.0).download(f"http://[::127.0.0.1]:{server.server_port}/image")
    assert server.seen == []


def test_a_name_of_this_machine_is_refused(server: FileServer) -> None:
    with pytest.raises(FetchError):
        _downloader().download(f"http://{socket.gethostname()}:{server.server_port}/image")
    assert server.seen == []


def test_what_is_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers a public address first and a private one next (rebinding)."""
    answers = iter(["8.8.8.8", "127.0.0.1", "127.0.0.1"])
    resolve, connected = socket.getaddrinfo, []

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        host = next(answers) if host == "rebinding.example" else host
        return resolve(host, *arguments, **options)

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(connection, "create_connection", refuse)
    with pytest.raises(FetchError, match="cannot be reached"):
        _downloader().download("http://rebinding.example:8000/image")
    assert connected == [("8.8.8.8", 8000)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:{port}"])
def test_an_allowed_host_is_read(server: FileServer, host: str) -> None:
    allowed = frozenset({host.format(port=server.server_port)})
    downloader = _downloader(allowed_hosts=allowed)
    assert downloader.download(f"{server.url}/image") == IMAGE
    assert downloader.download(f"{server.url}/redirect?to=/image") == IMAGE


def test_an_allowed_port_allows_no_other(server: FileServer) -> None:
    with pytest.raises(FetchError, match="private or reserved"):
        _downloader(allowed_hosts=frozenset({"127.0.0.1:1"})).download(f"{server.url}/image")


def test_a_redirect_to_a_private_address_is_refused(server: FileServer) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    for target in ("localhost", "2130706433", "[::1]"):
        address = quote(f"http://{target}:{server.server_port}/image")
        with pytest.raises(FetchError, match="private or reserved"):
            downloader.download(f"{server.url}/redirect?to={address}")
    assert [path for path, _ in server.seen if path == "/image"] == []


def test_redirects_end(server: FileServer) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(FetchError, match="redirects more than 5 times"):
        downloader.download(f"{server.url}/round")
    with pytest.raises(FetchError, match="which is not http"):
        downloader.download(f"{server.url}/redirect?to=file:///etc/passwd")


def test_label_studio_gets_the_key_for_its_files(server: FileServer) -> None:
    studio = _studio(server)
    assert studio.download(f"{server.url}/data/upload/1/a.png") == IMAGE
    assert studio.download(f"{server.url}/data/local-files/?d=a%20b.png") == IMAGE
    assert server.seen == [
        ("/data/upload/1/a.png", f"Token {KEY}"),
        ("/data/local-files/?d=a%20b.png", f"Token {KEY}"),
    ]


def test_nothing_else_gets_the_key(server: FileServer) -> None:
    studio = _studio(server, allowed_hosts=frozenset({"localhost"}))
    other = f"http://localhost:{server.server_port}"  # the same machine by another name
    for address in (
        f"{server.url}/image",
        f"{server.url}/data/../image",
        f"{server.url}/data/%2e%2e/image",
        f"{server.url}/data/upload/..%2F..%2Fimage",
        f"{server.url}//data/upload/a.png",
        f"{server.url}/database/a.png",
        f"{server.url}/redirect?to={other}/data/upload/a.png",
        f"{other}/data/upload/a.png",
    ):
        with contextlib.suppress(FetchError):
            studio.download(address)
    assert len(server.seen) >= 8
    assert {authorization for _, authorization in server.seen} == {None}


@pytest.mark.parametrize(
    ("path", "serves"),
    [
        ("/label/data/upload/1/a.png", True),
        ("/label/tasks/5/resolve/?fileuri=x", True),
        ("/label/tasks/5/presign/?fileuri=x", True),
        ("/label/projects/5/resolve?fileuri=x", True),
        ("/label/storage-data/uploaded/?filepath=upload/1/a.png", True),
        ("/tasks/5/resolve/?fileuri=x", False),
        ("/label/tasks/5/resolve/../../../api/users/", False),
        ("/label/tasks/5/resolve/%2e%2e/annotations/", False),
        ("/label/api/tasks/5/resolve/", False),
        ("/label/tasks/5a/resolve/", False),
        ("/label/tasks/5/", False),
        ("/label/storage-data/uploaded/more/", False),
        ("/label/storage-data/", False),
    ],
)
def test_where_label_studio_serves_files(path: str, serves: bool) -> None:
    studio = _downloader(label_studio_url="http://studio:8080/label")
    assert studio.serves_files(urlsplit(f"http://studio:8080{path}")) is serves
    assert not studio.serves_files(urlsplit(f"https://studio:8080{path}"))


@pytest.mark.parametrize(
    "reference",
    [
        "http://evil.example\\@{host}/data/upload/a.png",
        "http://evil.example@{host}/data/upload/a.png",
        "http://{host}\\@evil.example/data/upload/a.png",
        "http://{host}\t/data/upload/a.png",
    ],
)
def test_addresses_that_parsers_disagree_on_are_refused(server: FileServer, reference: str) -> None:
    with pytest.raises(FetchError, match="is not a valid address"):
        _studio(server).download(reference.format(host=f"127.0.0.1:{server.server_port}"))
    assert server.seen == []


def test_the_key_follows_no_redirect(server: FileServer) -> None:
    with pytest.raises(FetchError, match="not followed with the API key"):
        _studio(server).download(f"{server.url}/data/moved")
    assert server.seen == [("/data/moved", f"Token {KEY}")]


def test_without_a_key_label_studio_asks_for_a_login(server: FileServer) -> None:
    with pytest.raises(FetchError, match=r"asks for a login .* set LABEL_STUDIO_API_KEY"):
        _downloader(label_studio_url=server.url).download(f"{server.url}/data/upload/a.png")


def test_a_wrong_key_is_named_after_one_renewal(server: FileServer) -> None:
    wrong = Credentials(server.url, "wrong")
    studio = _downloader(label_studio_url=server.url, credentials=wrong)
    with pytest.raises(
        FetchError, match="HTTP 401: set LABEL_STUDIO_API_KEY, or check it"
    ) as raised:
        studio.download(f"{server.url}/data/upload/a.png")
    assert [path for path, _ in server.seen[:2]] == ["/data/upload/a.png"] * 2
    assert not raised.value.transient
    assert raised.value.doubtful  # perhaps Label Studio is being set up anew


def test_a_file_that_label_studio_does_not_have_is_not_asked_for_again(server: FileServer) -> None:
    with pytest.raises(FetchError, match="HTTP 404: there is no such file") as raised:
        _studio(server).download(f"{server.url}/data/gone.png")
    assert not raised.value.doubtful
    assert not raised.value.transient


def test_a_file_is_doubtful_while_label_studio_refuses_everything(server: FileServer) -> None:
    server.away = 2
    with pytest.raises(FetchError, match="HTTP 404") as raised:
        _studio(server).download(f"{server.url}/data/upload/a.png")
    assert raised.value.doubtful


def test_label_studio_that_comes_back_in_between_is_asked_once_more(server: FileServer) -> None:
    server.away = 1
    assert _studio(server).download(f"{server.url}/data/upload/a.png") == IMAGE


def test_no_login_from_the_machines_netrc_is_sent(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    _downloader(allowed_hosts=frozenset({"127.0.0.1"})).download(f"{server.url}/image")
    assert server.seen == [("/image", None)]


@pytest.mark.parametrize(
    ("status", "transient"), [(403, False), (404, False), (410, False), (429, True), (503, True)]
)
def test_other_statuses_are_named(server: FileServer, status: int, transient: bool) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(FetchError, match=f"answered HTTP {status}") as raised:
        downloader.download(f"{server.url}/status/{status}?token=secret")
    assert raised.value.transient is transient
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("path", ["size/10001", "declared/10001", "zipped/1000000"])
def test_a_body_above_the_cap_is_refused(server: FileServer, path: str) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(FetchError, match="above the allowed 10,000"):
        downloader.download(f"{server.url}/{path}")


def test_a_body_of_just_the_cap_is_read(server: FileServer) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    assert len(downloader.download(f"{server.url}/size/10000")) == 10_000
    assert len(downloader.download(f"{server.url}/zipped/10000")) == 10_000


def test_a_body_that_breaks_off_is_an_error(server: FileServer) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(FetchError, match="broke off after 100 bytes") as raised:
        downloader.download(f"{server.url}/declared/200")
    assert raised.value.transient


@pytest.mark.parametrize("path", ["dripping", "silent"])
def test_a_slow_server_is_left_after_the_time(server: FileServer, path: str) -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}), seconds=0.5)
    started = time.monotonic()
    with pytest.raises(FetchError) as raised:
        downloader.download(f"{server.url}/{path}")
    assert time.monotonic() - started < 3
    assert raised.value.transient


def test_a_server_that_is_not_there_is_tried_later() -> None:
    downloader = _downloader(allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(FetchError, match="cannot be reached") as raised:
        downloader.download("http://127.0.0.1:9/a.png")
    assert raised.value.transient


@given(
    st.sampled_from(["http", "https", "s3"]),
    st.text("abc", min_size=1),
    st.text("xyz/", max_size=300),
)
def test_a_shown_reference_holds_no_secret(scheme: str, host: str, path: str) -> None:
    text = shown(f"{scheme}://user:pass word@{host}/{path}?signature=1#part")
    assert "pass" not in text
    assert "signature" not in text
    assert len(text) <= 122
    assert text.startswith(f"'{scheme}://{host}"[:100])
