"""Clients of the queue's server, however operators run it: alone, behind TLS, with Sentinel.

One place makes them all, so that what an address may say holds for the web server, the workers and
the commands alike. Nothing is connected to here.
"""

import socket
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from workers.addresses import WATCHED, ServerAddress
from workers.queue.patience import Patience

MOST_CONNECTIONS = 1024  # as many as the web server may have threads; redis-py alone allows 100
WORKER_CONNECT_SECONDS = 5.0
HEALTH_CHECK_SECONDS = 30
SENTINEL_SECONDS = 0.5  # a sentinel that is away must not hold up the question to the next one
# A host that is gone says no goodbye: a worker that waits for its queue notices in half a minute.
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class _Sentinels(Sentinel):
    """Sentinels whose silence is said in a line, without all options of their clients."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary of a group."""
        try:
            host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            raise MasterNotFoundError(f"no sentinel names a primary of {service_name!r}") from None
        return host, port


def connect(url: str, seconds: float = 1.0) -> Redis:
    """A client for a process that must not wait, as the web server.

    Args:
        url: as REDIS_URL.
        seconds: limit to connect, and for each answer.

    Raises:
        ValueError: it is no such address.
    """
    # One retry: a connection kept in the pool is dead after the server restarts. None after a
    # time-out, which would double the wait.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return open_client(
        url,
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        max_connections=MOST_CONNECTIONS,
        retry=retry,
    )


def connect_worker(url: str) -> Redis:
    """A client for a process that waits for its queue; see `Patience`.

    Raises:
        ValueError: it is no such address.
    """
    return open_client(
        url,
        socket_connect_timeout=WORKER_CONNECT_SECONDS,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Patience(),
    )


def open_client(url: str, **options: Any) -> Redis:
    """A client of the server at an address.

    Args:
        url: as REDIS_URL.
        options: of redis-py's connections.

    Raises:
        ValueError: it is no such address.
    """
    address = ServerAddress.parse(url)
    options |= {"db": address.database, **address.login}
    if address.scheme == "unix":
        options |= {"path": address.path, "connection_class": UnixDomainSocketConnection}
        return Redis.from_pool(ConnectionPool(**options))
    options |= _keepalive()
    if address.scheme in WATCHED:
        return Redis.from_pool(_watched_pool(address, options))
    (host, port), *_ = address.hosts
    options |= {"host": host, "port": port}
    if address.is_encrypted:
        options |= {**address.tls, "connection_class": SSLConnection}
    return Redis.from_pool(ConnectionPool(**options))


def _watched_pool(address: ServerAddress, options: dict[str, Any]) -> ConnectionPool:
    """Connections to whichever server the sentinels call the primary one at the time."""
    encrypted: dict[str, Any] = {"ssl": True, **address.tls} if address.is_encrypted else {}
    asking = {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        **address.sentinel_login,
        **encrypted,
    }
    sentinels = _Sentinels(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    # What is used again was connected before a failover, perhaps: the pool asks the sentinels
    # whenever it connects, and drops what is connected to another than they name.
    return SentinelConnectionPool(address.group, sentinels, **options, **encrypted)


def _keepalive() -> dict[str, Any]:
    names = {getattr(socket, name, None): value for name, value in KEEPALIVE.items()}
    known = {name: value for name, value in names.items() if name is not None}
    return {"socket_keepalive": True, "socket_keepalive_options": known}
