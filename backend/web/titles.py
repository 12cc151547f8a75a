"""Titles of projects, which Label Studio's calls to a backend do not name."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from backend.studio.client import StudioClient, StudioError
from backend.web.settings import Settings

LOG = logging.getLogger(__name__)

KNOWN_SECONDS = 600.0  # a title may change
UNKNOWN_SECONDS = 30.0
READ_SECONDS = 5.0
MOST_TITLES = 1024


class Titles:
    """Asks Label Studio in the background: no page waits for it.

    Args:
        settings: of the web process; without Label Studio's address and key there are no titles.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[str, float]] = {}  # by project: title, until (monotonic)
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="titles")

    def of(self, project: str) -> str:
        """The title of a project; empty while it is not known."""
        if not self._settings.delivers:
            return ""
        with self._lock:
            title, until = self._known.get(project, ("", 0.0))
            if time.monotonic() >= until:
                self._note(project, title)  # one question at a time
                self._thread.submit(self._ask, project)
        return title

    def _ask(self, project: str) -> None:
        url, key = self._settings.label_studio_url, self._settings.label_studio_api_key
        if url is None or key is None:
            return
        try:
            studio = StudioClient(url, key.get_secret_value(), READ_SECONDS, self._settings.verify)
            title = str(studio.project(int(project)).get("title", ""))
        except StudioError as error:
            LOG.info("the title of project %s is not known: %s", project, error)
            return
        with self._lock:
            self._note(project, title)

    def _note(self, project: str, title: str) -> None:
        self._known.pop(project, None)
        seconds = KNOWN_SECONDS if title else UNKNOWN_SECONDS
        self._known[project] = title, time.monotonic() + seconds
        if len(self._known) > MOST_TITLES:
            del self._known[next(iter(self._known))]
