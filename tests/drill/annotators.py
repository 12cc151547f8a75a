"""What Label Studio and its people ask of the backend meanwhile, as 1.23.2 does it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import requests

from tests.drill.backend import Service

HEALTH_SECONDS, SETUP_SECONDS, PREDICT_SECONDS = 1, 3, 100  # Label Studio's own time-outs
AGAIN_SECONDS = 1.0  # who got an error presses the button again
POINT = {
    "type": "keypointlabels",
    "from_name": "kp",
    "to_name": "image",
    "original_width": 128,
    "original_height": 128,
    "image_rotation": 0,
    "is_positive": True,
    "value": {"x": 50.0, "y": 50.0, "width": 1.0, "keypointlabels": ["building"]},
    "id": "point",
    "origin": "manual",
}

Json = dict[str, Any]


class Annotators:
    """People at Label Studio.

    Args:
        service: the backend.
        xml: the project's label config.
        project: as Label Studio names it to the backend.
        has: whether Label Studio holds a prediction of a version for a task.
        store: stores a prediction in Label Studio.

    Attributes:
        statuses: how often the backend answered with which HTTP status, or not at all.
        clicks: answered and refused ones.
    """

    def __init__(
        self,
        service: Service,
        xml: str,
        project: str,
        has: Callable[[int, str], bool],
        store: Callable[[Json], None],
    ) -> None:
        self.statuses: Counter[str] = Counter()
        self.clicks: Counter[str] = Counter()
        self._service, self._xml, self._project = service, xml, project
        self._has, self._store = has, store

    def version(self) -> str:
        """The model version that the backend reports."""
        setup = self._post("/setup", {"project": self._project, "schema": self._xml}, SETUP_SECONDS)
        assert setup is not None, "the backend was ready a moment ago"
        return str(setup["model_version"])

    def retrieve(self, tasks: Sequence[Json], over: threading.Event) -> None:
        """ "Retrieve predictions" of tasks, again until the backend says that it has them all."""
        while not over.is_set():
            if self._call(tasks) and self._knows(tasks):
                return
            over.wait(AGAIN_SECONDS)

    def open(self, task: Json) -> None:
        """Open one task: what is answered is stored."""
        self._call([task])

    def click(self, task: Json) -> None:
        """Point at something in a task; what is answered is not stored."""
        answer = self._post("/predict", self._body([task], {"result": [POINT]}), PREDICT_SECONDS)
        answered = answer is not None and bool(answer["results"][0].get("result"))
        self.clicks["answered" if answered else "refused"] += 1

    def _call(self, tasks: Sequence[Json]) -> bool:
        """Ask for predictions; whether that could be asked at all."""
        if self._get("/health", HEALTH_SECONDS) is None:
            return False
        setup = self._post("/setup", {"project": self._project, "schema": self._xml}, SETUP_SECONDS)
        if setup is None:
            return False
        version = setup["model_version"]
        wanted = [task for task in tasks if not self._has(task["id"], version)]
        if not wanted:
            return True
        answer = self._post("/predict", self._body(wanted), PREDICT_SECONDS)
        for task, given in zip(wanted, (answer or {}).get("results", ()), strict=False):
            for each in given if isinstance(given, list) else [given]:
                self._store({"task": task["id"], **each})
        return answer is not None

    def _knows(self, tasks: Sequence[Json]) -> bool:
        """Whether the backend has taken all these tasks, as its page shows."""
        number = self._project.partition(".")[0]
        return all(
            self._get(f"/api/projects/{number}/tasks/{task['id']}", SETUP_SECONDS) is not None
            for task in tasks
        )

    def _body(self, tasks: Sequence[Json], context: Json | None = None) -> Json:
        params = {"login": None, "password": None, "context": context}
        body = {"tasks": list(tasks), "project": self._project, "label_config": self._xml}
        return {**body, "params": params}

    def _get(self, path: str, seconds: float) -> Json | None:
        return self._send("GET", path, None, seconds)

    def _post(self, path: str, body: Json, seconds: float) -> Json | None:
        return self._send("POST", path, body, seconds)

    def _send(self, method: str, path: str, body: Json | None, seconds: float) -> Json | None:
        route = path if path.count("/") == 1 else "/api"
        try:
            url = self._service.url + path
            response = requests.request(method, url, json=body, timeout=seconds)
            self.statuses[f"{route} {response.status_code}"] += 1
            return response.json() if response.ok else None
        except requests.RequestException as error:
            self.statuses[f"{route} {type(error).__name__}"] += 1
            return None


def every(
    seconds: float, work: Callable[[int], None], over: threading.Event, name: str
) -> threading.Thread:
    """A thread that works again and again, so many seconds apart, until it is over."""

    def loop() -> None:
        number = 0
        while not over.wait(seconds):
            work(number)
            number += 1

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    return thread


def pause_until(moment: float, over: threading.Event) -> None:
    """Wait for a moment of the monotonic clock, or until it is over."""
    over.wait(max(0.0, moment - time.monotonic()))
