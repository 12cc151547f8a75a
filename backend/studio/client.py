"""Label Studio's REST API, as far as predictions and annotations go.

Plain `requests` rather than the client of label-studio-sdk 2.1.2: importing that takes 3 s and
100 MiB more, encoding a prediction of a million run bytes takes it 0.7 s instead of 0.1 s (measured
on 2 cores), and it follows redirects.
"""

import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import requests
from pydantic import TypeAdapter

from backend.studio import shapes
from dgl_rsis.types import Json
from workers.images.credentials import Credentials, CredentialsError
from workers.receiving import receive

CONNECT_SECONDS = 5.0
# Label Studio stores a large prediction slowly: 34 MB took it 5 s, with SQLite on a fast machine.
READ_SECONDS = 60.0
MOST_READS = 5  # times that, for an answer as a whole
# The masks of a page of tasks, or of all versions of one, are tens of megabytes at worst.
MOST_BYTES = 512 * 1024 * 1024
# Answers other than 5xx after which the same call may succeed later.
TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
# Those that a proxy, a restart or a change of tokens gives as well as a lasting refusal.
DOUBTFUL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
FINAL = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE})  # also in a proxy's words
WAYS_OUT: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "the task may have been deleted, or its project's label config changed",
    HTTPStatus.UNAUTHORIZED: "set LABEL_STUDIO_API_KEY to a valid token (Account & Settings); "
    "legacy tokens work only if the organization allows them",
    HTTPStatus.FORBIDDEN: "give the token's user access to the project",
    HTTPStatus.NOT_FOUND: "the task may have been deleted; else check LABEL_STUDIO_URL",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "raise the body limit of the proxy before Label Studio",
}

LONGEST_LIST = 500  # characters: Label Studio cuts longer lists of versions off

# Columns of a list of tasks that cost a query each; hidden ones are not computed.
HIDDEN_COLUMNS = [
    f"tasks:{name}"
    for name in (
        "annotations_ids",
        "annotations_results",
        "annotators",
        "avg_lead_time",
        "completed_at",
        "draft_exists",
        "file_upload",
        "predictions_results",
        "predictions_score",
        "state",
        "storage_filename",
    )
]


class StudioError(Exception):
    """Label Studio could not be reached or refused a call.

    Attributes:
        retry: the same call may succeed later, however long that takes.
        doubtful: it was refused as it is for good, but also while a proxy, a login or a token is
            being changed: worth some minutes.
        status: of Label Studio's answer; 0 for none.
        uncertain: what was sent may have been stored, or may be later.
    """

    def __init__(
        self, message: str, *, retry: bool, doubtful: bool = False, status: int = 0
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.doubtful = doubtful
        self.status = status
        self.uncertain = False

    @property
    def may_pass(self) -> bool:
        """Whether it is worth another try."""
        return self.retry or self.doubtful


def versions_of(task: Mapping[str, Any]) -> frozenset[str]:
    """Versions of the predictions that a listed task has."""
    listed = str(task.get("predictions_model_versions") or "")
    return frozenset(name.strip() for name in listed.split(",") if name.strip())


class StudioClient:
    """Calls one Label Studio with one token, legacy or personal access token alike.

    Args:
        url: Label Studio's address, with the scheme. The token is sent nowhere else.
        api_key: legacy token or personal access token.
        read_seconds: how long to wait for each answer.
        verify: as in requests: True, or a file of certificate authorities.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        read_seconds: float = READ_SECONDS,
        verify: bool | str = True,
    ) -> None:
        self._url = url.rstrip("/")
        self._credentials = Credentials(self._url, api_key, verify)
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace the token
        self._session.verify = verify

    def predictions(self, task_id: int, model_version: str | None = None) -> list[Json]:
        """Predictions stored for a task, oldest first, masks included.

        Args:
            task_id: Label Studio's id of the task.
            model_version: only those of this version.

        Raises:
            StudioError: unreachable or refused; a deleted task is refused.
        """
        asked = {"task": task_id}
        every = self._call("GET", "/api/predictions/", shapes.PREDICTIONS, params=asked)
        wanted = [p for p in every if model_version in (None, p.get("model_version"))]
        ordered = sorted(wanted, key=lambda prediction: int(prediction["id"]))
        return [{"model_version": None, **p, "result": _regions(p)} for p in ordered]

    def push(self, task_id: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction, beside those the task already has.

        Args:
            task_id: Label Studio's id of the task.
            prediction: `result`, `score` and `model_version`.

        Raises:
            StudioError: unreachable or refused. When that is `uncertain`, as after a time-out, it
                may have been stored all the same: ask `predictions` before pushing again, and once
                more some time after.
        """
        try:
            self._call("POST", "/api/predictions/", json={**prediction, "task": task_id})
        except StudioError as error:
            error.uncertain = error.retry
            raise

    def push_rows(self, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store any number of predictions of a project in one call; a task may get several.

        Args:
            project_id: Label Studio's id of the project.
            rows: predictions as for `push`, with `task`, the id of theirs.

        Returns:
            How many were stored: all or, with an error, none.

        Raises:
            StudioError: as for `push`.
        """
        path = f"/api/projects/{project_id}/import/predictions"
        return int(self._call("POST", path, shapes.CREATED, json=rows)["created"])

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete a prediction; one that is gone already is no error.

        Raises:
            StudioError: unreachable or refused.
        """
        try:
            self._call("DELETE", f"/api/predictions/{prediction_id}/")
        except StudioError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def check_token(self) -> None:
        """See that Label Studio answers and takes the token.

        Raises:
            StudioError: unreachable or refused.
        """
        self._call("GET", "/api/current-user/whoami")

    def about(self) -> Json:
        """What Label Studio says of itself: versions of its parts.

        Raises:
            StudioError: unreachable or refused.
        """
        about: Json = self._call("GET", "/api/version", shapes.OBJECT)
        return about

    def projects(self, count: int) -> list[Json]:
        """The newest projects that the token's user sees, as `project` gives them.

        Raises:
            StudioError: unreachable or refused.
        """
        asked = {"page_size": count, "ordering": "-created_at"}
        return list(self._call("GET", "/api/projects/", shapes.PROJECTS, params=asked)["results"])

    def project(self, project_id: int) -> Json:
        """A project's settings: `title`, `label_config`, `task_number` and more.

        Raises:
            StudioError: unreachable or refused; an unknown project is refused.
        """
        project: Json = self._call("GET", f"/api/projects/{project_id}/", shapes.PROJECT)
        return project

    def model_versions(self, project_id: int) -> Json:
        """What a project can show.

        Asked for like this, Label Studio does not call the backends.

        Args:
            project_id: Label Studio's id of the project.

        Returns:
            `static`: versions of predictions, each a `model_version` and a `count`; `live`: the
            backends that are connected.

        Raises:
            StudioError: unreachable or refused.
        """
        path = f"/api/projects/{project_id}/model-versions/"
        asked = {"extended": "true", "include_live_models": "true"}
        versions: Json = self._call("GET", path, shapes.VERSIONS, params=asked)
        return versions

    def set_model_version(self, project_id: int, version: str) -> None:
        """Choose which predictions a project shows: a version that it has, or a backend's title.

        Raises:
            StudioError: unreachable or refused; an unknown version is refused.
        """
        self._call("PATCH", f"/api/projects/{project_id}/", json={"model_version": version})

    def connect_backend(self, project_id: int, body: Mapping[str, Any]) -> None:
        """Connect a backend to a project; Label Studio asks it for /health and /setup meanwhile.

        Args:
            project_id: Label Studio's id of the project.
            body: `url`, `title`, `is_interactive` and, where it asks for one, its login.

        Raises:
            StudioError: unreachable or refused, as when it does not reach the backend. It may be
                there all the same, without its webhook.
        """
        self._call("POST", "/api/ml/", json={**body, "project": project_id})

    def change_backend(self, backend_id: int, project_id: int, body: Mapping[str, Any]) -> None:
        """Change a connected backend; Label Studio calls it as when it was connected.

        Raises:
            StudioError: unreachable or refused, as when it does not reach the backend.
        """
        self._call("PATCH", f"/api/ml/{backend_id}", json={**body, "project": project_id})

    def rename_backend(self, project_id: int, backend: Mapping[str, Any], title: str) -> None:
        """Give a connected backend another title; a project that shows it moves along.

        Label Studio calls the backend with what it is sent here, so that has to be complete. An
        empty password keeps the one that is set.

        Args:
            project_id: Label Studio's id of the project.
            backend: as `model_versions` describes it.
            title: the new one.

        Raises:
            StudioError: unreachable or refused, as when the backend does not answer it.
        """
        body = {"title": title, "url": backend["url"], "project": project_id}
        if backend.get("auth_method") == "BASIC_AUTH":
            user = backend.get("basic_auth_user")
            login = {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": ""}
            body |= login
        if backend.get("extra_params") is not None:
            body["extra_params"] = backend["extra_params"]
        self._call("PATCH", f"/api/ml/{backend['id']}", json=body)

    def has_prediction(self, task: Mapping[str, Any], model_version: str) -> bool:
        """Whether a listed task has a prediction of a version.

        Raises:
            StudioError: unreachable or refused.
        """
        if len(str(task.get("predictions_model_versions"))) < LONGEST_LIST:
            return model_version in versions_of(task)
        return bool(self.predictions(int(task["id"]), model_version))

    def tasks_after(self, project_id: int, task_id: int, count: int) -> tuple[list[Json], int]:
        """The next tasks of a project in the order of their ids, without masks.

        Read by the last id instead of by page: tasks that come or go meanwhile shift pages, and
        one would be missed. Their versions stand in `predictions_model_versions`; filtering them
        on that side would compare parts of names.

        Args:
            project_id: Label Studio's id of the project.
            task_id: only those behind this one; 0 for the first.
            count: tasks at most.

        Returns:
            The tasks, and how many there are from there on.

        Raises:
            StudioError: unreachable or refused; an unknown project is refused.
        """
        return self._tasks(project_id, behind(task_id), count)

    def unannotated(self, project_id: int, count: int) -> tuple[list[Json], int]:
        """The first tasks of a project for which nobody submitted an annotation, without masks.

        Args:
            project_id: Label Studio's id of the project.
            count: tasks at most.

        Returns:
            The tasks, and how many there are in all.

        Raises:
            StudioError: unreachable or refused; an unknown project is refused.
        """
        return self._tasks(project_id, where("total_annotations", "equal", 0), count)

    def tasks_of(self, project_id: int, task_ids: Sequence[int]) -> list[Json]:
        """Some tasks of a project as `tasks_after` gives them; those that are gone are missing.

        Raises:
            StudioError: unreachable or refused.
        """
        query = {"selectedItems": {"all": False, "included": list(task_ids)}}
        return self._tasks(project_id, query, len(task_ids))[0]

    def _tasks(self, project_id: int, query: Json, count: int) -> tuple[list[Json], int]:
        shown = {"hiddenColumns": {"explore": HIDDEN_COLUMNS, "labeling": HIDDEN_COLUMNS}}
        asked: Json = {"project": project_id, "page": 1, "page_size": count}
        asked["query"] = json.dumps({**query, **shown})
        page = self._call("GET", "/api/tasks/", shapes.TASKS, params=asked)
        return list(page["tasks"]), int(page["total"])

    def annotations(self, task_id: int) -> list[Json]:
        """What people submitted for a task, oldest first.

        Raises:
            StudioError: unreachable or refused.
        """
        path = f"/api/tasks/{task_id}/annotations/"
        annotations: Sequence[Json] = self._call("GET", path, shapes.ANNOTATIONS)
        return sorted(annotations, key=lambda annotation: int(annotation["id"]))

    def annotation(self, annotation_id: int) -> Json | None:
        """One annotation, masks included; None where there is none of that id.

        Raises:
            StudioError: unreachable or refused.
        """
        return self._found(f"/api/annotations/{annotation_id}/", shapes.ANNOTATION)

    def prediction(self, prediction_id: int) -> Json | None:
        """One stored prediction, masks included; None where there is none of that id.

        Raises:
            StudioError: unreachable or refused.
        """
        return self._found(f"/api/predictions/{prediction_id}/", shapes.PREDICTION)

    def backend_versions(self, backend_id: int) -> Json:
        """What a connected backend answers to /versions: Label Studio asks it now.

        Returns:
            `versions`, a list; with `message` where the backend knows no /versions: then they are
            the one that Label Studio has stored.

        Raises:
            StudioError: unreachable or refused, as when the backend does not answer.
        """
        path = f"/api/ml/{backend_id}/versions"
        versions: Json = self._call("GET", path, shapes.TOLD_VERSIONS)
        return versions

    def webhooks(self, project_id: int) -> list[Json]:
        """The webhooks of a project, with their headers.

        Raises:
            StudioError: unreachable or refused.
        """
        asked = {"project": project_id}
        return list(self._call("GET", "/api/webhooks/", shapes.WEBHOOKS, params=asked))

    def set_webhook_headers(self, webhook: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Have a webhook carry these headers instead of those that it has.

        Label Studio takes a call without `actions` for a choice of none.

        Raises:
            StudioError: unreachable or refused.
        """
        body = {"headers": dict(headers), "actions": webhook.get("actions") or []}
        self._call("PATCH", f"/api/webhooks/{webhook['id']}/", json=body)

    def _found(self, path: str, shape: TypeAdapter[Any]) -> Json | None:
        try:
            found: Json = self._call("GET", path, shape)
        except StudioError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    def _call(
        self, method: str, path: str, shape: TypeAdapter[Any] = shapes.ANYTHING, **options: Any
    ) -> Any:
        """One call; the decoded JSON of a 2xx answer, None for one without content.

        Args:
            method: of HTTP.
            path: of the address.
            shape: what the answer must hold.
            options: as in requests.

        Raises:
            StudioError: unreachable or refused, or the answer cannot be used.
        """
        call = f"{method} {path}"
        try:
            response, body = self._send(method, path, options)
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                self._credentials.forget()  # an access token may be withdrawn before its time
                response, body = self._send(method, path, options)
        except (requests.RequestException, ValueError) as error:  # urllib3's, of hosts like "a..b"
            raise _unreachable(call, self._url, error) from error
        except CredentialsError as error:
            transient = error.transient
            raise StudioError(str(error), retry=transient, doubtful=not transient) from error
        if not response.ok or response.is_redirect:
            raise _refused(call, response, body)
        if response.status_code == HTTPStatus.NO_CONTENT and shape is shapes.ANYTHING:
            return None
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _unusable(call, self._url, type(error).__name__) from None
        if why := shapes.misfit(answer, shape):
            raise _unusable(call, self._url, why)
        return answer

    def _send(
        self, method: str, path: str, options: Mapping[str, Any]
    ) -> tuple[requests.Response, bytes]:
        """The answer and its body, which ends at a limit of bytes and seconds."""
        deadline = time.monotonic() + MOST_READS * self._timeout[1]
        with self._session.request(
            method,
            self._url + path,
            headers={"Authorization": self._credentials.authorization()},
            timeout=self._timeout,
            allow_redirects=False,  # they could carry the token elsewhere
            stream=True,
            **options,
        ) as response:
            return response, receive(response, MOST_BYTES, deadline)


def _regions(prediction: Json) -> list[Json]:
    """What a prediction shows; other programs may have stored what is no list of regions."""
    result = prediction.get("result")
    return [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []


def _unreachable(call: str, url: str, error: Exception) -> StudioError:
    """No answer, or no end of it: Label Studio is down, starting, or not at this address."""
    return _unusable(call, url, type(error).__name__, retry=not isinstance(error, ValueError))


def _unusable(call: str, url: str, why: str, *, retry: bool = True) -> StudioError:
    return StudioError(
        f"Label Studio at {url} gave no usable answer to {call} ({why}); "
        "check that it is up and that LABEL_STUDIO_URL is its address",
        retry=retry,
    )


def _refused(call: str, response: requests.Response, body: bytes) -> StudioError:
    """Label Studio's answer as an error with its own words and a way out."""
    status = response.status_code
    if response.is_redirect:
        way_out = f"it points to {response.headers['Location']}: set LABEL_STUDIO_URL accordingly"
    else:
        way_out = WAYS_OUT.get(status, "see Label Studio's log")
    said = _said(body)
    words = said.get("validation_errors") or said.get("detail") or ""
    reason = f": {str(words)[:300]}" if words else ""
    foreign = not said and status not in FINAL  # somebody before Label Studio says it
    return StudioError(
        f"Label Studio answered {status} to {call}{reason}; {way_out}",
        retry=status >= 500 or status in TRANSIENT,
        doubtful=response.is_redirect or status in DOUBTFUL or foreign,
        status=status,
    )


def _said(body: bytes) -> Json:
    """Label Studio's own words; empty when the body is no JSON object."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def behind(task_id: int) -> Json:
    """The query for the tasks behind one, in the order of their ids."""
    return where("id", "greater", task_id)


def where(column: str, operator: str, value: int) -> Json:
    """The query for the tasks with some number, in the order of their ids."""
    rule = {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number"}
    items = [{**rule, "value": value}]
    return {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
