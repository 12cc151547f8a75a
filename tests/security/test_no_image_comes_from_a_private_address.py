"""Whoever imports tasks writes addresses: none of them leads into anybody's own network."""

import socket
import tomllib
from importlib.resources import files
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import connection

from workers.images.addresses import is_public
from workers.images.download import Downloader, FetchError
from workers.images.fetch import Fetcher

DATA = tomllib.loads(files("workers.images").joinpath("special_addresses.toml").read_text("utf-8"))
ROWS = [row for table in ("ipv4", "ipv6", "further") for row in DATA[table]]
REFUSED = "private or reserved address"
# Where programs of a cloud are told their secrets: Amazon, Google and Azure; the same by IPv6;
# Azure's own services; Alibaba; Oracle; Amazon's containers.
METADATA = ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200",
            "192.0.0.192", "169.254.170.2", "fe80::a9fe:a9fe"]  # fmt: skip
# A private IPv4 address in what becomes of it on the way: mapped, compatible, translated, NAT64
# twice, 6to4, Teredo (turned over).
EMBEDDED = ["::ffff:10.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1", "2002:0a00:0001::1", "2001:0:1::f5ff:fffe"]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "168.63.129.15", "172.32.0.1", "192.0.1.1", "223.255.255.254",
          "2606:4700:4700::1111", "2a00:1450:4001:831::200e", "2001:200::1"]  # fmt: skip


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected to; nothing is."""
    hosts: list[str] = []

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        hosts.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(connection, "create_connection", refuse)
    return hosts


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(Downloader(None, None, frozenset(), 1000, 2.0))


def named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have any name lead to an address, whatever families this machine speaks."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def ends(row: str) -> list[str]:
    block = ip_network(row)
    return [str(block[0]), str(block[-1])]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_registries_is_refused(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher, connected: list[str], row: str
) -> None:
    for address in ends(row):
        assert not is_public(ip_address(address))
        named(monkeypatch, address)
        for scheme in ("http", "https"):
            with pytest.raises(FetchError, match=REFUSED):
                fetcher.fetch(f"{scheme}://images.example/a.png")
    assert connected == []


@pytest.mark.parametrize("address", [*METADATA, *EMBEDDED, "4000::1", "e000::1"])
def test_secrets_of_clouds_and_what_hides_in_an_address_are_refused(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher, connected: list[str], address: str
) -> None:
    named(monkeypatch, address)
    with pytest.raises(FetchError, match=REFUSED):
        fetcher.fetch("http://images.example/a.png")
    assert connected == []


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_beside_the_rows_is_connected_to_as_it_was_checked(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher, connected: list[str], address: str
) -> None:
    named(monkeypatch, address)
    with pytest.raises(FetchError, match="cannot be reached"):
        fetcher.fetch("http://images.example/a.png")
    assert connected == [address]


SPELT = ["127.1", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "017700000001", "0",
         "localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "%31%32%37.0.0.1", "ⓛocalhost",
         "127。0。0。1", "１２７.0.0.1", "a@127.0.0.1", "127.0.0.1@a", "a%40127.0.0.1",
         "[::1]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]", "[0:0:0:0:0:0:0:1]",
         "[::ffff:127.0.0.1]", "[::127.0.0.1]", "127.0.0.1\\@8.8.8.8", "8.8.8.8\\@127.0.0.1",
         "127.0.0.1#@8.8.8.8", "127.0.0.1?@8.8.8.8", "127.0.0.1\0.example", "\ud800",
         "a..b", "a" * 64, "a." * 200, "[::1", "xn--0", "-", ":80", "1:99999"]  # fmt: skip


@pytest.mark.parametrize("host", SPELT, ids=ascii)
def test_odd_spellings_of_this_machine_are_refused(
    fetcher: Fetcher, connected: list[str], host: str
) -> None:
    for reference in (f"http://{host}/a.png", f"http:\\\\{host}/a.png", f"//{host}/a.png"):
        with pytest.raises(FetchError):
            fetcher.fetch(reference)
    assert connected == []


@given(
    st.ip_addresses(network="2000::/3") | st.ip_addresses(v=4) | st.ip_addresses(v=6)
    | st.sampled_from(ROWS).flatmap(lambda row: st.ip_addresses(network=row))
)  # fmt: skip
def test_what_python_knows_to_be_private_is_not_public(address: Any) -> None:
    inside = any(address in ip_network(row) for row in ROWS)
    if address.is_private or address.is_multicast or address.is_reserved or inside:
        assert not is_public(address)
    elif address.version == 4:
        assert is_public(address)
