"""The stand-in for Label Studio, with images, and able to go away and come back."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from flask import Response, abort

from tests.backend.studio.fake_studio import FakeStudio, application
from tests.loopback import LOOPBACK, serving

Json = dict[str, Any]


class DrillStudio:
    """Label Studio as the backend and its people see it.

    Attributes:
        fake: what it holds.
        url: where it listens, also after it was away.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each call, else
        self.fake = FakeStudio()
        self.fake.tasks.clear()
        self._files: dict[str, bytes] = {}
        self._app = application(self.fake)
        self._app.add_url_rule("/data/<path:path>", view_func=self._file)
        self._port = 0

    @property
    def url(self) -> str:
        return self.fake.url

    def add(self, task: int, reference: str, file: bytes) -> None:
        """Import a task with one image."""
        self.fake.tasks.add(task)
        self.fake.images[task] = reference
        self._files[reference] = file

    def task(self, number: int) -> Json:
        """A task as it is sent to a backend."""
        image = {"image": self.fake.images[number]}
        return {"id": number, "data": image, "annotations": [], "predictions": [], "project": 1}

    def has(self, task: int, version: str) -> bool:
        """Whether it holds a prediction of a version for a task."""
        return bool(self.fake.held(task, version))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Serve on loopback, always at the same port, for the length of a `with` block."""
        with serving(self._app, self._port) as self._port:
            self.fake.url = f"http://{LOOPBACK}:{self._port}"
            yield

    def _file(self, path: str) -> Response:
        data = self._files.get(f"/data/{path}")
        return abort(404) if data is None else Response(data, mimetype="image/png")
