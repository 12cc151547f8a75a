"""A small Label Studio: the calls that deliveries make, as 1.23.2 was seen to answer them.

It can be told to be slow, to be away for a while, to store without saying so or after its client
has gone; and it remembers when it was called for what.
"""

import base64
import json
import logging
import operator
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from flask import Flask, Response, abort, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from redis import Redis

from tests.loopback import serving
from workers.queue.client import SegmentClient

OURS = "dgl-rsis-test"
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"
# header.payload.signature; the payload is {"token_type":"refresh","exp":4102444800}.
PERSONAL_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6NDEwMjQ0NDgwMH0.c2lnbmF0dXJl"
)


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        at: when it came, seconds since the epoch.
        method: of HTTP.
        path: of the address.
        task: that a prediction was posted for; 0 for another call.
    """

    at: float
    method: str
    path: str
    task: int = 0


@dataclass
class FakeStudio:
    """What it holds, and how it misbehaves.

    Attributes:
        url: where it listens.
        tasks: ids of existing tasks; all in project 1.
        foreign: ids of tasks of project 2, which has no backend.
        images: by task id, where a task's image is not the usual one.
        label_config: of project 1.
        shown: its `model_version`.
        uses: "Use predictions to prelabel tasks" is on.
        backends: connected to it, as Label Studio describes them.
        answers: address of a backend → what it says of its versions, or a status other than 200.
        webhooks: of project 1.
        forbids: changes of the project and of its backends are answered with 403.
        history: what was shown after each change of that.
        predictions: stored, in order.
        annotations: stored, in order.
        calls: method and path of every call, tokens excluded.
        troubles: HTTP statuses to answer with instead, one a call, the first first.
        record: the same with their time.
        outage: status to answer with instead, and until when, monotonic; as `troubles` otherwise.
        instead: the body of every answer, with status 200; None for what belongs there.
        lose_answers: store what is posted, then answer 502: a proxy's time-out.
        delay: seconds before each answer.
        answers_late: seconds between reading a task's predictions and telling them.
        held_back: the next predictions that are posted are stored when these are set.
        issued: number of access tokens given out.
        withdrawn: how many of them, the oldest first, are no longer taken.
    """

    url: str = ""
    tasks: set[int] = field(default_factory=lambda: {1, 2, 3})
    foreign: set[int] = field(default_factory=lambda: {77})
    images: dict[int, str] = field(default_factory=dict)
    label_config: str = "<View/>"
    shown: str = ""
    uses: bool = True
    backends: list[dict[str, Any]] = field(default_factory=list)
    answers: Callable[[str], list[str] | int] = field(default=lambda url: _versions_at(url))
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    forbids: bool = False
    history: list[str] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    troubles: list[int] = field(default_factory=list)
    record: list[Call] = field(default_factory=list)
    outage: tuple[int, float] = (0, 0.0)
    instead: bytes | None = None
    lose_answers: bool = False
    delay: float = 0.0
    answers_late: float = 0.0
    held_back: list[threading.Event] = field(default_factory=list)
    issued: int = 0
    withdrawn: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_away(self, status: int, seconds: float) -> None:
        """Answer everything with a status for a while; 200 is a page instead of JSON."""
        self.outage = (status, time.monotonic() + seconds)

    def posted(self) -> dict[int, list[float]]:
        """Task → when predictions were posted for it."""
        times: dict[int, list[float]] = {}
        for call in self.record:
            if call.task:
                times.setdefault(call.task, []).append(call.at)
        return times

    def held(self, task: int, version: str) -> list[dict[str, Any]]:
        """Predictions of a task and a version, in the order in which they were stored."""
        every = [*self.predictions]
        return [p for p in every if (p["task"], p["model_version"]) == (task, version)]

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Store one prediction."""
        self.check(row)
        with self.lock:
            number = 1 + max((p["id"] for p in self.predictions), default=0)
            stored = {"id": number, "project": 1, **row}
            self.predictions.append(stored)
        return stored

    def check(self, row: dict[str, Any]) -> None:
        """Refuse a prediction of a task that does not exist."""
        if row["task"] not in self.tasks | self.foreign:
            reason = {"task": [f'Invalid pk "{row["task"]}" - object does not exist.']}
            abort(_problem(400, "Validation error", validation_errors=reason))

    def listed(self, task: int) -> dict[str, Any]:
        """One task as the data manager lists it."""
        image = self.images.get(task, f"/data/upload/1/t{task}.png")
        versions = {p["model_version"] for p in self.predictions if p["task"] == task}
        listed = {"predictions_model_versions": ",".join(sorted(versions))} if versions else {}
        submitted = sum(a["task"] == task for a in self.annotations)
        counts = {"total_annotations": submitted, "predictions": []}
        return {"id": task, "data": {"image": image}, **counts, **listed}

    def connect(self, title: str, model_version: str, url: str = "http://b:9090") -> dict[str, Any]:
        """Connect a backend, with a webhook of its own; the first one is shown."""
        backend = {"id": len(self.backends) + 1, "title": title, "url": url}
        self.backends.append({**backend, "model_version": model_version, "auth_method": "NONE"})
        self.shown = self.shown or title
        self.hook(f"{url}/webhook")
        return self.backends[-1]

    def hook(self, url: str, **values: Any) -> dict[str, Any]:
        """Add a webhook to project 1."""
        webhook = {"id": len(self.webhooks) + 1, "url": url, "headers": {}, "is_active": True}
        self.webhooks.append(webhook | {"actions": []} | values)
        return self.webhooks[-1]

    def show(self, version: str) -> None:
        """What the project shows from now on."""
        self.shown = version
        self.history.append(version)

    def column(self) -> dict[int, bool]:
        """Task → whether the data manager's column has a score for it."""
        held = {p["task"] for p in self.predictions if p["model_version"] == self.shown}
        return {task: task in held for task in self.tasks}


@contextmanager
def fake_studio(port: int = 0, certificate: tuple[str, str] | None = None) -> Iterator[FakeStudio]:
    """Serve on loopback while the context lasts; `port` 0 takes a free one.

    With files of a certificate and its key it serves HTTPS.
    """
    studio = FakeStudio()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each call, else
    with serving(application(studio), port, certificate) as port:
        studio.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        yield studio


def lead_here(studio: FakeStudio, redis: Redis, xml: str = "<View/>") -> None:
    """Have project 1 list a backend that leads to this queue."""
    identity = SegmentClient(redis).identity
    studio.answers = lambda _url: [OURS, identity.challenged()]
    studio.connect("DGL-RSIS", OURS)
    studio.label_config = xml


def application(studio: FakeStudio) -> Flask:
    app = Flask(__name__)
    _check_tokens(app, studio)
    _keep_predictions(app, studio)
    _look_up(app, studio)
    _list_tasks(app, studio)
    _choose_versions(app, studio)
    _ask_backends(app, studio)
    _keep_webhooks(app, studio)
    return app


def _check_tokens(app: Flask, studio: FakeStudio) -> None:
    @app.before_request
    def check() -> ResponseReturnValue | None:
        studio.calls.append(f"{request.method} {request.path}")
        posts = (request.method, request.path) == ("POST", "/api/predictions/")
        task = int(request.get_json()["task"]) if posts else 0
        studio.record.append(Call(time.time(), request.method, request.path, task))
        if request.path.startswith("/api/token/refresh"):
            return None
        time.sleep(studio.delay)
        if time.monotonic() < studio.outage[1]:
            return _trouble(studio.outage[0])
        if request.headers.get("Authorization") not in _accepted(studio):
            return _problem(401, "Invalid token.")
        if studio.troubles:
            return _trouble(studio.troubles.pop(0))
        if studio.instead is not None:
            return Response(studio.instead, mimetype="application/json")
        return None

    @app.post("/api/token/refresh/", strict_slashes=False)
    def refresh() -> ResponseReturnValue:
        if request.get_json() != {"refresh": PERSONAL_TOKEN}:
            return _problem(401, "Token is invalid")
        studio.issued += 1
        return jsonify(access=_access_token(studio.issued))

    @app.get("/api/current-user/whoami")
    def whoami() -> ResponseReturnValue:
        return jsonify(id=1, username="somebody")


def _keep_predictions(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/predictions/")
    def predictions() -> ResponseReturnValue:
        task = request.args.get("task", type=int)
        if task not in studio.tasks:
            return _problem(400, "Validation error", validation_errors={"task": ["no choice"]})
        held = [p for p in reversed(studio.predictions) if p["task"] == task]
        time.sleep(studio.answers_late)
        return jsonify(held)

    @app.post("/api/predictions/")
    def create() -> ResponseReturnValue:
        row = request.get_json()
        if studio.held_back:
            studio.held_back.pop(0).wait(60)
        stored = studio.add(row)
        return _problem(502, "") if studio.lose_answers else (jsonify(stored), 201)

    @app.delete("/api/predictions/<int:number>/")
    def delete(number: int) -> ResponseReturnValue:
        with studio.lock:
            left = [p for p in studio.predictions if p["id"] != number]
            if len(left) == len(studio.predictions):
                return _problem(404, "No Prediction matches the given query.")
            studio.predictions[:] = left
        return "", 204

    @app.post("/api/projects/1/import/predictions")
    def import_predictions() -> ResponseReturnValue:
        rows = request.get_json()
        for row in rows:  # all or none
            studio.check(row)
        stored = [studio.add(row) for row in rows]
        return _problem(502, "") if studio.lose_answers else (jsonify(created=len(stored)), 201)


def _look_up(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/predictions/<int:number>/")
    def prediction(number: int) -> ResponseReturnValue:
        return _one_of(studio.predictions, number)

    @app.get("/api/annotations/<int:number>/")
    def annotation(number: int) -> ResponseReturnValue:
        return _one_of(studio.annotations, number)

    @app.get("/api/tasks/<int:task>/annotations/")
    def annotations(task: int) -> ResponseReturnValue:
        if task not in studio.tasks:
            return _problem(404, "No Task matches the given query.")
        return jsonify([a for a in reversed(studio.annotations) if a["task"] == task])


def _list_tasks(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/version")
    def version() -> ResponseReturnValue:
        return jsonify({"release": "1.23.2", "label-studio-os-package": {"version": "1.23.2"}})

    @app.get("/api/projects/")
    def projects() -> ResponseReturnValue:
        listed = [{"id": number, "title": "a project"} for number in (2, 1)]
        return jsonify(results=listed[: request.args.get("page_size", type=int)], count=2)

    @app.get("/api/projects/<int:project>/")
    def project(project: int) -> ResponseReturnValue:
        if project not in (1, 2):
            return _problem(404, "No Project matches the given query.")
        described = {"id": project, "title": "a project", "label_config": studio.label_config}
        chosen = {"model_version": studio.shown, "show_collab_predictions": studio.uses}
        return jsonify(**described, **chosen, task_number=len(studio.tasks))

    @app.get("/api/tasks/")
    def tasks() -> ResponseReturnValue:
        held = {"1": studio.tasks, "2": studio.foreign}.get(request.args["project"])
        if held is None:
            return _problem(404, "No Project matches the given query.")
        query, wanted = json.loads(request.args["query"]), sorted(held)
        for rule in query.get("filters", {}).get("items", ()):
            wanted = [task for task in wanted if _passes(studio.listed(task), rule)]
        if "selectedItems" in query:
            wanted = [task for task in wanted if task in query["selectedItems"]["included"]]
        page = wanted[: request.args.get("page_size", type=int)]
        return jsonify(tasks=[studio.listed(task) for task in page], total=len(wanted))


def _choose_versions(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/projects/1/model-versions/")
    def versions() -> ResponseReturnValue:
        assert request.args["extended"] == request.args["include_live_models"] == "true"
        counts = Counter(p["model_version"] for p in studio.predictions)
        static = [{"model_version": name, "count": count} for name, count in counts.items()]
        return jsonify(static=static, live=studio.backends)

    @app.patch("/api/projects/1/")
    def choose() -> ResponseReturnValue:
        if studio.forbids:
            return _problem(403, "You do not have permission to perform this action.")
        version = request.get_json()["model_version"]
        known = {p["model_version"] for p in studio.predictions}
        if version not in known | {backend["title"] for backend in studio.backends}:
            reason = {"model_version": ["Model version doesn't exist"]}
            return _problem(400, "Validation error", validation_errors=reason)
        studio.show(version)
        return jsonify(id=1)

    @app.patch("/api/ml/<int:number>")
    def rename(number: int) -> ResponseReturnValue:
        if studio.forbids:
            return _problem(403, "You do not have permission to perform this action.")
        body, backend = request.get_json(), studio.backends[number - 1]
        assert body["url"] == backend["url"]  # Label Studio calls it with what it is sent
        assert body["project"] == 1
        if backend["auth_method"] == "BASIC_AUTH":
            assert (body["basic_auth_user"], body["basic_auth_pass"]) == ("me", "")
        backend |= {name: body[name] for name in ("is_interactive",) if name in body}
        before, backend["title"] = backend["title"], body["title"]
        if studio.shown == before:
            studio.show(body["title"])
        return jsonify(backend)


def _ask_backends(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/projects/2/model-versions/")
    def no_versions() -> ResponseReturnValue:
        return jsonify(static=[], live=[])

    @app.post("/api/ml/")
    def connect() -> ResponseReturnValue:
        if studio.forbids:
            return _problem(403, "URL resolves to a reserved network address")
        backend = studio.connect(request.get_json()["title"], "", request.get_json()["url"])
        backend |= request.get_json()
        return jsonify(backend), 201

    @app.get("/api/ml/<int:number>/versions")
    def asked(number: int) -> ResponseReturnValue:
        backend = studio.backends[number - 1]
        told = studio.answers(backend["url"])
        if told == 404:
            message = "Upgrade your ML backend version to latest."
            return jsonify(versions=[backend["model_version"]], message=message)
        if isinstance(told, int):
            return jsonify(error="it does not answer"), told
        return jsonify(versions=told)


def _keep_webhooks(app: Flask, studio: FakeStudio) -> None:
    @app.get("/api/webhooks/")
    def webhooks() -> ResponseReturnValue:
        return jsonify(studio.webhooks if request.args["project"] == "1" else [])

    @app.patch("/api/webhooks/<int:number>/")
    def change(number: int) -> ResponseReturnValue:
        if studio.forbids:
            return _problem(403, "You do not have permission to perform this action.")
        # As Label Studio does, where a call without actions takes all away.
        changed = {"actions": []} | request.get_json()
        studio.webhooks[number - 1] |= changed
        return jsonify(studio.webhooks[number - 1])


def _one_of(rows: list[dict[str, Any]], number: int) -> ResponseReturnValue:
    found = [row for row in rows if row["id"] == number]
    return jsonify(found[0]) if found else _problem(404, "No such thing matches the given query.")


def _versions_at(url: str) -> list[str] | int:
    """What a backend on loopback says of its versions, or the status of that."""
    if not url.startswith("http://127.0.0.1:"):
        return 500
    try:
        answer = requests.get(f"{url}/versions", timeout=3)
    except requests.RequestException:
        return 500
    return list(answer.json()["versions"]) if answer.ok else answer.status_code


def _passes(task: dict[str, Any], rule: dict[str, Any]) -> bool:
    """Whether a listed task is one that a filter wants."""
    held = task[rule["filter"].removeprefix("filter:tasks:")]
    compare = {"greater": operator.gt, "equal": operator.eq}[rule["operator"]]
    return bool(compare(held, rule["value"]))


def _access_token(number: int) -> str:
    """A JWT without a valid signature; Label Studio's are good for 300 s."""
    claims = {"token_type": "access", "exp": int(time.time()) // 3600 * 3600 + 7200, "jti": number}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().strip("=") for p in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def _accepted(studio: FakeStudio) -> set[str]:
    access = [_access_token(number + 1) for number in range(studio.withdrawn, studio.issued)]
    return {f"Token {LEGACY_TOKEN}", *(f"Bearer {token}" for token in access)}


def _trouble(status: int) -> ResponseReturnValue:
    if 300 <= status < 400:
        return redirect("https://elsewhere.example/api/", code=status)
    if status == 200:
        return "<html>maintenance</html>"
    return _problem(status, f"trouble {status}")


def _problem(status: int, detail: str, **more: Any) -> Response:
    answer = jsonify(status_code=status, version="1.23.2", detail=detail, exc_info=None, **more)
    answer.status_code = status
    return answer
