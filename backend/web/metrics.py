"""What Prometheus may scrape at /metrics.

Three sources: what this process counts itself, what all processes count in the queue's server
(`workers.queue.tallies`), and how queue and workers stand at the moment. Labels come from tables,
so the number of series does not grow with what strangers send.
"""

import threading
from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend.web.status import State
from workers.queue.tallies import OTHER, TALLIES, Distribution, known

# Up to Label Studio's read time-out of /predict.
SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 100.0)
MOST_WORKERS = 1000  # that are told one by one


class Metrics:
    """Counters of one web process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "dgl_requests", "HTTP requests", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "dgl_request_seconds", "Seconds until the last byte", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.tasks = Counter(
            "dgl_tasks",
            "Tasks in /predict by outcome: answered, queued, failed, refused, duplicate",
            ["outcome"],
            registry=self.registry,
        )
        self._lock = threading.Lock()
        self._counts: Counts[tuple[str, str]] = Counts()

    def count(self, name: str, value: str) -> None:
        """Count something of `TALLIES` that happens in this process.

        Raises:
            KeyError: no such tally.
        """
        with self._lock:
            self._counts[name, known(name, value)] += 1

    def counted(self, name: str, value: str) -> int:
        """How often this process counted something."""
        return self._counts[name, value]

    def expose(self, state: State) -> bytes:
        """All metrics in Prometheus' text format.

        Args:
            state: of the queue and its workers right now.
        """
        now = CollectorRegistry()
        now.register(_Present(state))
        now.register(_Counted(state, dict(self._counts)))
        return generate_latest(self.registry) + generate_latest(now)


class _Present(Collector):
    """How queue and workers stand."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        state = self._state
        yield _gauge(
            "dgl_queue_up", "1 when the queue's server answers", state.segmenters is not None
        )
        yield _gauge(
            "dgl_workers_ready", "Segment workers with a fresh heartbeat", state.segmenters or 0
        )
        yield _gauge(
            "dgl_queue_warnings",
            "Warnings about how the queue's server is set up; the page has them",
            len(state.server.warnings),
        )
        if state.server.memory is not None:
            yield _gauge(
                "dgl_queue_memory_bytes", "Memory of the queue's server", state.server.memory
            )
        if state.server.limit:
            yield _gauge(
                "dgl_queue_memory_limit_bytes", "Its limit (maxmemory)", state.server.limit
            )
        yield from self._queues()
        yield from self._workers()

    def _queues(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("dgl_queue_jobs", "Waiting jobs", labels=["queue"])
        for queue, length in self._state.waiting.items():
            jobs.add_metric([queue], length)
        age = GaugeMetricFamily(
            "dgl_queue_oldest_seconds",
            "Age of the older of the first and the last waiting job; 0 when none waits",
            labels=["queue"],
        )
        for queue, seconds in self._state.oldest.items():
            age.add_metric([queue], seconds)
        given_up = GaugeMetricFamily(
            "dgl_tasks_given_up",
            "Tasks that got no prediction, in any process, by the stage where they ended",
            labels=["stage"],
        )
        for stage, count in self._state.given_up.items():
            given_up.add_metric([stage], count)
        yield from (jobs, age, given_up)

    def _workers(self) -> Iterator[Metric]:
        labels = ["queue", "host", "pid"]
        age = GaugeMetricFamily(
            "dgl_worker_heartbeat_age_seconds", "Since a worker's last sign of life", labels=labels
        )
        memory = GaugeMetricFamily(
            "dgl_worker_resident_memory_bytes", "Resident memory of a worker", labels=labels
        )
        for worker in self._state.workers[:MOST_WORKERS]:
            values = [worker.queue, worker.host, str(worker.pid)]
            age.add_metric(values, worker.age)
            memory.add_metric(values, worker.resident)
        yield from (age, memory)


class _Counted(Collector):
    """What all processes counted in the queue's server, with what this one did by itself."""

    def __init__(self, state: State, own: dict[tuple[str, str], int]) -> None:
        self._tallies = state.tallies
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """Counters and histograms."""
        for name, tally in TALLIES.items():
            if tally.buckets:
                yield self._histogram(name)
            else:
                yield self._counter(name)

    def _counter(self, name: str) -> Metric:
        tally, stored = TALLIES[name], self._tallies.counters.get(name, {})
        family = CounterMetricFamily(f"dgl_{name}", tally.help, labels=[tally.label])
        for value in (*tally.values, OTHER):
            family.add_metric([value], stored.get(value, 0) + self._own.get((name, value), 0))
        return family

    def _histogram(self, name: str) -> Metric:
        tally = TALLIES[name]
        family = HistogramMetricFamily(f"dgl_{name}", tally.help, labels=[tally.label])
        for value, kept in self._tallies.histograms.get(name, {}).items():
            family.add_metric([value], _cumulated(kept, tally.buckets), kept.total)
        return family


def _cumulated(kept: Distribution, buckets: tuple[float, ...]) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: each with all below it."""
    below, bounds = 0, [*map(str, buckets), "+Inf"]
    result: list[tuple[str, float]] = []
    for bound, count in zip(bounds, kept.counts, strict=True):
        below += count
        result.append((bound, below))
    return result


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)
