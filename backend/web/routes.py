"""What can be looked at: pages for browsers, the same as JSON under /api for programs.

An address of a page answers a program that prefers JSON with that.
"""

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound

from backend.web import pages, parts
from backend.web.board import FILTERS, ProjectView, TaskPage, TaskView
from workers.queue.connection import STORED_TASK, QueueError


def install(app: Flask) -> None:
    """Add what can be looked at."""
    pages.install(app)
    get = ["GET"]
    app.add_url_rule("/status", view_func=show_overview, methods=get)
    app.add_url_rule("/projects/<project>", view_func=show_project, methods=get)
    app.add_url_rule("/tasks/<project>/<task>", view_func=show_task, methods=get)
    app.add_url_rule("/api/status", view_func=tell_status, methods=get)
    app.add_url_rule("/api/projects", view_func=tell_projects, methods=get)
    app.add_url_rule("/api/projects/<project>", view_func=tell_project, methods=get)
    app.add_url_rule("/api/projects/<project>/tasks", view_func=tell_tasks, methods=get)
    app.add_url_rule("/api/projects/<project>/tasks/<task>", view_func=tell_task, methods=get)


def _prefers_json() -> bool:
    """Whether a program asks a page for JSON: it names that, and HTML later or not at all."""
    return request.accept_mimetypes.best_match([pages.HTML, pages.JSON]) == pages.JSON


def show_overview() -> Response:
    """All projects, workers, queues and the last failures."""
    if _prefers_json():
        return tell_status()
    state = parts.current().state()
    projects = _projects()
    return _page(
        "overview.html",
        state=state,
        version=parts.current().service.model_version(),
        projects=projects,
        events=parts.current().corrections.view(),
        link=parts.current().board.link,
    )


def show_project(project: str) -> Response:
    """A project, a list of its tasks, and what it learnt."""
    if _prefers_json():
        return tell_project(project)
    view = _project(project)
    return _page(
        "project.html",
        project=view,
        tasks=_tasks(view),
        filters=FILTERS,
        learnt=parts.current().learning.of(project),
        note=parts.current().learning.note(project),
        events=parts.current().corrections.view(),
        link=parts.current().board.link,
    )


def show_task(project: str, task: str) -> Response:
    """A task."""
    if _prefers_json():
        return tell_task(project, task)
    return _page("task.html", task=_task(project, task))


def tell_status() -> Response:
    """The overview for programs."""
    state = parts.current().state()
    return jsonify(
        ready=not state.problem,
        problem=state.problem,
        warnings=[*filter(None, [parts.current().warning]), *state.server.warnings],
        model_version=parts.current().service.model_version(),
        workers=[asdict(each) for each in state.workers],
        processes=[asdict(each) for each in state.processes],
        waiting=dict(state.waiting),
        failures=[asdict(each) for each in state.failures],
        projects=[asdict(each) for each in _projects()],
        events=asdict(parts.current().corrections.view()),
    )


def tell_projects() -> Response:
    """All projects for programs."""
    return jsonify(projects=[asdict(each) for each in parts.current().board.projects()])


def tell_project(project: str) -> Response:
    """A project for programs."""
    view = _project(project)
    return jsonify(
        **asdict(view),
        learnt=asdict(parts.current().learning.of(project)),
        note=parts.current().learning.note(project),
    )


def tell_tasks(project: str) -> Response:
    """A page of a project's tasks for programs."""
    return jsonify(asdict(_tasks(_project(project))))


def tell_task(project: str, task: str) -> Response:
    """A task for programs."""
    return jsonify(asdict(_task(project, task)))


def _projects() -> list[ProjectView]:
    """None while the queue does not answer: the page says why elsewhere."""
    try:
        return parts.current().board.projects()
    except QueueError:
        return []


def _project(project: str) -> ProjectView:
    view = parts.current().board.project(project) if STORED_TASK.fullmatch(project) else None
    if view is None:
        raise NotFound(
            "Nothing is known of this project: no task of it was asked for, of late, and it "
            "learnt nothing."
        )
    return view


def _tasks(project: ProjectView) -> TaskPage:
    state, page = request.args.get("state", "all"), request.args.get("page", "1")
    if state not in FILTERS:
        raise NotFound(f"There is no such state: use one of {', '.join(FILTERS)}.")
    number = int(page) if STORED_TASK.fullmatch(page) else 1
    return parts.current().board.tasks(project, state, number)


def _task(project: str, task: str) -> TaskView:
    known = STORED_TASK.fullmatch(project) and STORED_TASK.fullmatch(task)
    view = parts.current().board.task(project, task) if known else None
    if view is None:
        raise NotFound("Nothing is known of this task: it was not asked for, of late.")
    return view


def _page(template: str, **values: Any) -> Response:
    said = pages.said(request.args.get("said", ""), request.args.get("count", ""))
    ours = parts.current()
    return pages.page(template, token=ours.token.value, warning=ours.warning, said=said, **values)
