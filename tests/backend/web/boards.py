"""Tasks in the ledger, and browsers that look at them."""

import re

from flask.testing import FlaskClient
from redis import Redis

from workers.queue.ledger import Ledger, Outcome, State

KEY = "a" * 32
CONFIG = "c" * 64
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def ask(redis: Redis, *tasks: str, config: str = "", key: str = KEY) -> None:
    """Note that tasks of project 1 were asked for; no job is made."""
    with redis.pipeline(transaction=False) as pipe:
        Ledger(redis, 3600).ask(pipe, "1", [(task, key) for task in tasks], config)
        pipe.execute()


def settle(redis: Redis, task: str, state: State, reason: str = "", key: str = KEY) -> None:
    """Note what became of a task of project 1."""
    Ledger(redis, 3600).settle("1", [Outcome(task, key, state, reason)])


def token_of(client: FlaskClient, path: str) -> str:
    """The token in the forms of a page."""
    named = re.search(r'name="token" value="([^"]+)"', client.get(path).text)
    assert named is not None, f"{path} has no form"
    return named[1]
