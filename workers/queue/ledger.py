"""What became of each task of a project, for the people who wait for it.

    dgl:ledger                  projects, by the time of their last change
    dgl:ledger:P:tasks          task → its state, the key of its request, its config, when asked for
    dgl:ledger:P:reasons        task → why it is where it is; of few
    dgl:ledger:P:<state>        tasks in that state, by the time they came there

A number is the size of a set and a page is a range of it, so a project of 100,000 tasks costs what
a project of ten does. Every change is one script that moves a task out of one set into another: it
is in exactly one, whatever the order of events. Who runs what right now is told by `running`, since
a worker knows keys and no projects.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from redis import Redis
from redis.client import Pipeline

from workers.queue import notes
from workers.queue.connection import STORED_TASK, reaching_redis
from workers.queue.moves import ASK, LETTERS, SETTLE

State = Literal["queued", "delivery", "answered", "delivered", "failed", "given-up", "cancelled"]

Argument = bytes | str | int | float  # of a script

STATES: tuple[State, ...] = get_args(State)  # in the order of `LETTERS`
OPEN: tuple[State, ...] = ("queued", "delivery")  # somebody works on these
DONE: tuple[State, ...] = ("answered", "delivered")
RETRIABLE: tuple[State, ...] = ("delivery", "failed", "given-up", "cancelled")

LEDGER_KEY = "dgl:ledger"
MOST_TASKS = 200_000  # of a project; beyond, those that ended first are forgotten
MOST_PROJECTS = 500
RATE_SECONDS = 300.0
CHUNK = 1000  # tasks of one script: some milliseconds of the server
LONGEST_REASON = 500
KEY_BYTES, CONFIG_BYTES, TIME_BYTES = 16, 32, 4


@dataclass(frozen=True)
class Entry:
    """A task.

    Attributes:
        task_id: Label Studio's id, digits.
        state: where it is. "delivery" has its masks and waits for Label Studio to take them,
            "answered" was answered to whoever opened it, "failed" has no masks, "given-up" has
            masks that could not be delivered.
        key: of its request; empty where no request could be made of it.
        config: digest of the label config of its delivery; empty for none.
        asked: when it was asked for, seconds since the epoch.
        changed: when it came into this state.
        reason: why it is in this state; empty where that is plain.
    """

    task_id: str
    state: State
    key: str
    config: str
    asked: float
    changed: float
    reason: str = ""


@dataclass(frozen=True)
class Summary:
    """A project.

    Attributes:
        project: Label Studio's id, digits.
        changed: when anything changed last, seconds since the epoch.
        counts: tasks by state; all states.
        per_minute: tasks that ended with masks, within the last `RATE_SECONDS`; None for too few.
    """

    project: str
    changed: float
    counts: Mapping[State, int]
    per_minute: float | None

    @property
    def total(self) -> int:
        """All tasks that are known."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Tasks that Label Studio has masks of."""
        return sum(self.counts[state] for state in DONE)

    @property
    def open(self) -> int:
        """Tasks that wait for masks or for their delivery."""
        return sum(self.counts[state] for state in OPEN)

    @property
    def seconds_left(self) -> float | None:
        """Until the open ones are done, at the present rate; None where that cannot be said."""
        return self.open / self.per_minute * 60 if self.open and self.per_minute else None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task_id: Label Studio's id.
        key: of the request that it became of; empty where none could be made of the task.
        state: where it is now.
        reason: why; one line.
    """

    task_id: str
    key: str
    state: State
    reason: str = ""


class Ledger:
    """Tasks of projects by state; each method is one or two round trips.

    Ids that are none of Label Studio's are left out.

    Args:
        redis: the queue's server; without `decode_responses`.
        kept_seconds: how long what ended is told.
        most_tasks: of a project.
    """

    def __init__(self, redis: Redis, kept_seconds: int, most_tasks: int = MOST_TASKS) -> None:
        self._redis = redis
        self._kept = kept_seconds
        self._most = most_tasks
        self._ask = redis.register_script(ASK)
        self._settle = redis.register_script(SETTLE)

    def ask(
        self,
        pipe: Pipeline,
        project: str,
        keys: Iterable[tuple[str, str]],
        config: str = "",
        *,
        anew: bool = True,
    ) -> None:
        """Note that tasks are asked for; in a pipeline, since jobs are made in the same one.

        Args:
            pipe: of this ledger's server.
            project: Label Studio's id; empty notes nothing.
            keys: task ids, each with the key of its request.
            config: digest of the label config to deliver under; empty leaves what is known.
            anew: also what is done already; else only its config is noted.
        """
        now, wanted = time.time(), [(t, k) for t, k in keys if STORED_TASK.fullmatch(t)]
        if not project:
            return
        head: list[Argument] = [now, project, self._kept, MOST_PROJECTS, self._most]
        head += [int(anew), self._lifetime]
        for start in range(0, len(wanted), CHUNK):
            part = wanted[start : start + CHUNK]
            flat = [each for task, key in part for each in (task, _tail(key, config, now))]
            self._ask(_keys(project), [*head, *flat], pipe)

    @reaching_redis()
    def settle(self, project: str, outcomes: Sequence[Outcome]) -> int:
        """Note what became of tasks; how many of them were asked for under that key, and moved."""
        stored = [each for each in outcomes if STORED_TASK.fullmatch(each.task_id)]
        if not project or not stored:
            return 0
        now, moved = time.time(), 0
        head: list[Argument] = [now, project, self._lifetime, MOST_PROJECTS, _tail("", "", now)]
        for start in range(0, len(stored), CHUNK):
            part = stored[start : start + CHUNK]
            flat = [value for each in part for value in _written(each)]
            moved += int(self._settle(_keys(project), [*head, *flat]))
        return moved

    @reaching_redis()
    def projects(self, most: int) -> list[Summary]:
        """How projects stand; those that changed last come first."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrevrange(LEDGER_KEY, 0, most - 1, withscores=True)
            (listed,) = pipe.execute()
        return self._summaries(
            [
                (name, float(changed))
                for name, changed in ((notes.text(name), changed) for name, changed in listed)
                if STORED_TASK.fullmatch(name)
            ]
        )

    @reaching_redis()
    def project(self, project: str) -> Summary | None:
        """How a project stands; None when nothing is known of it."""
        changed = self._redis.zscore(LEDGER_KEY, project)
        return None if changed is None else self._summaries([(project, float(changed))])[0]

    def _summaries(self, listed: Sequence[tuple[str, float]]) -> list[Summary]:
        now = time.time()
        with self._redis.pipeline(transaction=False) as pipe:
            for project, _ in listed:
                for state in STATES:
                    pipe.zcard(_set(project, state))
                for state in DONE:
                    pipe.zcount(_set(project, state), now - RATE_SECONDS, "+inf")
                    pipe.zrangebyscore(
                        _set(project, state), now - RATE_SECONDS, "+inf", 0, 1, withscores=True
                    )
            answers = pipe.execute()
        width = len(STATES) + 2 * len(DONE)
        return [
            _summary(*each, answers[n * width : (n + 1) * width], now)
            for n, each in enumerate(listed)
        ]

    @reaching_redis()
    def asked_by(
        self, projects: Sequence[str], tasks: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Which of these projects asked for which of some tasks, each with the key of its request.

        Returns:
            Projects with ids of their tasks.
        """
        pairs = [(project, *task) for project in projects for task in tasks]
        with self._redis.pipeline(transaction=False) as pipe:
            for project, task, _ in pairs:
                pipe.hget(_key(project, "tasks"), task)
            held = pipe.execute()
        return [
            (project, task)
            for (project, task, key), value in zip(pairs, held, strict=True)
            if value is not None and value[1 : 1 + KEY_BYTES].hex() == key and value[:1] == b"q"
        ]

    @reaching_redis()
    def superseded(self, project: str, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """What waits to be delivered for some tasks under another key than that now asked for.

        Args:
            project: Label Studio's id; empty for nothing.
            keys: task ids, each with the key of its new request.

        Returns:
            Ids of tasks, each with its former key.
        """
        wanted = {t: k for t, k in keys if STORED_TASK.fullmatch(t)} if project else {}
        if not wanted:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(_key(project, "tasks"), list(wanted))
            (held,) = pipe.execute()
        # Without a config nobody delivers it: who asked waits in a call, and is not let down.
        return [
            (task, former.key)
            for (task, key), value in zip(wanted.items(), held, strict=True)
            if _is_entry(value)
            and (former := _entry(task, value, 0.0, None)).state in OPEN
            and former.config
            and former.key != key
        ]

    @reaching_redis()
    def entries(
        self, project: str, states: Sequence[State] = STATES, start: int = 0, count: int = 50
    ) -> list[Entry]:
        """A range of the tasks in some states, newest change first."""
        with self._redis.pipeline(transaction=False) as pipe:
            for state in states:
                low = start if len(states) == 1 else 0
                pipe.zrevrange(_set(project, state), low, start + count - 1, withscores=True)
            ranges = pipe.execute()
        placed = [(each, changed) for part in ranges for each, changed in part]
        if len(states) > 1:
            placed = sorted(placed, key=lambda each: -each[1])[start : start + count]
        return self._read(project, [(notes.text(task), changed) for task, changed in placed])

    @reaching_redis()
    def oldest(self, project: str, state: State, count: int, start: int = 0) -> list[Entry]:
        """The tasks that are in a state for the longest time, from the `start`-th on."""
        with self._redis.pipeline(transaction=False) as pipe:  # whose answers have no types
            pipe.zrange(_set(project, state), start, start + count - 1, withscores=True)
            (placed,) = pipe.execute()
        return self._read(project, [(notes.text(task), changed) for task, changed in placed])

    @reaching_redis()
    def entry(self, project: str, task_id: str) -> Entry | None:
        """One task; None when nothing is known of it."""
        with self._redis.pipeline(transaction=False) as pipe:
            for state in STATES:
                pipe.zscore(_set(project, state), task_id)
            scores = pipe.execute()
        changed = next((float(score) for score in scores if score is not None), None)
        return next(iter(self._read(project, [(task_id, changed)])), None) if changed else None

    def _read(self, project: str, placed: Sequence[tuple[str, float]]) -> list[Entry]:
        if not placed:
            return []
        tasks = [task for task, _ in placed]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(_key(project, "tasks"), tasks)
            pipe.hmget(_key(project, "reasons"), tasks)
            values, reasons = pipe.execute()
        return [
            _entry(task, value, float(changed), reason)
            for (task, changed), value, reason in zip(placed, values, reasons, strict=True)
            if _is_entry(value)  # else moved away between the two questions
        ]

    @property
    def _lifetime(self) -> int:
        """Seconds after its last change at which a project is forgotten."""
        return self._kept + 24 * 3600


def letter_of(state: State) -> str:
    """How a state is written."""
    return LETTERS[STATES.index(state)]


def _written(outcome: Outcome) -> tuple[str, bytes, str, str]:
    reason = outcome.reason[:LONGEST_REASON]
    return outcome.task_id, bytes.fromhex(outcome.key), letter_of(outcome.state), reason


def _tail(key: str, config: str, asked: float) -> bytes:
    """What is kept of a task beside its state."""
    digest = bytes.fromhex(config) if len(config) == 2 * CONFIG_BYTES else b""
    seconds = int(asked).to_bytes(TIME_BYTES, "big")
    return bytes.fromhex(key).ljust(KEY_BYTES, b"\0") + digest.ljust(CONFIG_BYTES, b"\0") + seconds


def _is_entry(value: bytes | None) -> TypeGuard[bytes]:
    """Whether it is what `_tail` wrote, behind the letter of a state."""
    return value is not None and len(value) > KEY_BYTES and chr(value[0]) in LETTERS


def _entry(task: str, value: bytes, changed: float, reason: bytes | None) -> Entry:
    state = STATES[LETTERS.index(chr(value[0]))]
    key, config = value[1 : 1 + KEY_BYTES], value[1 + KEY_BYTES : 1 + KEY_BYTES + CONFIG_BYTES]
    asked = int.from_bytes(value[-TIME_BYTES:], "big")
    why = "" if reason is None else reason.decode(errors="replace")
    return Entry(task, state, _hex(key), _hex(config), float(asked), changed, why)


def _hex(value: bytes) -> str:
    return value.hex() if any(value) else ""


def _summary(project: str, changed: float, answers: Sequence[object], now: float) -> Summary:
    counts = dict(zip(STATES, answers, strict=False))
    ended, firsts = answers[len(STATES) :: 2], answers[len(STATES) + 1 :: 2]
    number = sum(int(str(each)) for each in ended)
    times = [float(first[0][1]) for first in firsts if isinstance(first, list) and first]
    rate = (number - 1) / max(now - min(times), 1.0) * 60 if number > 1 else None
    return Summary(project, changed, {s: int(str(n)) for s, n in counts.items()}, rate)


def _keys(project: str) -> list[str]:
    sets = [_set(project, state) for state in STATES]
    return [LEDGER_KEY, _key(project, "tasks"), _key(project, "reasons"), *sets]


def _set(project: str, state: State) -> str:
    return _key(project, state)


def _key(project: str, name: str) -> str:
    return f"{LEDGER_KEY}:{project}:{name}"
