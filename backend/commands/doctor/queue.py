"""The queue's server, and the processes that stand around it."""

import time
from collections.abc import Iterator

import requests
from redis import RedisError

from backend.commands.doctor.findings import Finding, State
from backend.web.settings import Settings
from workers.addresses import shown_url
from workers.messages import DELIVERY_QUEUE, INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue import server_checks
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError, reaching_redis
from workers.queue.heartbeats import Heartbeat

SERVER, PROCESSES, WEB = "queue", "processes", "web server"
SECONDS = 5.0  # for an answer
START = "start them with `dgl-rsis up`, or `dgl-rsis worker`, `serve` and `deliver`"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


def check(url: str, settings: Settings) -> Iterator[Finding]:
    """The server at an address, then what beats there."""
    shown = shown_url(url)
    try:
        client = SegmentClient.from_url(url)
        started = time.perf_counter()
        client.check_writes()
        seconds = time.perf_counter() - started
        with reaching_redis():
            state = server_checks.check(client.server)
        beats = client.workers()
    except (QueueError, RedisError, ValueError) as error:
        yield Finding(SERVER, State.WRONG, f"{shown}: {error}", "give its address as REDIS_URL")
        return
    memory = "" if state.memory is None else f", {state.memory / 2**20:.0f} MiB in use"
    yield Finding(SERVER, State.GOOD, f"{shown} takes jobs ({1000 * seconds:.0f} ms{memory})")
    for warning in state.warnings:
        said, _, way_out = warning.partition(": ")
        yield Finding(SERVER, State.NOTE, said, way_out)
    yield from _processes(beats, settings)
    yield from _work(client)


def _processes(beats: list[Heartbeat], settings: Settings) -> Iterator[Finding]:
    live = [each for each in beats if each.is_live]
    for queue, duty, state, why in (
        (SEGMENT_QUEUE, "makes masks", State.WRONG, START),
        (INTERACTIVE_QUEUE, "is kept for clicks", State.NOTE,
         "clicks wait for the image in work: `dgl-rsis worker --interactive`"),
        (DELIVERY_QUEUE, "delivers to Label Studio",
         State.WRONG if settings.delivers else State.NOTE, START),
    ):  # fmt: skip
        here = [each for each in live if each.queue == queue]
        if here:
            models = ", ".join(sorted({f"{e.model} on {e.device}" for e in here if e.model}))
            said = f"{len(here)} {duty}" if len(here) > 1 else f"one {duty}"
            yield Finding(PROCESSES, State.GOOD, f"{said}{': ' if models else ''}{models}")
        else:
            yield Finding(PROCESSES, state, f"none {duty}", why)


def _work(client: SegmentClient) -> Iterator[Finding]:
    waiting, failed = client.waiting(), client.failures()
    count = sum(waiting.values())
    yield Finding(PROCESSES, State.GOOD, f"{count} jobs wait")
    if failed:
        last = failed[0]
        where = f"task {last.task_id}" if last.task_id else "a task"
        yield Finding(
            PROCESSES, State.NOTE, f"given up of late: {len(failed)}; {where}: {last.message}",
            "see the page of the web server; Retry there when the cause is gone",
        )  # fmt: skip


def check_web(settings: Settings, url: str) -> Iterator[Finding]:
    """The web server: that it lives, and that it can serve."""
    address = url.rstrip("/") or _address(settings)
    login = None
    if settings.basic_auth_user is not None and settings.basic_auth_pass is not None:
        login = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    with requests.Session() as session:
        session.trust_env = False
        session.auth = login
        try:
            health = session.get(f"{address}/health", timeout=SECONDS)
            ready = session.get(f"{address}/ready", timeout=SECONDS)
        except requests.RequestException as error:
            yield Finding(
                WEB, State.WRONG, f"nothing answers at {address} ({type(error).__name__})",
                "start it with `dgl-rsis up` or `dgl-rsis serve`; if it listens elsewhere, give "
                "--backend its address",
            )  # fmt: skip
            return
    if health.status_code != requests.codes.ok or not _is_ours(health):
        yield Finding(
            WEB, State.WRONG, f"{address}/health answers {health.status_code}, not as this product",
            "another program listens there: give --backend the address of ours, or another PORT",
        )  # fmt: skip
    elif ready.status_code != requests.codes.ok:
        problem = str(_json(ready).get("problem") or f"/ready answers {ready.status_code}")
        said, _, way_out = problem.partition(": ")
        yield Finding(WEB, State.WRONG, f"{address} lives and cannot serve: {said}", way_out)
    else:
        yield Finding(WEB, State.GOOD, f"{address} lives and is ready")


def _address(settings: Settings) -> str:
    host = WILDCARDS.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


def _is_ours(health: requests.Response) -> bool:
    return _json(health).get("status") == "UP"


def _json(response: requests.Response) -> dict[str, object]:
    try:
        content = response.json()
    except requests.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
