import pytest
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import (
    MasterNotFoundError,
    SentinelConnectionPool,
    SentinelManagedSSLConnection,
)

from workers.queue.servers import MOST_CONNECTIONS, connect, connect_worker


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://queue/2", Connection),
        ("rediss://queue/2?ssl_ca_certs=/ca.pem", SSLConnection),
        ("unix:///run/queue.sock?db=2", UnixDomainSocketConnection),
    ],
)
def test_each_form_has_its_connection(url: str, kind: type) -> None:
    for client in (connect(url, 0.5), connect_worker(url)):
        pool = client.connection_pool
        assert pool.connection_class is kind
        assert pool.connection_kwargs["db"] == 2
        assert pool.connection_kwargs.get("socket_keepalive", False) == ("queue/" in url)
    assert connect(url, 0.5).connection_pool.max_connections == MOST_CONNECTIONS


def test_sentinels_and_servers_are_both_spoken_to_through_tls() -> None:
    client = connect(
        "rediss+sentinel://me:one@a,b:7/g/2?sentinel_password=two&ssl_ca_certs=/ca.pem"
    )
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("me", "one")
    asked = [each.connection_pool for each in pool.sentinel_manager.sentinels]
    assert [(p.connection_kwargs["host"], p.connection_kwargs["port"]) for p in asked] == [
        ("a", 26379),
        ("b", 7),
    ]
    for each in asked:
        assert each.connection_class is SSLConnection
        assert each.connection_kwargs["password"] == "two"
        assert each.connection_kwargs["ssl_ca_certs"] == "/ca.pem"


def test_sentinels_that_are_away_are_told_in_a_line() -> None:
    client = connect("redis+sentinel://me:one@127.0.0.1:1,127.0.0.1:2/masks/0")
    with pytest.raises(MasterNotFoundError) as caught:
        client.ping()
    assert str(caught.value) == "no sentinel names a primary of 'masks'"
