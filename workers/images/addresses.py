"""Which addresses of the network are the world's, and which are somebody's own.

Python's `ipaddress.is_global` is as old as the Python: the blocks are data here, with the day on
which they were taken. Of IPv6 only 2000::/3 is given to anybody (RFC 4291), so all else is refused
without a row. An address of another family inside an IPv6 address (IPv4-mapped and -compatible,
6to4, Teredo, NAT64) needs no look inside: all of their blocks are refused.
"""

import tomllib
from functools import cache
from importlib.resources import files
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from requests import PreparedRequest
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GIVEN = IPv6Network("2000::/3")
TABLES = ("ipv4", "ipv6", "further")  # of the data


def is_public(address: Address) -> bool:
    """Whether an address can be that of a host of the whole network, as far as is known."""
    if isinstance(address, IPv6Address) and address not in GIVEN:
        return False
    return not any(address in block for block in blocks())


@cache
def blocks() -> tuple[Network, ...]:
    """All blocks of the data, in their order."""
    text = files("workers.images").joinpath("special_addresses.toml").read_text("utf-8")
    data = tomllib.loads(text)
    return tuple(ip_network(block) for table in TABLES for block in data[table])


class PublicAdapter(IPFilterAdapter):  # type: ignore[misc]
    """Connects to public addresses alone: to the very address that was looked up and checked."""

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The host to connect to, as an address.

        Raises:
            InvalidIPAddress: it is not public.
            ConnectionError: the name has no address.
        """
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if not is_public(ip_address(host["host"].strip("[]"))):
            raise InvalidIPAddress(host["host"])
        return host, options
