"""The tasks of a Label Studio project with all that is marked on them, by its API."""

import json
import logging
import time
from collections.abc import Iterator

from backend.studio import shapes
from backend.studio.client import StudioClient, StudioError, behind
from dgl_rsis.types import Json

LOG = logging.getLogger(__name__)

WAITS = (1.0, 5.0, 20.0, 40.0)  # seconds before the next try of what may succeed later
PAGE = 20  # tasks in one call: with their masks, tens of megabytes at worst


class StudioSource(StudioClient):
    """A client that reads whole projects."""

    def tasks_with_masks(self, project_id: int) -> Iterator[Json]:
        """All tasks with their annotations and predictions, in the order of their ids.

        Each page begins behind the last id, so that tasks that come or go meanwhile move nothing.
        The list of the data manager is used, since asking for a single task would make Label Studio
        ask its ML backend for a prediction.

        Args:
            project_id: Label Studio's id of the project.

        Raises:
            StudioError: unreachable or refused; an unknown project is refused.
        """
        last = 0
        while True:
            tasks = self._patient_page(project_id, last)
            yield from tasks
            newest = max((int(task["id"]) for task in tasks), default=last)
            if newest <= last:
                return
            last = newest

    def _patient_page(self, project_id: int, last: int) -> list[Json]:
        """A page; a large project is not given up because of one failed call.

        A refusal is worth a wait only where Label Studio gave a page before.
        """
        for wait in WAITS:
            try:
                return self._page(project_id, last)
            except StudioError as error:
                if not (error.retry or (last and error.may_pass)):
                    raise
                LOG.warning("%s; trying again in %g s", error, wait)
                time.sleep(wait)
        return self._page(project_id, last)

    def _page(self, project_id: int, last: int) -> list[Json]:
        asked = {"project": project_id, "page": 1, "page_size": PAGE, "fields": "all"}
        query = json.dumps(behind(last))
        page = self._call("GET", "/api/tasks/", shapes.TASKS, params={**asked, "query": query})
        return list(page["tasks"])
