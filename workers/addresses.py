"""The address of the queue's server, as REDIS_URL gives it: read, checked, and shown in words.

Besides the forms that the Redis client knows there is one for Sentinel, which names the sentinels
and the group that they watch: `redis+sentinel://USER:PASSWORD@ONE:26379,TWO:26379/GROUP/0`.
"""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

PLAIN = ("redis", "rediss", "unix")
WATCHED = ("redis+sentinel", "rediss+sentinel")
FORMS = "redis://HOST:6379/0, rediss://…, unix://PATH or redis+sentinel://HOST:26379,…/GROUP/0"
SENTINEL_PORT = 26379
# What may stand behind the "?". Anything else is a slip of the pen, or changes what time-outs and
# retries the two kinds of process need.
LOGIN = frozenset({"username", "password"})
TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
SENTINEL_LOGIN = frozenset({"sentinel_username", "sentinel_password"})
SHOWN = TLS | {"db"}
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class ServerAddress:
    """Where the queue's server is.

    Attributes:
        scheme: one of `PLAIN` or `WATCHED`.
        hosts: names and ports; of sentinels for `WATCHED`; empty for a Unix socket.
        path: of the Unix socket; empty for others.
        group: that sentinels watch; empty for `PLAIN`.
        database: its number.
        login: `username` and `password`, those that are given.
        sentinel_login: the same for sentinels.
        tls: paths to certificates, and whether the host's name is checked.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    group: str = ""
    database: int = 0
    login: dict[str, str] = field(default_factory=dict, repr=False)
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)
    tls: dict[str, str | bool] = field(default_factory=dict)

    @property
    def is_encrypted(self) -> bool:
        """Whether it is spoken to through TLS."""
        return self.scheme.startswith("rediss")

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an address.

        Raises:
            ValueError: it is none; the message has no password in it.
        """
        scheme, separator, rest = url.partition("://")
        if not separator:
            shown = url.rpartition("@")[2]
            raise ValueError(f"REDIS_URL is {shown!r}, without a scheme: write {FORMS}")
        if scheme not in PLAIN + WATCHED:
            raise ValueError(f"REDIS_URL is {shown_url(url)!r}: write {FORMS}")
        # The scheme is put aside, since `urlsplit` takes "[" and several hosts for one.
        login, _, place = rest.partition("?")[0].rpartition("@")
        query = _query(url, scheme)
        hosts, _, path = place.partition("/")
        group, database = _group_and_database(url, scheme, path, query)
        return cls(
            scheme=scheme,
            hosts=() if scheme == "unix" else tuple(_hosts(url, scheme, hosts)),
            path=unquote(place) if scheme == "unix" else "",
            group=group,
            database=database,
            login=_login(login) | {n: v for n, v in query.items() if n in LOGIN},
            sentinel_login={
                name.removeprefix("sentinel_"): value
                for name, value in query.items()
                if name in SENTINEL_LOGIN
            },
            tls={name: _tls(url, name, value) for name, value in query.items() if name in TLS},
        )


def shown_url(url: str) -> str:
    """An address without logins: what may stand in logs and messages."""
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    kept = [each for each in query.split("&") if each.partition("=")[0] in SHOWN]
    return f"{scheme}{separator}{place.rpartition('@')[2]}{'?' if kept else ''}{'&'.join(kept)}"


def secrets_of(url: str) -> list[str]:
    """The passwords of an address, as written and as meant; none of one that cannot be read."""
    try:
        address = ServerAddress.parse(url)
    except ValueError:
        return []
    written = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    passwords = [written, address.login.get("password"), address.sentinel_login.get("password")]
    return [each for each in passwords if each]


def _query(url: str, scheme: str) -> dict[str, str]:
    known = LOGIN | {"db"}
    known |= TLS if scheme.startswith("rediss") else frozenset()
    known |= SENTINEL_LOGIN if scheme in WATCHED else frozenset()
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    if strange := sorted(given.keys() - known):
        raise ValueError(
            f"REDIS_URL is {shown_url(url)!r} with ?{strange[0]}=…: behind the ? of {scheme}:// "
            f"may stand {', '.join(sorted(known))}"
        )
    return given


def _login(text: str) -> dict[str, str]:
    """What stands before the @: `user:password`, `:password` or `user`."""
    username, _, password = text.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _hosts(url: str, scheme: str, text: str) -> list[tuple[str, int]]:
    usual = SENTINEL_PORT if scheme in WATCHED else 6379
    hosts = [_host(url, each, usual) for each in text.split(",")]
    if len(hosts) > 1 and scheme in PLAIN:
        raise ValueError(
            f"REDIS_URL is {shown_url(url)!r}, of several hosts: that is for sentinels, as in "
            "redis+sentinel://ONE:26379,TWO:26379/GROUP/0"
        )
    return hosts


def _host(url: str, text: str, usual: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:  # what looks like a port may be a password without its @: it is not shown
        raise ValueError(
            "REDIS_URL has a host whose port is no number up to 65535, or brackets that do not "
            "match: a login stands before an @, with its special characters as %40, %2F …"
        ) from None
    if not host:
        raise ValueError(f"REDIS_URL is {shown_url(url)!r}, without a host: write {FORMS}")
    return unquote(host), usual if port is None else port


def _group_and_database(url: str, scheme: str, path: str, query: dict[str, str]) -> tuple[str, int]:
    """What stands behind the hosts: `0`, or `group/0`; of a Unix socket nothing does."""
    group = ""
    if scheme in WATCHED:
        group, _, path = path.partition("/")
        if not group:
            raise ValueError(
                f"REDIS_URL is {shown_url(url)!r}, without the group that the sentinels watch: "
                "write redis+sentinel://HOST:26379/GROUP/0"
            )
    number = query.get("db", "" if scheme == "unix" else path) or "0"
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"REDIS_URL is {shown_url(url)!r}: its database {number!r} is no number")
    return unquote(group), int(number)


def _tls(url: str, name: str, value: str) -> str | bool:
    if name != "ssl_check_hostname":
        return value
    if value.lower() not in BOOLEANS:
        raise ValueError(f"REDIS_URL is {shown_url(url)!r}: {name}={value!r} is not true or false")
    return BOOLEANS[value.lower()]
