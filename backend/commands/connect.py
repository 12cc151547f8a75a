"""`dgl-rsis connect`: what a person does under Settings → Model, for a project or several."""

import time
from typing import Annotated, Any

import requests
import typer

from backend.commands import options
from backend.commands.refusals import refuse
from backend.studio.client import StudioClient, StudioError
from backend.web.settings import Settings

TITLE = "DGL-RSIS"  # until the first prediction: then it is the model's version (decision 31)
START_SECONDS = 30.0  # until the server answers
READY_SECONDS = 300.0  # until a worker has loaded its model
PATIENCE_SECONDS = 2.0
NOT_READY = 503
UNREACHED = (
    "Label Studio must reach the backend at {url}, as it would be called from there. Since 1.23.1 "
    "it refuses private addresses unless it is started with ML_BLOCK_LOCAL_IP=false "
    "SSRF_PROTECTION_ENABLED=false; give another address with --backend"
)


def connect(
    projects: Annotated[list[int], typer.Argument(min=1, help="Label Studio's ids.")],
    backend: Annotated[
        str, typer.Option(help="Address of the web server, as Label Studio reaches it.")
    ] = "",
) -> None:
    """Connect projects of Label Studio to this backend, with clicks and sentences switched on.

    The environment names Label Studio (LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY) and, where there is
    one, the backend's login (BASIC_AUTH_USER, BASIC_AUTH_PASS). A project that is connected already
    is put right.
    """
    settings = options.read(Settings)
    url = backend.rstrip("/") or f"http://localhost:{settings.port}"
    if not url.startswith(("http://", "https://")):
        refuse(f"--backend is {backend!r}, without a scheme: write http://… or https://…")
    studio = options.studio(settings, StudioClient)
    login = _login(settings)
    _wait_for(url, (login["basic_auth_user"], login["basic_auth_pass"]) if login else None)
    body = {"url": url, "is_interactive": True, **login}
    failed = 0
    for project in projects:
        try:
            typer.echo(f"project {project}: {_connect(studio, project, body)} {url}")
        except StudioError as error:
            failed += 1
            way_out = UNREACHED.format(url=url) if error.status in (400, 403) else ""
            typer.echo(f"dgl-rsis: project {project}: {error}. {way_out}".rstrip(), err=True)
    if failed:
        raise typer.Exit(1)


def _wait_for(url: str, login: tuple[str, str] | None) -> None:
    """Give a server that was started a moment ago the time to answer, and its model that to load.

    Label Studio asks it while it connects, and whoever opens a task before a worker is ready finds
    no masks. A server that does not answer from here may do so where Label Studio is.
    """
    began, told = time.monotonic(), False
    with requests.Session() as session:
        session.trust_env, session.auth = False, login
        while (waited := time.monotonic() - began) < READY_SECONDS:
            try:
                if session.get(f"{url}/ready", timeout=5).status_code != NOT_READY:
                    return
            except requests.RequestException:
                if waited > START_SECONDS:
                    return
            if not told and waited > PATIENCE_SECONDS:
                typer.echo(f"waiting until a worker of {url} is ready …", err=True)
                told = True
            time.sleep(0.5)


def _connect(studio: StudioClient, project: int, body: dict[str, Any]) -> str:
    """Connect a project, or put right how it is connected; what was done."""
    studio.project(project)  # else Label Studio's refusal is that of an unknown address
    backends = studio.model_versions(project)["live"] or []
    there = next((each for each in backends if each["url"].rstrip("/") == body["url"]), None)
    if there is None:
        studio.connect_backend(project, {**body, "title": TITLE})
        return "connected to"
    studio.change_backend(int(there["id"]), project, {**body, "title": there["title"]})
    return "is connected to"


def _login(settings: Settings) -> dict[str, str]:
    if settings.basic_auth_user is None or settings.basic_auth_pass is None:
        return {}
    return {
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": settings.basic_auth_user,
        "basic_auth_pass": settings.basic_auth_pass.get_secret_value(),
    }
