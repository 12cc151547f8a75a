"""What a project learnt from its annotators, as the page shows and changes it."""

import time
from dataclasses import dataclass

from workers.queue.client import SegmentClient

# Reading it takes as many bytes as it has, and a page asks every few seconds.
KNOWN_SECONDS = 10.0
MOST_KNOWN = 64


@dataclass(frozen=True)
class LearntView:
    """What a project learnt.

    Attributes:
        off: it is switched off.
        revision: of what it learnt; empty for nothing.
        annotations: annotations that it learnt from, each with the id of its task or "".
        examples: class → number of examples; empty where that is not known.
        nbytes: of what it keeps.
        others: annotations with nothing learnt from them, so far.
    """

    off: bool
    revision: str
    annotations: tuple[tuple[str, str], ...]
    examples: tuple[tuple[str, int], ...]
    nbytes: int
    others: int


class Learning:
    """Looks up and switches what projects learnt.

    Args:
        client: the queue.
    """

    def __init__(self, client: SegmentClient) -> None:
        self._client = client
        self._known: dict[str, tuple[LearntView, float]] = {}

    def of(self, project: str) -> LearntView:
        """What a project learnt, as of some seconds ago at most.

        Raises:
            QueueError: Redis cannot be reached.
        """
        view, until = self._known.get(project, (None, 0.0))
        if view is None or time.monotonic() >= until:
            view = self._read(project)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[project] = view, time.monotonic() + KNOWN_SECONDS
        return view

    def note(self, project: str) -> str:
        """What somebody should set in Label Studio for this project; empty for nothing."""
        return self._client.project_note(project)

    def change(self, project: str, wish: str) -> bool:
        """Do what somebody wishes: "on", "off", "reset" or "follow"; False for anything else.

        Raises:
            QueueError: Redis cannot be reached.
        """
        corrections = self._client.corrections
        if wish in ("on", "off"):
            corrections.switch(project, on=wish == "on")
        elif wish == "reset":
            corrections.reset(project)
        elif wish == "follow":
            self._client.follow_now(project)
        else:
            return False
        self._known.pop(project, None)
        return True

    def _read(self, project: str) -> LearntView:
        learnt = self._client.corrections.learnt(project)
        return LearntView(
            off=learnt.off,
            revision=learnt.revision,
            annotations=tuple((each, learnt.tasks.get(each, "")) for each in learnt.annotations),
            examples=tuple(sorted(learnt.examples.items())),
            nbytes=learnt.nbytes,
            others=learnt.others,
        )
