"""Log lines of all processes: what they are about, in text or JSON, without secrets.

A call of Label Studio gets an id that goes with its jobs and deliveries, so that one search finds
what the web server, a worker and a delivery said of it. Every line passes `Redaction`: what a
library or an error message carries along must not show a password.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]

ABOUT = ("request", "job", "project", "task")  # in this order
LONGEST = 80  # characters of what a line is about: ids of tasks come from strangers
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHORTEST_SECRET = 4  # a shorter one would blot out half of every line
BLOT = "***"
RELAYED = "relayed"  # attribute of a record: the line of a child process, as it wrote it
# What is a secret by its form, whoever it belongs to.
FORMS = (
    (re.compile(r"(://)[^/@\s]*:[^/@\s]+@"), rf"\1{BLOT}@"),
    # A word of eight letters is none: "token authentication".
    (
        re.compile(r"(?i)\b(basic|bearer|token)(\s+)(?=\S*[0-9=])[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1\2{BLOT}",
    ),
    (
        re.compile(
            r"(?i)\b((?:[a-z_]*password|[a-z_]*token|api_?key|x-amz-signature|signature|sig)=)"
            r"[^&\s'\"]+"
        ),
        rf"\1{BLOT}",
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"), BLOT),
)

_about: ContextVar[dict[str, str]] = ContextVar("about", default={})  # noqa: B039  # never changed


def begin(**about: object) -> None:
    """Say what the lines of this thread are about from now on, and forget what they were about.

    Args:
        about: of `ABOUT`; empty values are left out.
    """
    _about.set(_checked(about))


def add(**about: object) -> None:
    """Say more of what the lines of this thread are about."""
    _about.set(_about.get() | _checked(about))


@contextmanager
def about(**what: object) -> Iterator[None]:
    """`add`, for the length of a `with` block."""
    token = _about.set(_about.get() | _checked(what))
    try:
        yield
    finally:
        _about.reset(token)


def current() -> dict[str, str]:
    """What the lines of this thread are about."""
    return dict(_about.get())


def request_id(given: object) -> str:
    """An id of a request that comes from elsewhere, as it stands; empty for what is none."""
    return given if isinstance(given, str) and REQUEST_ID.fullmatch(given) else ""


def configure(level: int, form: LogFormat | None, secrets: Sequence[str] = ()) -> None:
    """Have all lines written to the standard error stream.

    Args:
        level: of the root logger.
        form: text, JSON, or None for nothing but the message, for people.
        secrets: never to be written.
    """
    redaction = Redaction(secrets)
    formatters = {"text": TextFormatter, "json": JsonFormatter, None: MessageFormatter}
    handler = logging.StreamHandler()
    handler.setFormatter(formatters[form](redaction))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(form is not None)


class Redaction:
    """Takes secrets out of texts.

    Args:
        secrets: as they are; what looks like a secret by its form is known anyway.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        long_enough = {each for each in secrets if len(each) >= SHORTEST_SECRET}
        self._secrets = sorted(long_enough, key=len, reverse=True)  # one may be part of another

    def __call__(self, text: str) -> str:
        """A text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, BLOT)
        for form, blot in FORMS:
            text = form.sub(blot, text)
        return text


class MessageFormatter(logging.Formatter):
    """The message alone, for people at a terminal.

    Args:
        redaction: takes out secrets.
    """

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback."""
        return self._redaction(super().format(record))

    def _traceback(self, record: logging.LogRecord) -> str:
        text = self.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
        return self._redaction(text)


class TextFormatter(MessageFormatter):
    """`2026-12-01T04:05:06.789Z INFO workers.processes.jobs [job=… task=7] …`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback."""
        what = " ".join(f"{name}={value}" for name, value in _about.get().items())
        head = [_time(record), record.levelname, record.name, *([f"[{what}]"] if what else [])]
        line = " ".join([*head, _one_line(self._redaction(record.getMessage()))])
        traceback = self._traceback(record)
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(MessageFormatter):
    """An object a line: time, level, logger, message, what it is about, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if (relayed := _relayed(record, self._redaction)) is not None:
            return json.dumps(relayed)
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redaction(record.getMessage()),
            **_about.get(),
        }
        if traceback := self._traceback(record):
            told["traceback"] = traceback
        return json.dumps(told)


def _one_line(text: str) -> str:
    """A text with line breaks, and whatever moves a cursor, written out: nobody makes lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _relayed(record: logging.LogRecord, redaction: Redaction) -> dict[str, Any] | None:
    """The line of a child that wrote JSON itself, with the name of the process."""
    held = getattr(record, RELAYED, None)
    if held is None:
        return None
    process, line = held
    try:
        told = json.loads(redaction(line))
    except ValueError:
        return None
    return {**told, "process": process} if isinstance(told, dict) else None


def _time(record: logging.LogRecord) -> str:
    """UTC, ISO 8601, to the millisecond."""
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _checked(about: dict[str, object]) -> dict[str, str]:
    """Short, printable values in the order of `ABOUT`."""
    told = {name: str(about[name]) for name in ABOUT if about.get(name) not in (None, "")}
    return {name: _printable(value[:LONGEST]) for name, value in told.items()}


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c not in " []" else "?" for c in text)
