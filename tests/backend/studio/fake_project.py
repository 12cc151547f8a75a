"""A Label Studio with one project whose tasks can be listed with all that is marked on them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue

from dgl_rsis.types import Json
from tests.backend.studio.fake_studio import LEGACY_TOKEN
from tests.loopback import serving


@contextmanager
def fake_project(
    tasks: Sequence[Json], label_config: str, troubles: Sequence[int] = ()
) -> Iterator[str]:
    """Serve project 1 on loopback while the context lasts; yields the address.

    The first calls for tasks are answered with `troubles`, statuses of HTTP.
    """
    with serving(_app(tasks, label_config, [*troubles])) as port:
        yield f"http://127.0.0.1:{port}"


def _app(every: Sequence[Json], label_config: str, troubles: list[int]) -> Flask:
    app = Flask(__name__)

    @app.before_request
    def check() -> ResponseReturnValue | None:
        known = request.headers.get("Authorization") == f"Token {LEGACY_TOKEN}"
        return None if known else _problem(401, "Invalid token.")

    @app.get("/api/projects/<int:project>/")
    def project(project: int) -> ResponseReturnValue:
        if project != 1:
            return _problem(404, "No Project matches the given query.")
        return jsonify(id=1, title="a project", label_config=label_config)

    @app.get("/api/tasks/")
    def tasks() -> ResponseReturnValue:
        if troubles:
            return _problem(troubles.pop(0), "trouble")
        asked = request.args
        rules = json.loads(asked["query"])
        assert (asked["project"], asked["page"], rules["ordering"]) == ("1", "1", ["tasks:id"])
        (rule,) = rules["filters"]["items"]
        assert (rule["filter"], rule["operator"]) == ("filter:tasks:id", "greater")
        left = sorted((t for t in every if t["id"] > rule["value"]), key=lambda t: int(t["id"]))
        page = left[: int(asked["page_size"])]
        if asked.get("fields") != "all":
            page = [{**task, "annotations": [], "predictions": []} for task in page]
        return jsonify(tasks=page, total=len(left))

    return app


def _problem(status: int, detail: str) -> Response:
    answer = jsonify(status_code=status, detail=detail)
    answer.status_code = status
    return answer
