"""The routes: a model is built for each request, and an error is a 500 with its traceback."""

import traceback
from typing import Any

from flask import Flask, Response, jsonify, request

EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")
_server = Flask("label_studio_ml")
_login: list[str | None] = []
_class: list[Any] = []


def init_app(
    model_class: Any, basic_auth_user: str | None = None, basic_auth_pass: str | None = None
) -> Flask:
    _class[:], _login[:] = [model_class], [basic_auth_user, basic_auth_pass]
    return _server


def _model(project: str, config: str | None) -> Any:
    return _class[0](project_id=project, label_config=config)


@_server.before_request
def _check() -> Response | None:
    user, password = _login
    given = request.authorization
    if user and (given is None or (given.username, given.password) != (user, password)):
        return Response("Unauthorized", 401)
    return None


@_server.errorhandler(Exception)
def _broken(error: Exception) -> tuple[str, int]:
    return traceback.format_exc(), 500


@_server.get("/health")
@_server.get("/")
def _health() -> Response:
    return jsonify(status="UP", model_class=_class[0].__name__)


@_server.post("/setup")
def _setup() -> Response:
    body = request.get_json()
    model = _model(str(body["project"]).split(".")[0], body["schema"])
    return jsonify(model_version=str(model.model_version))


@_server.post("/predict")
def _predict() -> Response:
    body = request.get_json()
    params = body.get("params") or {}
    context = params.pop("context", {})
    model = _model(str(body["project"]).split(".")[0], body["label_config"])
    return jsonify(results=model.predict(body["tasks"], context=context, **params) or [])


@_server.post("/webhook")
def _webhook() -> tuple[Response, int]:
    data = request.get_json()
    event = data.pop("action")
    if event not in EVENTS:
        return jsonify(status="Unknown event"), 200
    project = str(data["project"]["id"])
    model = _model(project, data["project"].get("label_config"))
    result = model.process_event(event, data, "job", data.pop("extra_params", {}))
    return jsonify(result=result, status="ok"), 201
