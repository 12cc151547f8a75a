"""Requests that nobody would send, made from docs/openapi.yaml against the real application.

python -m tests.fuzz.http --requests 10000

For each path both what the schema allows and what it forbids. No answer may be a fault of the
server, look otherwise than the schema says, or show a traceback or a secret.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from redis import Redis
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.worker_end import PROJECT, XML, reply, task
from tests.paths import ROOT
from workers.messages import SEGMENT_QUEUE
from workers.processes.embedded import embedded_server
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import Announcement, Heartbeat, announce, beat
from workers.queue.replies import store_reply

CANARIES = ("canary-of-the-login", "canary-of-label-studio", "Traceback (most recent call last)")
MODEL = "dgl-rsis-0.1.0-fuzz"
MOST_EXAMPLES = 50  # of one path in a row
# What a schema cannot say is no fault: what a form of another process wants is led back, a page
# number that is none is the first, and Label Studio's calls take more than they are told to.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def application(redis: Redis) -> Flask:
    """The real one, with some tasks in its queue, answered and not."""
    announce(redis, Announcement(MODEL, "cpu", 0.0))
    beat(redis, Heartbeat("w", "elsewhere", 1, SEGMENT_QUEUE, "cpu", "", 0.0, 0.0, MODEL))
    redis.expire("dgl:worker:w", 10**6)  # a worker that is always well: 503 would be a fault
    chosen = Settings.model_validate(
        {
            "single_task_seconds": 0.0,
            "batch_seconds": 0.0,
            "label_studio_api_key": CANARIES[1],
        }
    )
    app = create_app(chosen, SegmentClient(redis))
    body = {"label_config": XML, "project": PROJECT, "params": {}}
    client = app.test_client()
    client.post("/predict", json=body | {"tasks": [task(number) for number in range(1, 5)]})
    for name in redis.scan_iter("rq:job:segment-*", count=100):
        store_reply(redis, name.decode().rpartition("-")[2], reply(), 3600)
        break
    return app


class Fuzzer:
    """Sends made-up requests to an application, and looks at what comes back.

    Args:
        app: the application.
        requests: how many, at least.
        number: the same number gives the same requests.
        away: whether the application's queue is: then, and only then, 503 is an answer.
    """

    def __init__(self, app: Flask, requests: int, number: int = 1, *, away: bool = False) -> None:
        self.sent: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self._app = app
        self._number = number
        self._schema: Any = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")
        self._schema.app = app
        operations = [each.ok() for each in self._schema.get_all_operations()]
        self._operations = operations
        self._requests = requests
        self._examples = max(1, min(MOST_EXAMPLES, requests // (2 * len(operations))))
        self._away = away
        self._checks = CHECKS.get_by_names(CHECKED)
        self._checks_of_503 = CHECKS.get_by_names(CHECKED[1:])

    def run(self) -> None:
        """Raise at the first answer that is not as it must be."""
        while self.sent.total() < self._requests:
            for operation in self._operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    self._try(operation, mode)
            self._number += 1

    def _try(self, operation: Any, mode: GenerationMode) -> None:
        @seed(self._number)
        @settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def one(case: Any) -> None:
            self._send(case)

        try:
            one()
        except Exception as error:
            if "Unsatisfiable" not in type(error).__name__:  # nothing is forbidden there
                raise

    def _send(self, case: Any) -> None:
        _sensible(case.body, case.path_parameters)
        for wanted in ("application/json", "text/html"):
            response = case.call(headers={"Accept": wanted})
            self.sent[f"{case.method} {case.path}"] += 1
            self.statuses[response.status_code] += 1
            excused = self._away and response.status_code == 503
            checks = self._checks_of_503 if excused else self._checks
            case.validate_response(response, checks=checks)
            told = response.text + json.dumps({k: str(v) for k, v in response.headers.items()})
            for canary in CANARIES:
                assert canary not in told, f"{canary!r} in the answer of {case.path}"
            if wanted == "application/json" and not case.path.startswith("/projects"):
                break


def _sensible(body: Any, place: Any) -> None:
    """Some label configs and ids are real ones: else no call would come any further than these."""
    for name in ("project", "task"):
        if isinstance(place, dict) and str(place.get(name, "x"))[-1:] in "02468":
            place[name] = "1"
    for name in ("label_config", "schema"):
        if isinstance(body, dict) and isinstance(body.get(name), str) and len(body[name]) % 2:
            body[name] = XML


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given_options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_server(Path(folder)) as url,
        Redis.from_url(url) as redis,
    ):
        fuzzer = Fuzzer(application(redis), given_options.requests, given_options.seed)
        fuzzer.run()
        sys.stdout.write(
            f"{fuzzer.sent.total()} requests: {dict(sorted(fuzzer.statuses.items()))}\n"
        )


if __name__ == "__main__":
    main()
