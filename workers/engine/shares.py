"""Prototypes of one annotation ⇄ bytes: a line of JSON, then keys as float16.

float16 keeps three digits, which is more than a key is good for, and halves what Redis holds.
"""

import json

import numpy as np

from dgl_rsis.classes.prototypes import KEY_LENGTH, Prototypes

# Another number makes shares of before unreadable, which are then left out: raise it with any
# change of what a key means.
KEYS_VERSION = 1


def pack(prototypes: Prototypes) -> bytes:
    """A share; empty for no examples."""
    if not len(prototypes):
        return b""
    header = {
        "keys": KEYS_VERSION,
        "labels": list(prototypes.labels),
        "owners": prototypes.owners.tolist(),
    }
    return json.dumps(header).encode() + b"\n" + prototypes.keys.astype("<f2").tobytes()


def unpack(share: bytes) -> Prototypes | None:
    """What `pack` packed; None when its keys mean something else, or it is damaged."""
    try:
        line, data = share.split(b"\n", 1)
        header = json.loads(line)
        if header["keys"] != KEYS_VERSION:
            return None
        owners = np.array(header["owners"], dtype=np.int64)
        keys = np.frombuffer(data, dtype="<f2").reshape(len(owners), KEY_LENGTH)
        labels = tuple(map(str, header["labels"]))
    except (ValueError, KeyError, TypeError):
        return None
    if len(owners) and not 0 <= owners.min() <= owners.max() < len(labels):
        return None
    return Prototypes(labels, keys.astype(np.float32), owners, np.zeros_like(owners))
