"""Whether the queue's server keeps what it is given: what operators should know in good time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis, RedisError
from redis.exceptions import NoPermissionError

SECTIONS = ("server", "memory", "persistence", "replication")
KEEPS_ALL = "noeviction"
NEARLY_FULL = 0.9
# EXPIRE … LT and the flags of scripts came with 7.0.
OLDEST = (7, 0)
# The first of each branch in which no script can run code of its own (CVE-2025-49844).
SAFE_REDIS = ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2))
SAFE_VALKEY = ((7, 2, 11), (8, 0, 6), (8, 1, 4))


@dataclass(frozen=True)
class ServerState:
    """The queue's server, as it describes itself.

    Attributes:
        warnings: what may lose or stop work, each with its way out; empty when all is well.
        memory: bytes in use; None where it does not say.
        limit: bytes that it may use (maxmemory); 0 for no limit, None where it does not say.
    """

    warnings: tuple[str, ...] = ()
    memory: int | None = None
    limit: int | None = None


def check(redis: Redis) -> ServerState:
    """Ask the server about itself; one round trip.

    Raises:
        RedisError: it cannot be reached.
    """
    try:
        info = redis.info(*SECTIONS)
    except NoPermissionError:
        return ServerState(
            ("the queue's server does not say how it is set up: allow its user the command info",)
        )
    return ServerState(tuple(_warnings(info)), _number(info, "used_memory"), _limit(info))


def check_or_nothing(redis: Redis) -> ServerState:
    """As `check`; without warnings where the server cannot be reached, which others say."""
    try:
        return check(redis)
    except RedisError:
        return ServerState()


def _warnings(info: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_version(info)
    policy = info.get("maxmemory_policy", KEEPS_ALL)
    if policy != KEEPS_ALL:
        yield (
            f"the queue's server drops keys when it is full (maxmemory-policy {policy}), jobs and "
            f"replies among them: set it to {KEEPS_ALL}"
        )
    if info.get("role") == "master" and not int(info.get("aof_enabled", 1)):
        yield (
            "the queue's server keeps no log of what it is given (appendonly no): a restart loses "
            "what waits; set appendonly yes"
        )
    if info.get("role") == "slave":
        yield "the queue's server is a replica, which takes no jobs: give the primary's address"
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "the queue's server could not write its log of late: look at its log and its disk"
    used, limit = _number(info, "used_memory"), _limit(info)
    if used is not None and limit and used > NEARLY_FULL * limit:
        yield (
            f"the queue's server is nearly full ({used / 2**20:.0f} of {limit / 2**20:.0f} MiB): "
            "raise its maxmemory, or keep replies for a shorter time (REPLY_DAYS)"
        )


def _of_version(info: Mapping[str, Any]) -> Iterator[str]:
    """What is to be said of its version; Valkey tells Redis' version beside its own."""
    name, safe = ("Valkey", SAFE_VALKEY) if "valkey_version" in info else ("Redis", SAFE_REDIS)
    told = str(info.get("valkey_version", info.get("redis_version", "")))
    version = _parsed(told)
    if version is None:
        return
    if version[:2] < OLDEST:
        yield (f"the queue's server is {name} {told}, which is too old: use Valkey, or Redis 7.0")
    elif _is_unsafe(version, safe):
        yield (
            f"the queue's server is {name} {told}, in which a script can run code "
            "(CVE-2025-49844): update it"
        )


def _is_unsafe(version: tuple[int, ...], safe: tuple[tuple[int, int, int], ...]) -> bool:
    """Whether a version lies before the first safe one of its branch, or in a branch without."""
    branch = [first for first in safe if first[:2] == version[:2]]
    return version < branch[0] if branch else version < safe[-1]


def _parsed(text: str) -> tuple[int, ...] | None:
    parts = text.split("-")[0].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else None


def _number(info: Mapping[str, Any], name: str) -> int | None:
    value = info.get(name)
    return value if isinstance(value, int) else None


def _limit(info: Mapping[str, Any]) -> int | None:
    return _number(info, "maxmemory")
