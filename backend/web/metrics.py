"""What Prometheus may scrape at /metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Up to Label Studio's read time-out of /predict.
SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 100.0)


class Metrics:
    """Counters of one web process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.queue_up = Gauge("dgl_queue_up", "1 when Redis answers", registry=self.registry)
        self.workers = Gauge(
            "dgl_workers_ready", "Segment workers with a fresh heartbeat", registry=self.registry
        )
        self.jobs = Gauge("dgl_queue_jobs", "Waiting jobs", ["queue"], registry=self.registry)
        # Counted in Redis, for all processes; a gauge can be set to what stands there.
        self.given_up = Gauge(
            "dgl_tasks_given_up",
            "Tasks that got no prediction, in any process, by the stage where they ended",
            ["stage"],
            registry=self.registry,
        )

    def expose(
        self, workers: int | None, jobs: Mapping[str, int], given_up: Mapping[str, int]
    ) -> bytes:
        """All metrics in Prometheus' text format.

        Args:
            workers: fresh segment workers; None when Redis does not answer.
            jobs: waiting jobs by queue.
            given_up: tasks that got no prediction by stage.
        """
        self.queue_up.set(workers is not None)
        self.workers.set(workers or 0)
        for queue, length in jobs.items():
            self.jobs.labels(queue).set(length)
        for stage, count in given_up.items():
            self.given_up.labels(stage).set(count)
        return generate_latest(self.registry)
