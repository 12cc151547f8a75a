"""A real Label Studio and this project's backend, each for the length of a `with` block.

Everything is bound to loopback, because two guards of Label Studio against server-side request
forgery are switched off here: since 1.23.1 they refuse any backend on a private address.
"""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from backend.commands.demo.processes import LOOPBACK, Program, StartError, running

ROOT = Path(__file__).resolve().parent.parent
STUDIO_PYTHON = ROOT / ".venv-studio" / "bin" / "python"


@dataclass(frozen=True)
class Account:
    """The demo's only user.

    Attributes:
        email: login.
        password: for the login form.
        legacy_token: sent as `Authorization: Token …`.
        personal_token: personal access token: a JWT to be exchanged for short-lived ones.
    """

    email: str
    password: str = field(repr=False)
    legacy_token: str = field(repr=False)
    personal_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Studio:
    """A running Label Studio.

    Attributes:
        base_url: `http://127.0.0.1:<port>`.
        account: the user who owns it.
        session: HTTP session with the user's rights.
        program: the process.
        files: folder whose files Label Studio serves, to projects that have it as a storage.
    """

    base_url: str
    account: Account
    session: requests.Session
    program: Program
    files: Path

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call Label Studio's REST API.

        Args:
            method: HTTP verb.
            path: from `/api/` on.
            options: of `requests.Session.request`; the time-out is 120 s unless given.

        Returns:
            The decoded JSON body, None when it is empty.

        Raises:
            StartError: an answer other than 2xx.
        """
        response = self.session.request(
            method, self.base_url + path, **{"timeout": 120, "allow_redirects": False, **options}
        )
        if not 200 <= response.status_code < 300:
            raise StartError(
                f"Label Studio answered {response.status_code} to {method} {path}: "
                f"{response.text[:500]}"
            )
        return response.json() if response.content else None


@dataclass(frozen=True)
class Backend:
    """This project's backend, running.

    Attributes:
        base_url: the address to give to Label Studio.
        program: the process.
    """

    base_url: str
    program: Program


@contextlib.contextmanager
def label_studio(data_dir: Path, port: int, python: Path = STUDIO_PYTHON) -> Iterator[Studio]:
    """Run Label Studio on loopback for the length of a `with` block.

    The first start creates the database and takes one to two minutes; later ones some seconds.

    Args:
        data_dir: database, uploads, log and the account; created when missing.
        port: a free TCP port.
        python: interpreter of the virtual environment that has Label Studio.

    Raises:
        StartError: no Label Studio there, or it does not answer within five minutes.
    """
    if not python.exists():
        raise StartError(
            f"{python} does not exist; install Label Studio with `make studio`, or give the "
            "interpreter of an environment that has it with --python"
        )
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds tokens
    account = _account(data_dir / "account.json")
    base_url = f"http://{LOOPBACK}:{port}"
    command = [str(python), "-m", "label_studio.server", "start", "--no-browser"]
    command += ["--internal-host", LOOPBACK, "--port", str(port)]
    environment = _studio_environment(data_dir, base_url, account)
    log = data_dir / "label-studio.log"
    with running(command, environment, log) as program, _direct_session() as session:
        program.wait_until(lambda: _answers(f"{base_url}/health"), seconds=300)
        session.headers["Authorization"] = f"Token {account.legacy_token}"
        studio = Studio(base_url, account, session, program, _files(data_dir))
        yield replace(studio, account=_with_personal_token(studio, data_dir / "account.json"))


@contextlib.contextmanager
def dgl_rsis(
    data_dir: Path, port: int, environment: Mapping[str, str], seconds: float = 120
) -> Iterator[Backend]:
    """Run this project's backend, `dgl-rsis up`, for the length of a `with` block.

    Args:
        data_dir: its log, and the folder of its queue.
        port: a free TCP port.
        environment: further variables, such as LABEL_STUDIO_URL; MODEL and DEVICE are inherited, a
            login is not.
        seconds: how long the model may take to load.

    Raises:
        StartError: it stopped, or no worker was ready in time.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    base_url = f"http://{LOOPBACK}:{port}"
    command = [program_path(), "up"]
    command += ["--data", str(data_dir / "queue")]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BASIC_AUTH_")}
    variables = inherited | {"HOST": LOOPBACK, "PORT": str(port), **environment}
    user, password = (variables.get(f"BASIC_AUTH_{name}", "") for name in ("USER", "PASS"))
    with running(command, variables, data_dir / "backend.log") as program:
        program.wait_until(lambda: _answers(f"{base_url}/ready", (user, password)), seconds)
        yield Backend(base_url, program)


def program_path() -> str:
    """The command `dgl-rsis`: DGL_RSIS_COMMAND, or that of this environment."""
    return os.environ.get("DGL_RSIS_COMMAND") or str(Path(sys.executable).with_name("dgl-rsis"))


def _account(path: Path) -> Account:
    """The account kept at `path`; a new one with random secrets the first time."""
    if path.exists():
        return Account(**json.loads(path.read_text()))
    if (path.parent / "label_studio.sqlite3").exists():
        raise StartError(
            f"{path} is gone, and with it the login: delete {path.parent} to begin anew"
        )
    account = Account("demo@example.com", secrets.token_urlsafe(9), secrets.token_hex(20))
    # Of the keys that Label Studio makes itself one in fifty begins with a $, which it takes for
    # the name of a variable when it reads it again: then no token is valid any more.
    _write_private(path.with_name(".env"), f"SECRET_KEY={secrets.token_hex(32)}\n")
    _keep(account, path)
    return account


def _keep(account: Account, path: Path) -> None:
    """Write the account so that only its owner can read it."""
    _write_private(path, json.dumps(asdict(account)))


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _with_personal_token(studio: Studio, path: Path) -> Account:
    """The account with a personal access token, asked for once and then kept."""
    account = studio.account
    body = {"refresh": account.personal_token}
    if studio.session.post(f"{studio.base_url}/api/token/refresh", json=body, timeout=60).ok:
        return account
    token = studio.api("POST", "/api/token/", json={})["token"]
    account = replace(account, personal_token=token)
    _keep(account, path)
    return account


def _studio_environment(data_dir: Path, base_url: str, account: Account) -> dict[str, str]:
    """Environment of a Label Studio that depends on nothing set outside, and calls nobody."""
    ours = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "REDIS_", "ML_")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and name not in {"HOST", "PORT"}
    }
    return inherited | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir.resolve()),
        "LABEL_STUDIO_HOST": base_url,
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(_files(data_dir)),
        "LABEL_STUDIO_USERNAME": account.email,
        "LABEL_STUDIO_PASSWORD": account.password,
        "LABEL_STUDIO_USER_TOKEN": account.legacy_token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Both are needed to connect a backend on loopback; with the first alone the backend is
        # saved but its webhook refused.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "NO_PROXY": f"{LOOPBACK},localhost",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def _files(data_dir: Path) -> Path:
    folder = data_dir.resolve() / "files"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _direct_session() -> requests.Session:
    """A session without the proxies and logins of the environment: all is on loopback."""
    session = requests.Session()
    session.trust_env = False
    return session


def _answers(url: str, login: tuple[str, str] | None = None) -> bool:
    """Whether `url` answers 200."""
    with _direct_session() as session, contextlib.suppress(requests.RequestException):
        return session.get(url, auth=login, timeout=5).status_code == 200
    return False
