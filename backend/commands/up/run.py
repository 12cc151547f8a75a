"""Everything on one machine: embedded Valkey, workers, web server; see `Supervisor`."""

import logging
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import requests

from backend.commands.program import PROGRAM
from backend.commands.running import Running, leaving_word
from backend.commands.up.child import ChildCommand
from backend.commands.up.supervisor import Supervisor
from backend.commands.up.telling import Telling
from backend.web.server import read_state, write_state
from backend.web.settings import Settings
from workers.addresses import shown_url
from workers.processes.embedded import EmbeddedServer
from workers.queue.supervision import Supervised

LOG = logging.getLogger(__name__)

ASK_SECONDS = 0.5
ANSWER_SECONDS = 2.0
WEB_SILENCE_SECONDS = 15.0  # of /health, which waits for nothing
WEB_START_SECONDS = 180.0  # to import itself on a busy machine takes its time


def run(settings: Settings, data: Path, state: Path | None = None) -> int:
    """Start everything, say when it is ready, run until Ctrl-C or SIGTERM, stop everything.

    Args:
        settings: of the web process; the workers read the same environment.
        data: folder of the embedded server, which runs when `settings.redis_url` is not set.
        state: JSON file that appears when all is ready: `url`, `redis_url`, `pid`.

    Returns:
        Exit status: 0, or 1 when a process showed in its first life that it is in vain.

    Raises:
        EmbeddedServerError: the embedded server does not start.
        SocketPathError: TMPDIR is too long.
    """
    with ExitStack() as stack:
        server = None if settings.redis_url else stack.enter_context(EmbeddedServer(data))
        redis_url = server.url if server is not None else str(settings.redis_url)
        stack.enter_context(leaving_word(Running(os.getpid(), redis_url, str(data.resolve()))))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dgl-rsis-up-")))
        waiting = _Readiness(settings, folder / "web.json", redis_url, state)
        environment = _environment(settings, redis_url, data)
        supervisor = Supervisor(_commands(settings, folder / "web.json"), environment)

        def processes() -> list[Supervised]:
            own = [] if server is None else [server.described()]
            return [*own, *supervisor.processes()]

        def look() -> None:
            if server is not None:
                server.look_after()
            waiting.look()

        if state is not None:
            stack.callback(state.unlink, missing_ok=True)
        stack.enter_context(Telling(redis_url, processes))
        return supervisor.run(look)


def _environment(settings: Settings, redis_url: str, data: Path) -> dict[str, str]:
    """Of the children. Several workers share a cache, so that clicks find what a batch computed."""
    shared = (
        {"CACHE_DIR": str(data.resolve() / "cache")}
        if settings.workers + settings.interactive_workers > 1
        else {}
    )
    chosen = {name: value for name, value in os.environ.items() if value or name not in shared}
    return shared | chosen | {"REDIS_URL": redis_url}


def _commands(settings: Settings, web_state: Path) -> list[ChildCommand]:
    """The web server is the first to start and to stop; the workers finish their jobs."""
    reserved = (*PROGRAM, "worker", "--interactive")
    return [
        _web(settings, web_state),
        ChildCommand("deliver", (*PROGRAM, "deliver")),
        *_several("worker", (*PROGRAM, "worker"), settings.workers),
        *_several("clicks", reserved, settings.interactive_workers),
    ]


def _several(name: str, command: tuple[str, ...], count: int) -> list[ChildCommand]:
    """The first by its name, the others with a number."""
    numbered = (f"{name} {number}" if number > 1 else name for number in range(1, count + 1))
    return [ChildCommand(each, command) for each in numbered]


def _web(settings: Settings, web_state: Path) -> ChildCommand:
    def serve(port: int) -> tuple[str, ...]:
        address = ("--host", settings.host, "--port", str(port))
        return (*PROGRAM, "serve", *address, "--state", str(web_state))

    def again() -> tuple[str, ...]:
        return serve(urlsplit(_url(web_state)).port or settings.port)

    def ask() -> bool:
        requests.get(
            f"{_url(web_state)}/health", auth=_login(settings), timeout=WEB_SILENCE_SECONDS
        )
        return True  # whatever it answers, it does

    return ChildCommand(
        "web",
        serve(settings.port),
        again=again,  # at the port where Label Studio knows it, also when any was asked for
        ask=ask,
        must_start=True,
        silence=WEB_SILENCE_SECONDS,
        start=WEB_START_SECONDS,
    )


def _url(web_state: Path) -> str:
    return str(read_state(web_state)["url"])


def _login(settings: Settings) -> tuple[str, str] | None:
    user, password = settings.basic_auth_user, settings.basic_auth_pass
    return (user, password.get_secret_value()) if user and password else None


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
        url = _url(self._web_state)
        problem = self._ask(url)
        if problem and problem != self._problem:
            LOG.info("%-8s | waiting: %s", "up", problem)
        self._problem, self._ready = problem, not problem
        if self._ready:
            self._announce(url)
        self._next = time.monotonic() + ASK_SECONDS

    def _ask(self, url: str) -> str:
        """Why it is not ready; "" when it is."""
        login = _login(self._settings)
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
