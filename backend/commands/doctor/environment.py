"""The settings: whether they can be read, and what looks like one and is none."""

import os
from collections.abc import Iterator

from pydantic import ValidationError
from rapidfuzz import fuzz, process

from backend.commands.doctor.findings import Finding, State
from backend.web.settings import Settings
from workers.settings import ModelSettings, SharedSettings, WorkerSettings, variables

TOPIC = "settings"
KINDS: tuple[type[SharedSettings], ...] = (Settings, WorkerSettings, ModelSettings)
LIKE = 85.0  # of 100: REDIS_ULR and REDIS_URL
SHORTEST = 5  # letters: HOME is not HOST
SAFE = {"HOSTNAME", "SUPPORT"}  # of shells


def check() -> Iterator[Finding]:
    """What is set, wrong, or not read."""
    wrong = list(_wrong())
    yield from wrong
    yield from _unread()
    if not wrong:
        settings = Settings()
        if settings.warning:
            yield Finding(TOPIC, State.NOTE, settings.warning)
        names = sorted(known() & os.environ.keys())
        yield Finding(TOPIC, State.GOOD, f"set: {', '.join(names) or 'none, all by default'}")


def known() -> set[str]:
    """Names of the environment that any part of the product reads."""
    return set[str]().union(*map(variables, KINDS))


def _wrong() -> Iterator[Finding]:
    said = set[str]()
    for kind in KINDS:
        try:
            kind()
        except ValidationError as error:
            for each in error.errors(include_input=False):
                name = ".".join(map(str, each["loc"])).upper()
                line = f"{name}: {each['msg']}" if name else each["msg"]
                if line not in said:
                    said.add(line)
                    yield Finding(TOPIC, State.WRONG, line, "see docs/SETTINGS.md")


def _unread() -> Iterator[Finding]:
    names = known()
    for name in sorted(os.environ.keys() - names - SAFE):
        if len(name) < SHORTEST:
            continue
        alike = process.extractOne(name, names, scorer=fuzz.ratio, score_cutoff=LIKE)
        if alike is not None and alike[0] not in os.environ:
            yield Finding(
                TOPIC, State.NOTE, f"{name} is set, and nothing reads it", f"{alike[0]} is meant?"
            )
