"""An annotation's share: a line of JSON that says whose the keys are, then the keys.

The line alone says what was learnt, so whoever only counts needs no model and no array.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

# Another number makes shares of before unreadable, which are then left out: raise it with any
# change of what a key means.
KEYS_VERSION = 1


@dataclass(frozen=True)
class Share:
    """The examples of one annotation.

    Attributes:
        labels: names of classes.
        owners: index into `labels`, for each example.
        keys: of the examples, as the worker packs them.
    """

    labels: tuple[str, ...]
    owners: tuple[int, ...]
    keys: bytes = b""


def pack(share: Share) -> bytes:
    """A share as it is kept; `unpack` inverts it."""
    header = {"keys": KEYS_VERSION, "labels": list(share.labels), "owners": list(share.owners)}
    return json.dumps(header).encode() + b"\n" + share.keys


def unpack(packed: bytes) -> Share | None:
    """What `pack` packed; None when its keys mean something else, or it is damaged."""
    try:
        line, keys = packed.split(b"\n", 1)
        header = json.loads(line)
        if header["keys"] != KEYS_VERSION:
            return None
        labels = tuple(map(str, header["labels"]))
        owners = tuple(map(int, header["owners"]))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    if owners and not 0 <= min(owners) <= max(owners) < len(labels):
        return None
    return Share(labels, owners, keys)


def examples(shares: Mapping[str, bytes]) -> dict[str, int]:
    """How many examples some shares have of each class, most first."""
    counts: Counter[str] = Counter()
    for packed in shares.values():
        if (share := unpack(packed)) is not None:
            counts.update(share.labels[owner] for owner in share.owners)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
