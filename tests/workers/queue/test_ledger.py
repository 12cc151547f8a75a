import itertools
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from workers.queue.ledger import (
    DONE,
    LEDGER_KEY,
    MOST_PROJECTS,
    STATES,
    Entry,
    Ledger,
    Outcome,
    State,
)

KEPT = 3600
KEYS = [f"{number:032x}" for number in range(1, 4)]
CONFIG = "c" * 64


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, KEPT)


def ask(
    redis: Redis,
    ledger: Ledger,
    *tasks: str,
    key: str = KEYS[0],
    config: str = "",
    anew: bool = True,
    project: str = "1",
) -> None:
    with redis.pipeline(transaction=False) as pipe:
        ledger.ask(pipe, project, [(task, key) for task in tasks], config, anew=anew)
        pipe.execute()


def settle(ledger: Ledger, task: str, state: State, reason: str = "", key: str = KEYS[0]) -> int:
    return ledger.settle("1", [Outcome(task, key, state, reason)])


def entry(ledger: Ledger, task: str = "5") -> Entry:
    read = ledger.entry("1", task)
    assert read is not None
    return read


def test_a_task_from_its_question_to_its_delivery(redis: Redis, ledger: Ledger) -> None:
    before = time.time()
    ask(redis, ledger, "5")
    asked = entry(ledger)
    assert (asked.state, asked.key, asked.config, asked.reason) == ("queued", KEYS[0], "", "")
    assert int(before) <= asked.asked <= asked.changed <= time.time()
    ask(redis, ledger, "5", config=CONFIG, anew=False)
    assert entry(ledger) == Entry("5", "queued", KEYS[0], CONFIG, asked.asked, asked.changed)
    assert settle(ledger, "5", "delivery", "Label Studio is down") == 1
    assert (entry(ledger).state, entry(ledger).reason) == ("delivery", "Label Studio is down")
    settle(ledger, "5", "delivered")
    assert (entry(ledger).state, entry(ledger).reason) == ("delivered", "")
    assert entry(ledger).asked == asked.asked


@pytest.mark.parametrize(
    ("former", "latter", "stays"),
    [
        ("answered", "given-up", "answered"),  # a delivery that came too late to matter
        ("delivered", "failed", "delivered"),
        ("cancelled", "failed", "cancelled"),
        ("cancelled", "delivered", "delivered"),  # it was on its way
        ("failed", "delivery", "delivery"),
        ("given-up", "delivered", "delivered"),
    ],
)
def test_what_happens_late(
    redis: Redis, ledger: Ledger, former: State, latter: State, stays: State
) -> None:
    ask(redis, ledger, "5")
    settle(ledger, "5", former)
    settle(ledger, "5", latter)
    assert entry(ledger).state == stays


def test_what_became_of_a_former_request_does_not_matter(redis: Redis, ledger: Ledger) -> None:
    ask(redis, ledger, "5")
    ask(redis, ledger, "5", key=KEYS[1])
    assert settle(ledger, "5", "delivered") == 0
    assert settle(ledger, "6", "delivered") == 0
    assert (entry(ledger).state, entry(ledger).key) == ("queued", KEYS[1])
    assert ledger.entry("1", "6") is None


def test_who_asks_again_begins_anew_and_a_delivery_does_not(redis: Redis, ledger: Ledger) -> None:
    for state in DONE:
        ask(redis, ledger, "5", config=CONFIG)
        settle(ledger, "5", state)
        ask(redis, ledger, "5", config=CONFIG, anew=False)
        assert entry(ledger).state == state
        ask(redis, ledger, "5")
        assert (entry(ledger).state, entry(ledger).config) == ("queued", CONFIG)
    settle(ledger, "5", "failed", "why")
    ask(redis, ledger, "5", anew=False)
    assert (entry(ledger).state, entry(ledger).reason) == ("queued", "")


def test_a_task_of_which_no_request_was_made(redis: Redis, ledger: Ledger) -> None:
    ledger.settle("1", [Outcome("5", "", "failed", "its data has no image")])
    assert (entry(ledger).state, entry(ledger).key) == ("failed", "")
    ask(redis, ledger, "5")
    assert entry(ledger).state == "queued"


def test_only_ids_of_label_studio_have_a_place(redis: Redis, ledger: Ledger) -> None:
    strange = ["", "x", "1; drop", "٣", "9" * 19, "\ud800", "-1"]
    ask(redis, ledger, *strange)
    assert ledger.settle("1", [Outcome(task, "", "failed") for task in strange]) == 0
    ask(redis, ledger, "5", project="")
    assert redis.dbsize() == 0


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2"]),
        st.sampled_from(KEYS),
        st.sampled_from(["ask", "deliver", "refuse", *STATES]),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(events=EVENTS)
def test_whatever_happens_each_task_is_in_exactly_one_state(
    redis: Redis, ledger: Ledger, events: list[tuple[str, str, str]]
) -> None:
    redis.flushdb()
    for task, key, event in events:
        if event in ("ask", "deliver"):
            ask(redis, ledger, task, key=key, config=CONFIG, anew=event == "ask")
        elif event == "refuse":
            ledger.settle("1", [Outcome(task, "", "failed", "why")])
        else:
            ledger.settle("1", [Outcome(task, key, event, "why")])  # type: ignore[arg-type]
    known = {task.decode() for task in redis.hkeys(f"{LEDGER_KEY}:1:tasks")}
    places = [
        member.decode()
        for state in STATES
        for member in redis.zrange(f"{LEDGER_KEY}:1:{state}", 0, -1)
    ]
    assert sorted(places) == sorted(known)
    for task in known:
        read = entry(ledger, task)
        assert redis.zscore(f"{LEDGER_KEY}:1:{read.state}", task) == read.changed
    summary = ledger.project("1")
    assert (summary.total if summary else 0) == len(known)


def test_how_a_project_stands(redis: Redis, ledger: Ledger) -> None:
    assert ledger.project("1") is None
    ask(redis, ledger, *map(str, range(1, 11)))
    for task in ("1", "2", "3"):
        settle(ledger, task, "delivered")
    settle(ledger, "4", "answered")
    settle(ledger, "5", "failed")
    now = time.time()
    for number, task in enumerate(("1", "2", "3")):
        redis.zadd(f"{LEDGER_KEY}:1:delivered", {task: now - 60 + 20 * number})
    summary = ledger.project("1")
    assert summary is not None
    assert (summary.total, summary.done, summary.open) == (10, 4, 5)
    assert summary.per_minute == pytest.approx(3.0, abs=0.1)
    assert summary.seconds_left == pytest.approx(100.0, abs=5.0)
    ask(redis, ledger, "1", project="2")
    assert [each.project for each in ledger.projects(10)] == ["2", "1"]
    assert ledger.projects(10)[0].per_minute is None


def test_pages_hold_the_newest_change_first(redis: Redis, ledger: Ledger) -> None:
    for task in range(1, 8):
        ask(redis, ledger, str(task))
    for task in ("2", "4"):
        settle(ledger, task, "delivered")
    newest = [each.task_id for each in ledger.entries("1")]
    assert newest == ["4", "2", "7", "6", "5", "3", "1"]
    pages = [ledger.entries("1", start=start, count=3) for start in (0, 3, 6, 9)]
    assert [each.task_id for each in itertools.chain(*pages)] == newest
    assert [each.task_id for each in ledger.entries("1", ("queued",), 1, 2)] == ["6", "5"]
    assert [each.task_id for each in ledger.oldest("1", "queued", 2)] == ["1", "3"]


def test_which_projects_asked(redis: Redis, ledger: Ledger) -> None:
    ask(redis, ledger, "5", "6")
    ask(redis, ledger, "5", key=KEYS[1], project="2")
    settle(ledger, "6", "delivered")
    assert ledger.asked_by(["1", "2"], [("5", KEYS[0]), ("6", KEYS[0])]) == [("1", "5")]


def test_what_ended_is_forgotten_and_what_is_open_is_not(redis: Redis) -> None:
    ledger = Ledger(redis, KEPT)
    ask(redis, ledger, "1", "2", "3")
    settle(ledger, "1", "delivered")
    settle(ledger, "2", "failed", "why")
    long_ago = time.time() - KEPT - 1
    for state, task in (("delivered", "1"), ("failed", "2"), ("queued", "3")):
        redis.zadd(f"{LEDGER_KEY}:1:{state}", {task: long_ago})
    ask(redis, ledger, "4")
    assert {each.task_id for each in ledger.entries("1")} == {"3", "4"}
    assert redis.hlen(f"{LEDGER_KEY}:1:reasons") == 0
    assert all(0 < redis.ttl(key) <= KEPT + 86400 for key in redis.keys(f"{LEDGER_KEY}:1:*"))


def test_a_project_has_a_largest_size(redis: Redis) -> None:
    ledger = Ledger(redis, KEPT, most_tasks=5)
    ask(redis, ledger, "1", "2", "3", "4")
    settle(ledger, "3", "delivered")
    ask(redis, ledger, "5", "6")
    assert {each.task_id for each in ledger.entries("1")} == {"1", "2", "4", "5", "6"}
    ask(redis, ledger, "7")
    assert len(ledger.entries("1")) == 5


def test_there_is_a_largest_number_of_projects(redis: Redis, ledger: Ledger) -> None:
    for project in range(1, MOST_PROJECTS + 3):
        ask(redis, ledger, "5", project=str(project))
    assert redis.zcard(LEDGER_KEY) == MOST_PROJECTS
    assert not redis.keys(f"{LEDGER_KEY}:1:*")
    assert not redis.keys(f"{LEDGER_KEY}:2:*")
    assert ledger.entry("3", "5") is not None


def test_a_batch_is_few_commands_and_a_task_few_bytes(redis: Redis, ledger: Ledger) -> None:
    tasks = [str(task) for task in range(1, 3001)]
    with redis.pipeline(transaction=False) as pipe:
        ledger.ask(pipe, "1", [(task, KEYS[0]) for task in tasks], CONFIG)
        assert len(pipe) == 3
        pipe.execute()
    sizes = [redis.memory_usage(key, samples=0) for key in redis.keys(f"{LEDGER_KEY}*")]
    assert sum(sizes) / len(tasks) < 250
