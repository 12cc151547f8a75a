"""The same service as a model class for label-studio-ml's own server.

For those who host several models behind one server of that kind; `dgl-rsis serve` does without it.
Runs with the released 1.0.9 and with 2.x, which is published as source only. They differ in what
`__init__` takes, so it is passed on as it comes; `predict` fits both. 1.x reports a version of its
own in /setup, so there Label Studio does not recognise what is predicted already: prefer 2.x.
With 1.x nothing can be pushed either: its projects do not prove to be connected (decision 55).
Importing label_studio_ml loads torch where torch is installed, so nothing else here imports this
module.

Settings come from the environment, as for `dgl-rsis serve`; REDIS_URL is needed.
"""

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.web.metrics import Metrics
from backend.web.service import Answer, PredictionService, open_client
from backend.web.settings import Settings
from backend.web.webhook import NO_KEY, EventError, read

LOG = logging.getLogger(__name__)


class DglRsis(LabelStudioMLBase):  # type: ignore[misc]  # label_studio_ml has no types
    """Pre-labels remote-sensing images with class masks, through the queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """The server builds one for each request (2.x) or project (1.x); no model is loaded."""
        kwargs.pop("access_token", None)  # 1.x would keep Label Studio's token
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Called by the constructor of 2.x: store the version that its /setup reports."""
        project = str(getattr(self, "project_id", ""))
        self.set("model_version", _service().model_version(project))

    def predict(
        self, tasks: Sequence[dict[str, Any]], context: Any = None, **kwargs: Any
    ) -> list[Answer]:
        """One prediction a task, in order; `[]` for a task that is pending or failed.

        Args:
            tasks: as Label Studio sends them.
            context: of an interactive call; None otherwise.
            kwargs: a login and password among them; never read.
        """
        project = str(getattr(self, "project_id", ""))
        return list(_service().predict(project, self.label_config or "", tasks, context))

    def fit(self, event: Any = None, data: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Have it looked up in Label Studio what became of an annotation, and learnt from.

        Nothing is trained: the method is training-free, and what a person corrected becomes
        examples. That server does not pass the header by which the webhook proves where it comes
        from, so ids alone are taken, of a project that is connected (decisions 54, 55, 69). 1.x
        calls this for trainings of its own, with annotations: there is nothing to do.

        Args:
            event: Label Studio's name of it (2.x).
            data: what Label Studio posted, without that name (2.x).
            kwargs: id of the job and others; never read.
        """
        service, settings = _service(), Settings()
        if not (isinstance(event, str) and isinstance(data, dict)):
            return {}
        if not (settings.learn and settings.delivers):
            return {"learning": NO_KEY}
        named = data.get("project")
        project = named.get("id") if isinstance(named, dict) else named
        if not isinstance(project, int) or isinstance(project, bool):
            return {}
        try:
            found = read(
                json.dumps({"action": event, **data}).encode(), str(project), complete=True
            )
        except EventError as error:
            LOG.warning("project %d: nothing is learnt from an event: %s", project, error)
            return {}
        if found is not None:
            service.client.corrections.notice(replace(found, proven=False))
        return {}


@functools.cache
def _service() -> PredictionService:
    """One for the process: the model class is built anew for each request."""
    settings = Settings()
    return PredictionService(open_client(settings), settings, Metrics())
