"""What can be asked for on the pages, and by programs: try again, take back, learn or not.

Twice is as once: only what ended is tried again, only what waits is taken back. A button leads
back to its page (303), so that loading that anew asks for nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from backend.web import parts
from backend.web.forgery import StaleFormError, check_json
from workers.queue.cancelling import PART
from workers.queue.connection import STORED_TASK
from workers.queue.control import Retried
from workers.queue.ledger import OPEN, Entry, State

LOG = logging.getLogger(__name__)

MOST_AGAIN = 10_000  # tasks of one press of a button; it can be pressed again
FAILED: tuple[State, ...] = ("failed", "given-up")
ROOM_SECONDS = 60  # by then the queue may have room again
MOST_TOLD = 100  # of those that cannot be tried again
UNKNOWN = "There is no such project or task, or nothing of that kind can be asked for."


@dataclass(frozen=True)
class Done:
    """What came of a wish.

    Attributes:
        word: of `pages.SAID`.
        count: how many tasks.
        refused: task ids, each with why it cannot be tried again; some of them.
    """

    word: str
    count: int
    refused: Sequence[tuple[str, str]] = ()


def install(app: Flask) -> None:
    """Add what can be asked for."""
    post = ["POST"]
    project, task = "/projects/<project>", "/api/projects/<project>/tasks/<task>"
    learning = "/projects/<project>/learning/<wish>"
    app.add_url_rule(f"{project}/<wish>", view_func=press_project, methods=post)
    app.add_url_rule("/tasks/<project>/<task>/<wish>", view_func=press_task, methods=post)
    app.add_url_rule(learning, view_func=press_learning, methods=post)
    app.add_url_rule(f"/api{project}/<wish>", view_func=call_project, methods=post)
    app.add_url_rule(f"{task}/<wish>", view_func=call_task, methods=post)
    app.add_url_rule(f"/api{learning}", view_func=call_learning, methods=post)


def press_project(project: str, wish: str) -> AnyResponse:
    """A button of a project's page."""
    _check(project)
    return _pressed(f"/projects/{project}", partial(_of_project, project, wish))


def press_task(project: str, task: str, wish: str) -> AnyResponse:
    """A button of a task's page, or of its line in a list."""
    _check(project, task)
    back = f"/projects/{project}" if "state" in request.form else f"/tasks/{project}/{task}"
    return _pressed(back, partial(_of_task, project, task, wish))


def press_learning(project: str, wish: str) -> AnyResponse:
    """A button about what a project learns."""
    _check(project)
    # Of a project without tasks nothing may be left to show.
    gone = wish == "reset" and parts.current().service.client.ledger.project(project) is None
    back = "/status" if gone else f"/projects/{project}"
    return _pressed(back, partial(_learn, project, wish))


def call_project(project: str, wish: str) -> Response:
    """The same for programs."""
    _check(project)
    return _called(partial(_of_project, project, wish))


def call_task(project: str, task: str, wish: str) -> Response:
    """The same for programs."""
    _check(project, task)
    return _called(partial(_of_task, project, task, wish))


def call_learning(project: str, wish: str) -> Response:
    """The same for programs."""
    _check(project)
    return _called(partial(_learn, project, wish))


def _pressed(back: str, wish: Callable[[], Done]) -> AnyResponse:
    """Do what a button wishes, and lead back to its page."""
    try:
        parts.current().token.check_form(request)
        done = wish()
    except StaleFormError:
        done = Done("stale", 0)
    query = {"said": done.word, "count": str(done.count)}
    for name in ("state", "page"):
        if (value := request.form.get(name, "")) and value.replace("-", "").isalnum():
            query[name] = value
    return redirect(f"{back}?{urlencode(query)}", HTTPStatus.SEE_OTHER)


def _called(wish: Callable[[], Done]) -> Response:
    """Do what a program wishes, and say what came of it."""
    check_json(request)
    done = wish()
    refused = [{"task": task, "reason": why} for task, why in done.refused]
    response = jsonify(done=done.word, count=done.count, refused=refused)
    if done.word == "full":
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response.headers["Retry-After"] = str(ROOM_SECONDS)
    return response


def _of_project(project: str, wish: str) -> Done:
    if wish == "retry":
        return _retried(project, _retry_failed(project))
    if wish == "cancel":
        return _said("cancelled", sum(_cancel_all(project)))
    raise NotFound(UNKNOWN)


def _of_task(project: str, task: str, wish: str) -> Done:
    entry = parts.current().service.client.ledger.entry(project, task)
    if wish not in ("retry", "cancel") or entry is None:
        raise NotFound(UNKNOWN)
    if wish == "retry":
        return _retried(project, [_retry(project, [entry])])
    return _said("cancelled", parts.current().control.cancel(project, [entry]))


def _learn(project: str, wish: str) -> Done:
    if not parts.current().learning.change(project, wish):
        raise NotFound(UNKNOWN)
    LOG.info("project %s: learning: %s", project, wish)
    return Done("changed", 1)


def _retry(project: str, entries: Sequence[Entry]) -> Retried:
    here = parts.current()
    return here.control.retry(project, entries, partial(here.service.renewed, project))


def _retry_failed(project: str) -> Iterator[Retried]:
    """Try again what failed until now, the oldest first.

    What cannot be tried again stays where it is: it is passed over, or nothing behind it would
    ever have its turn.
    """
    ledger, began, again = parts.current().service.client.ledger, time.time(), 0
    for state in FAILED:
        passed = 0
        while again < MOST_AGAIN:
            part = ledger.oldest(project, state, min(PART, MOST_AGAIN - again), passed)
            if not part or part[0].changed >= began:
                break
            retried = _retry(project, part)
            yield retried
            if retried.full:
                return
            again += retried.again
            passed += len(retried.refused)


def _retried(project: str, results: Iterable[Retried]) -> Done:
    again, refusals, full, told = 0, 0, False, list[tuple[str, str]]()
    for each in results:
        again += each.again
        full |= each.full
        refusals += len(each.refused)
        told += each.refused[: MOST_TOLD - len(told)]
    LOG.info("project %s: %d tasks are tried again, %d cannot be", project, again, refusals)
    if full and not again:
        return Done("full", refusals, told)
    if refusals and not again:
        return Done("refused", refusals, told)
    return replace(_said("retried", again), refused=told)


def _cancel_all(project: str) -> Iterator[int]:
    """Take back all that waits: the last first, so that workers take none of it meanwhile."""
    here = parts.current()
    for state in OPEN:
        while entries := here.service.client.ledger.entries(project, (state,), 0, PART):
            cancelled = here.control.cancel(project, entries)
            yield cancelled
            if not cancelled:  # the rest is being delivered at this moment
                break


def _said(word: str, count: int) -> Done:
    return Done(word if count else "nothing", count)


def _check(*ids: str) -> None:
    if not all(STORED_TASK.fullmatch(each) for each in ids):
        raise NotFound(UNKNOWN)
