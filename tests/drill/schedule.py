"""What goes wrong, and when: the same for the same seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["kill", "restart", "stop", "refuse", "fail", "fill"]

# Of each kind of process how many are killed by SIGKILL.
KILLS: Mapping[str, int] = {
    "worker": 6,
    "clicks": 4,
    "deliver": 4,
    "web": 4,
    "valkey": 1,
    "up": 2,
}
RESTARTS = 3  # of Valkey, by SIGTERM
LASTING_SECONDS = 12.0  # of what passes by itself
MARGIN = 0.1  # of the time at its end: what went wrong last must have time to be put right


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at: seconds since the first task was asked for.
        kind: "kill" a process by SIGKILL; "restart" it by SIGTERM; "stop" it by SIGSTOP, for good;
            "refuse" connections, or "fail" with 503 (Label Studio), or "fill" the disk: each of
            these for `LASTING_SECONDS`.
        target: what it happens to.
    """

    at: float
    kind: Kind
    target: str


def schedule(seed: int, seconds: float) -> list[Fault]:
    """The faults of a drill in their order, evenly spread over its seconds, in a random order.

    Args:
        seed: of the order and the moments.
        seconds: within which all happen.
    """
    what: list[tuple[Kind, str]] = [
        *(("kill", name) for name, count in KILLS.items() for _ in range(count)),
        *[("restart", "valkey")] * RESTARTS,
        ("stop", "worker"),
        ("refuse", "studio"),
        ("fail", "studio"),
        ("fill", "disk"),
    ]
    chance = random.Random(seed)
    chance.shuffle(what)
    apart = seconds * (1 - MARGIN) / len(what)
    return [
        Fault(apart * (place + chance.random() / 2), kind, target)
        for place, (kind, target) in enumerate(what)
    ]
