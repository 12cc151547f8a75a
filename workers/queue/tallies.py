"""What all processes count, kept in the queue's server: the web server shows it at /metrics.

Processes come and go, and Prometheus cannot ask the workers of ten hosts behind NAT; the queue's
server is what they all reach. One hash holds everything: a field is a name with its label, so the
memory is bounded by the table below, whatever strangers send. A job costs one pipeline.
"""

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from redis import Redis, RedisError
from redis.client import Pipeline

from workers.queue import notes

TALLIES_KEY = "dgl:tallies"
OTHER = "other"  # label of what the table does not name
BETWEEN = "|"
SUM = "sum"

# Of stages of a job, and of how long a reply waits for Label Studio.
STAGE_SECONDS = (0.01, 0.05, 0.25, 1.0, 4.0, 15.0, 60.0, 300.0)
AGE_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0, 86400.0)


@dataclass(frozen=True)
class Tally:
    """Something that is counted.

    Attributes:
        help: what, in words.
        label: name of its label.
        values: that the label may have; anything else counts as `OTHER`.
        buckets: upper bounds of a histogram, seconds; empty for a counter.
    """

    help: str
    label: str
    values: tuple[str, ...]
    buckets: tuple[float, ...] = ()


TALLIES: Mapping[str, Tally] = {
    "jobs": Tally(
        "Jobs of segment workers by outcome",
        "outcome",
        ("answered", "failed", "retried", "learnt", "not-learnt"),
    ),
    "job_failures": Tally(
        "Jobs that were given up by cause",
        "cause",
        ("fetch", "image", "input", "model", "time", "worker-died", "queue", "internal"),
    ),
    "windows": Tally("Windows of scenes by outcome", "outcome", ("judged", "failed")),
    "job_stage_seconds": Tally(
        "Seconds of each stage of a job; total is the whole job with fetching its images",
        "stage",
        (
            "total", "fetch", "decode", "text", "proposals", "dense", "masks", "sizes", "crops",
            "all crops", "prototypes", "indices", "map", "match", "cam", "selection", "point",
            "label", "runs", "concepts", "window",
        ),
        STAGE_SECONDS,
    ),
    "deliveries": Tally(
        "Deliveries to Label Studio by outcome of a try",
        "outcome",
        ("stored", "stored-before", "retried", "given-up", "nothing"),
    ),
    "delivery_age_seconds": Tally(
        "Seconds from a stored reply to its prediction in Label Studio", "outcome", ("stored",),
        AGE_SECONDS,
    ),
    "image_cache": Tally(
        "Look-ups of what images cost to compute by where it was", "tier",
        ("memory", "disk", "missed"),
    ),
    "webhook_events": Tally(
        "Events of Label Studio's webhook by outcome", "outcome",
        ("accepted", "held", "ignored", "refused", "unreadable", "lost"),
    ),
    "logins": Tally(
        "Requests that were refused for their login", "outcome", ("refused", "held-off")
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Distribution:
    """A histogram.

    Attributes:
        counts: observations in each bucket of its tally, and in the one above them all.
        total: sum of what was observed, seconds.
    """

    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class Tallies:
    """All that was counted.

    Attributes:
        counters: name → label → how often; with a zero for what never happened.
        histograms: name → label → distribution; only of what happened.
    """

    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    histograms: Mapping[str, Mapping[str, Distribution]] = field(default_factory=dict)


def known(name: str, value: str) -> str:
    """A label's value as it is counted.

    Raises:
        KeyError: no such tally.
    """
    return value if value in TALLIES[name].values else OTHER


def count(redis: Redis | Pipeline, name: str, value: str, times: int = 1) -> None:
    """Count something.

    Args:
        redis: the queue's server, or a pipeline to it.
        name: of `TALLIES`.
        value: of its label.
        times: how often it happened.

    Raises:
        KeyError: no such tally.
        RedisError: the server cannot be reached; see `quietly`.
    """
    redis.hincrby(TALLIES_KEY, BETWEEN.join((name, known(name, value))), times)


def observe(redis: Pipeline, name: str, value: str, seconds: float) -> None:
    """Add an observation to a histogram, in a pipeline.

    Raises:
        KeyError: no such tally.
    """
    label = known(name, value)
    bucket = bisect_left(TALLIES[name].buckets, seconds)
    redis.hincrby(TALLIES_KEY, BETWEEN.join((name, label, str(bucket))), 1)
    redis.hincrbyfloat(TALLIES_KEY, BETWEEN.join((name, label, SUM)), round(max(0.0, seconds), 6))


@contextlib.contextmanager
def quietly(redis: Redis) -> Iterator[Pipeline]:
    """A pipeline for counting, sent at the end; what cannot be counted is no error."""
    with contextlib.suppress(RedisError), redis.pipeline(transaction=False) as pipe:
        yield pipe
        pipe.execute()


def read(redis: Redis) -> Tallies:
    """All that was counted; one round trip."""
    stored = {
        notes.text(name): notes.text(value) for name, value in redis.hgetall(TALLIES_KEY).items()
    }
    counters, histograms = {}, {}
    for name, tally in TALLIES.items():
        labels = (*tally.values, OTHER)
        if tally.buckets:
            kept = {label: _distribution(stored, name, label, tally.buckets) for label in labels}
            histograms[name] = {k: each for k, each in kept.items() if any(each.counts)}
        else:
            counters[name] = {
                label: int(_number(stored, BETWEEN.join((name, label)))) for label in labels
            }
    return Tallies(counters, histograms)


def _distribution(
    stored: Mapping[str, str], name: str, label: str, buckets: Sequence[float]
) -> Distribution:
    fields = [BETWEEN.join((name, label, str(number))) for number in range(len(buckets) + 1)]
    total = _number(stored, BETWEEN.join((name, label, SUM)))
    return Distribution(tuple(int(_number(stored, each)) for each in fields), total)


def _number(stored: Mapping[str, str], name: str) -> float:
    """A number that is kept; 0 for what is none, which only a stranger to the table can write."""
    return max(0.0, notes.number(stored.get(name)))
