"""What projects learnt, as a worker uses it: packed in the store, kept in memory.

A share is the prototypes of one annotation as bytes, its keys as float16, which keeps three digits:
more than a key is good for, and half of what Redis would hold.
"""

import logging
from collections import OrderedDict

import numpy as np

from dgl_rsis.classes import prototypes
from dgl_rsis.classes.prototypes import KEY_LENGTH, Prototypes
from workers.messages import names
from workers.queue import shares as packing
from workers.queue.prototypes import PrototypeStore, by_number
from workers.queue.shares import Share

log = logging.getLogger(__name__)

KEPT_PROJECTS = 8


class Recall:
    """What projects learnt, kept while their revision stands.

    Args:
        store: where it is.
    """

    def __init__(self, store: PrototypeStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, Prototypes] = OrderedDict()

    def prototypes(self, name: str) -> tuple[str, Prototypes | None]:
        """What a request names, and the name of what it is.

        Only the newest revision exists. Where a request waited for longer than its revision stood,
        the newest is used, under its own name (empty when there is none): else a revision that
        comes back, once a bad annotation is taken back, would bring back what that one did.

        Args:
            name: `SegmentRequest.prototypes`.
        """
        if not name:
            return "", None
        if name not in self._kept:
            name = self._load(name)
        if not name:
            return "", None
        self._kept.move_to_end(name)
        return name, self._kept[name]

    def _load(self, name: str) -> str:
        """Keep the newest revision of a project; returns its name, empty when there is none."""
        project, _, wanted = name.rpartition("@")
        revision, shares = self._store.shares(project)
        if revision != wanted:
            log.info("project %s: revision %r instead of %s", project, revision, wanted)
        newest = names(project, revision)
        if newest and newest not in self._kept:
            parts = [unpack(shares[each]) for each in sorted(shares, key=by_number)]
            readable = [part for part in parts if part is not None]
            self._kept[newest] = prototypes.joined(readable)
            while len(self._kept) > KEPT_PROJECTS:
                self._kept.popitem(last=False)
        return newest


def pack(examples: Prototypes) -> bytes:
    """A share; empty for no examples."""
    if not len(examples):
        return b""
    owners = tuple(examples.owners.tolist())
    return packing.pack(Share(examples.labels, owners, examples.keys.astype("<f2").tobytes()))


def unpack(packed: bytes) -> Prototypes | None:
    """What `pack` packed; None when its keys mean something else, or it is damaged."""
    share = packing.unpack(packed)
    if share is None:
        return None
    owners = np.array(share.owners, dtype=np.int64)
    try:
        keys = np.frombuffer(share.keys, dtype="<f2").reshape(len(owners), KEY_LENGTH)
    except ValueError:
        return None
    return Prototypes(share.labels, keys.astype(np.float32), owners, np.zeros_like(owners))
