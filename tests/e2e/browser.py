"""Chromium, as the end-to-end tests and measurements use it."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from backend.commands.demo.processes import LOOPBACK, StartError
from samples.servers import Studio

ATTEMPTS = 10  # of a login, a second apart
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
# As root Chromium needs --no-sandbox; the others keep it from calling hosts of its own.
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Every host is cut off but this machine. Playwright's own interception can do that too, and
    # then closes no page that still loads something.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
]


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[BrowserContext]:
    """Chromium, with every host cut off but this machine.

    Args:
        folder: for the browser's own files.

    Raises:
        StartError: there is no Chromium.
    """
    if not CHROMIUM.exists():
        raise StartError(
            f"{CHROMIUM} does not exist: install it (Debian: apt-get install chromium) or name "
            "another Chromium in the environment variable CHROMIUM"
        )
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder,
            executable_path=CHROMIUM,
            args=CHROMIUM_FLAGS,
            viewport={"width": 1440, "height": 1000},
        )
        yield context
        context.close()


@contextlib.contextmanager
def logged_in(studio: Studio, folder: Path) -> Iterator[BrowserContext]:
    """Chromium, logged in to Label Studio; see `chromium`.

    Args:
        studio: Label Studio.
        folder: for the browser's own files.

    Raises:
        StartError: there is no Chromium.
    """
    with chromium(folder) as context:
        log_in(context, studio.base_url, studio.account.email, studio.account.password)
        yield context


def log_in(context: BrowserContext, base_url: str, user: str, password: str) -> None:
    """Log in to the Label Studio at an address, as its form does: no page has to be closed.

    Cookies know hosts, not ports: an open tab of another Label Studio may take ours away at any
    time, so a login that fails is tried again.
    """
    address = f"{base_url}/user/login/"
    for _ in range(ATTEMPTS):
        form = context.request.get(address).text()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        if token is None:
            return  # it is no form: somebody is logged in
        fields = {"csrfmiddlewaretoken": token[1], "email": user, "password": password}
        answer = context.request.post(address, form=fields, headers={"Referer": address})
        if answer.ok and "/login" not in answer.url:
            return
        time.sleep(1)
    raise StartError(f"{address} does not let {user} in: {answer.status} {answer.status_text}")
