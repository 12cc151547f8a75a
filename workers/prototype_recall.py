"""What projects learnt, as a worker uses it."""

import logging
from collections import OrderedDict

from dgl_rsis import prototypes
from dgl_rsis.prototypes import Prototypes
from workers.prototype_shares import unpack
from workers.prototype_store import PrototypeStore

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

    def prototypes(self, name: str) -> Prototypes | None:
        """What a request names.

        Only the newest revision exists. Where it has moved on since the request was made, the
        newest is used: what is shown is never older than its version says, and an annotation that
        was taken back has no effect any more.

        Args:
            name: `SegmentRequest.prototypes`.
        """
        if not name:
            return None
        if name not in self._kept:
            project, _, wanted = name.rpartition("@")
            revision, shares = self._store.shares(project)
            parts = [unpack(shares[each]) for each in sorted(shares, key=_number)]
            found = prototypes.joined([part for part in parts if part is not None])
            if revision != wanted:
                log.info("project %s: revision %s instead of %s", project, revision, wanted)
                return found
            self._kept[name] = found
            while len(self._kept) > KEPT_PROJECTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]


def _number(annotation: str) -> tuple[int, str]:
    return (int(annotation) if annotation.isdecimal() else 0, annotation)
