"""The ML-backend protocol of Label Studio 1.23 over HTTP.

Label Studio gives /health 1 s, /setup 3 s, /predict 100 s and the webhook 1 s, and calls /health
and /setup before each batch: nothing here waits but /predict. It sends an access token to /setup
and a login and password to /predict; only the fields named below are read, so these end at the
door. label_studio_sdk is not imported here: it would cost 90 MiB and 1.5 s; it is the tests'
oracle instead.
"""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST

from backend.web import actions, bodies, errors, login, parts, routes
from backend.web.board import Board
from backend.web.bodies import PredictBody, SetupBody
from backend.web.forgery import FormToken
from backend.web.learning import Learning
from backend.web.metrics import Metrics
from backend.web.pages import FOLDER, prefers_html
from backend.web.parts import Parts
from backend.web.reaching import StudioWatch
from backend.web.service import Answer, PredictionService, open_client, studio_of
from backend.web.settings import Settings
from backend.web.webhook import Corrections
from workers.queue.client import SegmentClient
from workers.queue.control import Control

LOG = logging.getLogger(__name__)

MODEL_CLASS = "DglRsis"
WATCH_SECONDS = 5.0  # for Label Studio to say that it is back
PIECE = 32 * 1024  # characters of an answer that are written at a time


def create_app(settings: Settings, client: SegmentClient | None = None) -> Flask:
    """The web application.

    Args:
        settings: of the web process.
        client: the queue; by default that of `settings.redis_url`. No connection is made yet.

    Raises:
        ValueError: neither a client nor `settings.redis_url`.
    """
    client = client or open_client(settings)
    app = Flask("backend", static_folder=None, template_folder=FOLDER)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    metrics = Metrics()
    control = Control(client, delivers=settings.delivers)
    parts.install(
        app,
        Parts(
            service=PredictionService(client, settings, metrics),
            corrections=Corrections(client, settings, metrics),
            metrics=metrics,
            board=Board(client, control, settings),
            control=control,
            learning=Learning(client),
            token=FormToken(),
            watch=StudioWatch(client, studio_of(settings, WATCH_SECONDS)),
            warning=settings.warning,
        ),
    )
    errors.install(app)
    app.after_request(_forbid_sniffing)
    _measure(app, metrics)
    login.install(app, settings, metrics.count)
    _add_routes(app)
    routes.install(app)
    actions.install(app)
    return app


def _add_routes(app: Flask) -> None:
    app.add_url_rule("/", view_func=root, methods=["GET"])
    app.add_url_rule("/health", view_func=health, methods=["GET"])
    app.add_url_rule("/setup", view_func=setup, methods=["POST"])
    app.add_url_rule("/predict", view_func=predict, methods=["POST"])
    app.add_url_rule("/webhook", view_func=webhook, methods=["POST"])
    app.add_url_rule("/versions", view_func=versions, methods=["GET"])
    app.add_url_rule("/metrics", view_func=expose_metrics, methods=["GET"])
    app.add_url_rule("/ready", view_func=ready, methods=["GET"])


def root() -> Response | dict[str, str]:
    """The page for a browser; for all others, Label Studio among them, the same as /health."""
    return routes.show_overview() if prefers_html() else health()


def health() -> dict[str, str]:
    """This process answers; says nothing of the queue."""
    return {"status": "UP", "model_class": MODEL_CLASS}


def setup() -> dict[str, str]:
    """The model version, under which Label Studio looks for stored predictions."""
    body = bodies.read(request, SetupBody)
    project, xml = bodies.project_of(body.project), bodies.config_of(body.schema, "schema")
    return {"model_version": parts.current().service.setup(project, xml)}


def predict() -> Response:
    """One answer a task, in order, sent as they come so that a batch never stands in memory."""
    body = bodies.read(request, PredictBody)
    context = bodies.context_of(body)
    tasks = bodies.tasks_of(body, regions=bool(context))
    project, xml = (
        bodies.project_of(body.project),
        bodies.config_of(body.label_config, "label_config"),
    )
    answers = parts.current().service.predict(project, xml, tasks, context)
    return Response(_stream(answers), mimetype="application/json")


def webhook() -> tuple[dict[str, str], int]:
    """Take every event that Label Studio posts, and answer before it is looked at."""
    taken = parts.current().corrections.accept(request)
    return {"status": "accepted" if taken else "ignored"}, 201


def versions() -> dict[str, list[str]]:
    """Versions to choose from in Label Studio: the one that is served.

    While it is asked by ourselves which backend of a project leads here, the proof as well.
    """
    service = parts.current().service
    proof = service.client.identity.challenged()
    return {"versions": [service.model_version(), *([proof] if proof else [])]}


def expose_metrics() -> Response:
    """Prometheus' text format."""
    text = parts.current().metrics.expose(parts.current().state())
    return Response(text, content_type=CONTENT_TYPE_LATEST)


def ready() -> tuple[dict[str, Any], int]:
    """200 when a task would be served now, and its masks delivered where they are to be."""
    state = parts.current().state()
    if state.problem:
        return {"ready": False, "problem": state.problem}, 503
    return {"ready": True, "workers": state.segmenters, "waiting": state.waiting}, 200


def _stream(answers: Iterator[Answer]) -> Iterator[str]:
    """`{"results": […]}` in pieces: one a large answer, since 100,000 small ones cost seconds."""
    held, size = ['{"results":['], 0
    for number, answer in enumerate(answers):
        text = ("," if number else "") + json.dumps(answer, separators=(",", ":"))
        held.append(text)
        size += len(text)
        if size > PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join([*held, "]}"])


def _forbid_sniffing(response: Response) -> Response:
    """Browsers take every answer for what it says it is: names in it come from strangers."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _measure(app: Flask, metrics: Metrics) -> None:
    """Count each request and time it until its last byte."""

    def start() -> None:
        g.started = time.perf_counter()

    def finish(response: Response) -> Response:
        route, started = request.url_rule.rule if request.url_rule else "unknown", g.started
        metrics.requests.labels(route, response.status_code).inc()
        seconds = metrics.seconds.labels(route)
        response.call_on_close(lambda: seconds.observe(time.perf_counter() - started))
        return response

    app.before_request(start)
    app.after_request(finish)
