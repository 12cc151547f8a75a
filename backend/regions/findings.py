"""What a reader of other people's annotations came across and could not use."""

import logging
from collections import Counter
from dataclasses import dataclass, field

LOG = logging.getLogger(__name__)


class ExportError(ValueError):
    """The command cannot go on; the message names the cause and the way out."""


@dataclass
class Findings:
    """Collected on the way, so that one bad task does not stop the others.

    Attributes:
        problems: one sentence each, which names the task and the region; something was left out
            that somebody wanted in.
        left_out: one sentence for each task that is not in the set because of how it was asked for.
        skipped: how many of what was passed over on purpose, such as keypoints or relations.
        unread: how many masks are among the problems, so that their image may only look empty.
    """

    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    _said: set[str] = field(default_factory=set)

    def problem(self, where: str, what: str, *, once: bool = False) -> None:
        """Note and log something that was left out.

        Args:
            where: names the task and the region.
            what: is wrong, and the way out.
            once: the log says it the first time only, since it comes up again and again.
        """
        self.problems.append(f"{where}: {what}")
        if not once or what not in self._said:
            LOG.warning("%s: %s%s", where, what, " (said once)" if once else "")
        if once:
            self._said.add(what)

    def unreadable(self, where: str, what: str, *, once: bool = False) -> None:
        """Note and log a mask that could not be read; arguments as of `problem`."""
        self.unread += 1
        self.problem(where, what, once=once)

    def leave_out(self, where: str, why: str) -> None:
        """Note a task that is left out as asked for."""
        self.left_out.append(f"{where}: {why}")

    def skip(self, what: str) -> None:
        """Count something that is not wanted."""
        self.skipped[what] += 1
