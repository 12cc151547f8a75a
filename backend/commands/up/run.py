"""Everything on one machine: embedded Valkey, workers, web server."""

import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from backend.commands.running import Running, leaving_word
from backend.commands.up.supervisor import ChildCommand, Supervisor
from backend.web.server import read_state, write_state
from backend.web.settings import Settings
from workers.addresses import shown_url
from workers.processes.embedded import embedded_server

LOG = logging.getLogger(__name__)

ASK_SECONDS = 0.5
ANSWER_SECONDS = 2.0


def run(settings: Settings, data: Path, state: Path | None = None) -> int:
    """Start everything, say when it is ready, run until Ctrl-C or SIGTERM, stop everything.

    Args:
        settings: of the web process; the workers read the same environment.
        data: folder of the embedded server, which runs when `settings.redis_url` is not set.
        state: JSON file that appears when all is ready: `url`, `redis_url`, `pid`.

    Returns:
        Exit status: 0, or 1 when a process died that cannot be started again.

    Raises:
        EmbeddedServerError: the embedded server does not start.
    """
    with ExitStack() as stack:
        redis_url = settings.redis_url or stack.enter_context(embedded_server(data))
        stack.enter_context(leaving_word(Running(os.getpid(), redis_url, str(data.resolve()))))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dgl-rsis-up-")))
        waiting = _Readiness(settings, folder / "web.json", redis_url, state)
        environment = _environment(settings, redis_url, data)
        supervisor = Supervisor(_commands(settings, folder / "web.json"), environment)
        try:
            return supervisor.run(waiting.look)
        finally:
            if state is not None:
                state.unlink(missing_ok=True)


def _environment(settings: Settings, redis_url: str, data: Path) -> dict[str, str]:
    """Of the children. Several workers share a cache, so that clicks find what a batch computed."""
    shared = {"CACHE_DIR": str(data.resolve() / "cache")} if settings.interactive_workers else {}
    chosen = {name: value for name, value in os.environ.items() if value or name not in shared}
    return shared | chosen | {"REDIS_URL": redis_url}


def _commands(settings: Settings, web_state: Path) -> list[ChildCommand]:
    """The web server is the first to start and to stop; the workers finish their jobs."""
    program = (sys.executable, "-m", "backend.commands.main")
    address = ("--host", settings.host, "--port", str(settings.port))
    reserved = (*program, "worker", "--interactive")
    return [
        ChildCommand("web", (*program, "serve", *address, "--state", str(web_state))),
        ChildCommand("deliver", (*program, "deliver"), restarts=True),
        ChildCommand("worker", (*program, "worker"), restarts=True),
        *[
            ChildCommand(f"clicks {number}" if number > 1 else "clicks", reserved, restarts=True)
            for number in range(1, settings.interactive_workers + 1)
        ],
    ]


class _Readiness:
    """Asks /ready until it says yes; says each new reason for waiting once."""

    def __init__(
        self, settings: Settings, web_state: Path, redis_url: str, state: Path | None
    ) -> None:
        self._settings = settings
        self._web_state = web_state
        self._redis_url = redis_url
        self._state = state
        self._started = time.monotonic()
        self._next = 0.0
        self._ready = False
        self._problem = ""

    def look(self) -> None:
        """Called at every tick."""
        if self._ready or time.monotonic() < self._next or not self._web_state.exists():
            return
        url = str(read_state(self._web_state)["url"])
        problem = self._ask(url)
        if problem and problem != self._problem:
            LOG.info("%-8s | waiting: %s", "up", problem)
        self._problem, self._ready = problem, not problem
        if self._ready:
            self._announce(url)
        self._next = time.monotonic() + ASK_SECONDS

    def _ask(self, url: str) -> str:
        """Why it is not ready; "" when it is."""
        user, password = self._settings.basic_auth_user, self._settings.basic_auth_pass
        login = (user, password.get_secret_value()) if user and password else None
        try:
            answer = requests.get(f"{url}/ready", auth=login, timeout=ANSWER_SECONDS)
        except requests.RequestException as error:
            return f"the web server does not answer ({type(error).__name__})"
        if answer.ok:
            return ""
        body = answer.json()
        return str(body.get("problem") or body.get("error"))

    def _announce(self, url: str) -> None:
        LOG.info("%-8s | ready after %.1f s", "up", time.monotonic() - self._started)
        LOG.info("%-8s | backend %s (Label Studio: project → Settings → Model)", "up", url)
        LOG.info("%-8s | status page %s/status", "up", url)
        LOG.info("%-8s | queue %s", "up", shown_url(self._redis_url))
        LOG.info("%-8s | Ctrl-C stops everything", "up")
        if self._state is not None:
            write_state(self._state, url=url, redis_url=self._redis_url, pid=os.getpid())
