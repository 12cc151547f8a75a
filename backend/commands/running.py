"""The `dgl-rsis up` that run on this machine for this user: other commands find their queues here.

Each leaves a file where the user's running programs do: in `XDG_RUNTIME_DIR`, or else in
`XDG_STATE_HOME`. Others look in both, since what cron started has no runtime folder, and a desktop
has. A file whose process is gone, or whose queue does not answer, counts for nothing.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.addresses import shown_url

LOG = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class Running:
    """One `dgl-rsis up`.

    Attributes:
        pid: its process.
        redis_url: of its queue; may hold a password.
        folder: of its data.
    """

    pid: int
    redis_url: str
    folder: str

    @property
    def shown_url(self) -> str:
        """The address without the password."""
        return shown_url(self.redis_url)


@contextlib.contextmanager
def leaving_word(running: Running) -> Iterator[None]:
    """Let other commands of this user find a queue for the length of a `with` block."""
    path = _folders()[0] / f"up-{running.pid}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(running), file)
    except OSError as error:
        LOG.info("other commands need REDIS_URL: %s cannot be written (%s)", path, error.strerror)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def running() -> list[Running]:
    """Those whose process lives and whose queue answers, by process id."""
    paths = [path for folder in _folders() for path in folder.glob("up-*.json")]
    every = {each for path in paths if (each := _read(path)) is not None}
    return sorted(filter(_answers, every), key=lambda each: each.pid)


def _folders() -> list[Path]:
    """Where word may lie; it is left in the first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return [Path(each) / "dgl-rsis" for each in (runtime, state) if each]


def _read(path: Path) -> Running | None:
    """What a file says; None when it is not of this user, damaged, or its process is gone."""
    try:
        if path.stat().st_uid != os.getuid():
            return None
        content = json.loads(path.read_text("utf-8"))
        pid = int(content["pid"])
        if pid <= 0:  # of a group, or of all
            return None
        os.kill(pid, 0)
        return Running(pid, str(content["redis_url"]), str(content["folder"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _answers(each: Running) -> bool:
    from redis import RedisError  # which few commands need

    from workers.queue.servers import connect

    try:
        with connect(each.redis_url, ANSWER_SECONDS) as redis:
            return bool(redis.ping())
    except (RedisError, ValueError):
        return False
