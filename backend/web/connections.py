"""Connections and threads: a request reaches a thread when it is there as a whole.

Waitress reads all connections in one loop, keeps small bodies in memory and large ones in files,
and writes answers in the same loop: a slow client holds a socket and some KB, never a thread. What
is added to it here: an end for what is too slow, so that no number of half-sent requests keeps
others out, and lanes of threads, so that no number of tasks keeps /health waiting.
"""

import json
import logging
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import BadRequest, Error, logger, queue_logger

from backend.web.settings import Settings

LOG = logging.getLogger(__name__)

FIRST_SECONDS = 30.0  # for a request's headers, and more for its body:
LEAST_RATE = 16 * 1024  # bytes a second, on average
IDLE_SECONDS = 75.0  # a connection between two requests
STALLED_SECONDS = 30.0  # an answer of which the client takes nothing
LINGER_SECONDS = 5.0  # so that a client that still sends gets to read why it was refused
LONGEST_HEADER = 32 * 1024  # bytes
IN_MEMORY = 64 * 1024  # bytes of a body; more goes to a file
BACKLOG = 4096  # that the system accepts before the loop does; of more it resets some
ACCEPTED_AT_ONCE = 512  # in a pass of the loop, which looks at all others besides
RETRY_SECONDS = 5  # what a client that is refused for want of threads is told

HEALTH, QUICK, WORK, REFUSAL = "health", "quick", "work", "refusal"
# Who is asked often and answers at once must not wait for those who wait for masks, nor /health,
# which asks nobody, for those who ask the queue.
LANES: Mapping[str, str] = {
    "/health": HEALTH,
    "/setup": QUICK,
    "/ready": QUICK,
}
QUICK_BODY = 1024 * 1024  # bytes; a larger one is work
FEW_THREADS: Mapping[str, int] = {HEALTH: 2, QUICK: 6, REFUSAL: 1}
WAITING_FOR_FEW = 256  # requests, that wait for one of those
WAITING_FOR_WORK = 4  # requests, for each thread: they wait for seconds, not for minutes

for quiet in (queue_logger, logger):
    quiet.setLevel(logging.ERROR)  # what they warn of is bounded, and said, here


class Overloaded(Error):  # type: ignore[misc]  # waitress has no types
    """More requests wait for a thread than can be served soon."""

    code = 503
    reason = "Service Unavailable"

    def __init__(self) -> None:
        super().__init__(f"All threads are busy: ask again in {RETRY_SECONDS} s.")


@dataclass(frozen=True)
class Limits:
    """What all connections together may hold.

    Attributes:
        connections: most sockets; of more, the oldest that wait for their client are closed.
        received: most bytes of requests that are not complete.
        body: most bytes of one body.
    """

    connections: int
    received: int
    body: int


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Never asks for a body that it has refused already, and refuses lengths of 5,000 digits."""

    def received(self, data: bytes) -> int:
        try:
            count: int = super().received(data)
        except ValueError:
            self.error, self.completed, count = BadRequest("a number is too long"), True, len(data)
        if self.error is not None:
            self.expect_continue = False
        return count


class _Refusal(ErrorTask):  # type: ignore[misc]
    """An answer to what never reaches the application, in the form of `errors`."""

    def execute(self) -> None:
        error = self.request.error
        words = TOLD.get(error.code, "{error}").format(
            error=str(error.body).capitalize(), body=self.channel.server.limits.body
        )
        name = uuid.uuid4().hex[:12]
        self.status = f"{error.code} {error.reason}"
        body = json.dumps({"error": words, "request_id": name}).encode()
        self.response_headers += [("Content-Type", "application/json"), ("X-Request-ID", name)]
        self.response_headers += [("X-Content-Type-Options", "nosniff")]
        if error.code == Overloaded.code:
            self.response_headers += [("Retry-After", str(RETRY_SECONDS))]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.lingers = True
        self.write(body)
        self.channel.server.refused(error.code)


TOLD: Mapping[int, str] = {
    400: "This is no HTTP request: {error}.",
    413: "The body has more than {body} bytes: send fewer tasks in a call, or raise "
    "MAX_BODY_BYTES.",
    431: f"The headers have more than {LONGEST_HEADER} bytes: send shorter ones.",
    500: "Internal error; the server's log says more.",
}


class Connection(HTTPChannel):  # type: ignore[misc]
    """A client's connection.

    Attributes:
        begun: when the request that is being received began, seconds since the epoch.
        lingers: it was refused and may still be sending; 0 or when that is to end.
    """

    error_task_class = _Refusal
    parser_class = _Parser
    begun = 0.0
    lingers: bool = False
    _lingers_until = 0.0
    _progress = (0.0, 0.0)  # the last activity that was seen while an answer lay, and when

    def received(self, data: bytes) -> bool:
        """Called by waitress with what came."""
        if self._lingers_until:
            return False
        if self.request is None:
            self.begun = time.time()
        taken: bool = super().received(data)
        return taken

    def readable(self) -> bool:
        """Called by waitress."""
        return bool(self._lingers_until) or bool(super().readable())

    def handle_close(self) -> None:
        """Called by waitress; closing while the client sends would lose the answer on its way."""
        if self.lingers and self.connected and not self._lingers_until:
            self.will_close = False
            self._lingers_until = time.time() + LINGER_SECONDS
            try:
                self.socket.shutdown(socket.SHUT_WR)
                return
            except OSError:
                pass  # it is gone already
        self.drop()

    def drop(self) -> None:
        """Close, whatever it does; only in the loop that reads and writes."""
        super().handle_close()
        if self.request is not None:
            self.request.close()  # its file, at once

    def handle_error(self) -> None:
        """Called by waitress in an `except` clause: a full disk, or a fault of one connection."""
        LOG.error("a connection is closed: %s", sys.exc_info()[1])
        self.drop()

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to send, or to take what is written."""
        return not self.requests

    @property
    def since(self) -> float:
        """When the client's turn began."""
        return float(self.last_activity if self.request is None else self.begun)

    @property
    def bytes_received(self) -> int:
        """Of a request that is not complete."""
        request = self.request
        return 0 if request is None else len(request.header_plus) + request.body_bytes_received

    def is_over(self, now: float) -> bool:
        """Whether the client took too long."""
        if self._lingers_until:
            return now > self._lingers_until
        if self.total_outbufs_len:
            if self._progress[0] != self.last_activity:  # of a thread that waited it may be old
                self._progress = (self.last_activity, now)
            return now - self._progress[1] > STALLED_SECONDS
        if not self.waits:
            return False
        if self.request is None:
            return bool(now - self.last_activity > IDLE_SECONDS)
        return now - self.begun > FIRST_SECONDS + self.bytes_received / LEAST_RATE


class Lanes:
    """Threads by what they serve.

    Args:
        threads: for what may wait for a worker.
    """

    def __init__(self, threads: int) -> None:
        self._pools = {name: ThreadedTaskDispatcher() for name in (*FEW_THREADS, WORK)}
        self._bounds = dict.fromkeys(FEW_THREADS, WAITING_FOR_FEW) | {
            WORK: WAITING_FOR_WORK * threads
        }
        for name, pool in self._pools.items():
            pool.set_thread_count(FEW_THREADS.get(name, threads))

    def add_task(self, channel: Connection) -> None:
        """Called by waitress with a connection whose next request is complete."""
        request = channel.requests[0]
        lane = REFUSAL if request.error else _lane(request)
        pool = self._pools[lane]
        with pool.lock:  # a thread that wakes up is not idle, and has taken nothing yet
            waiting = len(pool.queue) - (len(pool.threads) - pool.active_count)
        if waiting >= self._bounds[lane]:
            request.error, pool = Overloaded(), self._pools[REFUSAL]
        pool.add_task(channel)

    def shutdown(self) -> None:
        """End the threads that have nothing to do; what the others do is dropped."""
        for pool in self._pools.values():
            pool.shutdown(timeout=0)


def _lane(request: Any) -> str:
    lane = LANES.get(request.path, WORK)
    return WORK if request.body_bytes_received > QUICK_BODY else lane


class Front(TcpWSGIServer):  # type: ignore[misc]
    """The loop of all connections.

    Args:
        application: WSGI.
        listener: a socket that is bound.
        settings: of the web process.
        limits: of all connections.
        refused: told the status of each answer that the application did not give.
    """

    channel_class = Connection

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        settings: Settings,
        limits: Limits,
        refused: Callable[[int], None],
    ) -> None:
        self.limits, self.refused = limits, refused
        self._loud_at = self._looked_at = 0.0
        place = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            application,
            _sock=listener,
            dispatcher=Lanes(settings.threads),
            sockinfo=place,
            bind_socket=False,
            asyncore_use_poll=True,
            backlog=BACKLOG,
            clear_untrusted_proxy_headers=True,
            **_proxy(settings),
            connection_limit=sys.maxsize,  # the oldest make room here; nobody is kept out
            ident=None,
            inbuf_overflow=IN_MEMORY,
            log_socket_errors=False,
            max_request_body_size=limits.body + 1,
            max_request_header_size=LONGEST_HEADER,
            outbuf_high_watermark=64 * 1024 * 1024,
            outbuf_overflow=256 * 1024,
            recv_bytes=64 * 1024,
        )

    @property
    def connections(self) -> list[Connection]:
        """All that are open."""
        return list(self.active_channels.values())

    def turn(self, seconds: float) -> None:
        """One pass of the loop: look after all connections, then serve what is ready.

        Nothing is closed in between: its number might go to a new connection within the pass, and
        with it what was seen of the old one.

        Args:
            seconds: to wait at most until something is.
        """
        self._make_room()
        now = time.time()
        if not 0 <= now - self._looked_at < 1:
            self._looked_at = now
            self._end_slow(now)
        wasyncore.poll2(seconds, self._map)

    def handle_accept(self) -> None:
        """Called by waitress. Several at once: each pass of the loop looks at every connection."""
        for _ in range(ACCEPTED_AT_ONCE):
            before = len(self.active_channels)
            if before >= self.limits.connections:
                return  # there is room in the next pass
            super().handle_accept()
            if len(self.active_channels) == before:
                return

    def maintenance(self, now: float) -> None:
        """Called by waitress within a pass: too early."""

    def _end_slow(self, now: float) -> None:
        """Close what takes too long, and the oldest of what holds too much together."""
        for connection in self.connections:
            if connection.is_over(now):
                connection.drop()
        held = sum(connection.bytes_received for connection in self.connections)
        for connection in self._oldest():
            if held <= self.limits.received:
                break
            held -= connection.bytes_received
            connection.drop()
            self._warn("requests that are not complete hold too many bytes")

    def _make_room(self) -> None:
        """Close the oldest that wait for their client, several, since the search costs time."""
        if len(self.active_channels) < self.limits.connections:
            return
        self._warn("there are more connections than can be held")
        for connection in self._oldest()[: max(1, self.limits.connections // 16)]:
            connection.drop()

    def _oldest(self) -> list[Connection]:
        waiting = (connection for connection in self.connections if connection.waits)
        return sorted(waiting, key=attrgetter("since"))

    def _warn(self, why: str) -> None:
        """Once in a while: whoever opens connections decides how often it happens."""
        if time.time() - self._loud_at > FIRST_SECONDS:
            self._loud_at = time.time()
            LOG.warning("%s: the oldest that wait for their client are closed", why)


def _proxy(settings: Settings) -> dict[str, Any]:
    """Waitress's settings for a proxy whose word on a client's address is taken."""
    if settings.trusted_proxy is None:
        return {}
    return {
        "trusted_proxy": str(settings.trusted_proxy),
        "trusted_proxy_headers": {"x-forwarded-for"},
    }
