"""What this queue alone knows, so that Label Studio's word is told from that of anybody else.

Whoever reaches the web server can write in Label Studio's name. Two things he cannot: read what
Label Studio keeps for a project, and have Label Studio call another backend than a project has.

    dgl:secret          random, made once; a project's webhook carries what is derived from it
    dgl:secret:former   the one before, for a day: it still counts until all webhooks carry the new
    dgl:challenge       a nonce, while Label Studio is asked which backend answers with it
    dgl:connected:P     what Label Studio said of a project: its backend that leads here, if any
"""

import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass

from redis import Redis

from workers.queue import notes
from workers.queue.connection import reaching_redis

SECRET_KEY = "dgl:secret"
FORMER_KEY = "dgl:secret:former"
CHALLENGE_KEY = "dgl:challenge"
SECRET_BYTES = 32
FORMER_SECONDS = 24 * 3600
CHALLENGE_SECONDS = 60
CHALLENGE = "challenge-"  # before the nonce: somebody may see it in a list of versions
CONNECTED_SECONDS = 600  # a backend that is disconnected counts for so long
NOT_CONNECTED_SECONDS = 5
TOKEN = re.compile(r"([0-9]{1,18})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class Connection:
    """A project's backend in Label Studio that leads to this queue.

    Attributes:
        url: of the backend, as Label Studio calls it; empty where the project has none that does.
        config: digest of the project's label config.
    """

    url: str = ""
    config: str = ""


class Identity:
    """Secrets of this queue, and which projects are connected to it.

    Every method raises `QueueError` when Redis cannot be reached.

    Args:
        redis: the queue's server; without `decode_responses`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @reaching_redis()
    def token(self, project: str) -> str:
        """What the webhook of a project carries; nobody can make it who has not the secret.

        Args:
            project: Label Studio's id, digits.
        """
        return _token(project, self._secret())

    @reaching_redis()
    def project_of(self, token: str) -> str:
        """The project whose webhook carries a token; empty for a token that is none of ours."""
        named = TOKEN.fullmatch(token)
        if named is None:
            return ""
        former = self._redis.get(FORMER_KEY)
        valid = [self._secret(), *([notes.text(former)] if former is not None else [])]
        # No short cut: how long it takes must not tell which of the two is nearer.
        same = [hmac.compare_digest(_token(named[1], secret), token) for secret in valid]
        return named[1] if any(same) else ""

    @reaching_redis()
    def renew(self) -> None:
        """Have webhooks carry another secret; the present one counts for another day."""
        with self._redis.pipeline() as pipe:
            pipe.set(FORMER_KEY, self._secret(), ex=FORMER_SECONDS)
            pipe.set(SECRET_KEY, secrets.token_hex(SECRET_BYTES))
            pipe.execute()

    @reaching_redis()
    def challenge(self) -> str:
        """A nonce that every web server of this queue answers with for a while."""
        nonce = f"{CHALLENGE}{secrets.token_hex(SECRET_BYTES)}"
        with self._redis.pipeline() as pipe:
            pipe.set(CHALLENGE_KEY, nonce, nx=True)
            pipe.expire(CHALLENGE_KEY, CHALLENGE_SECONDS)
            pipe.get(CHALLENGE_KEY)
            return notes.text(pipe.execute()[2])

    @reaching_redis()
    def challenged(self) -> str:
        """The nonce to answer with; empty while nobody asks."""
        held = self._redis.get(CHALLENGE_KEY)
        return "" if held is None else notes.text(held)

    @reaching_redis()
    def connection(self, project: str) -> Connection | None:
        """What was found out about a project a moment ago; None for nothing."""
        held = self._redis.get(_connected_key(project))
        return notes.read(Connection, held)

    @reaching_redis()
    def remember(self, project: str, connection: Connection) -> None:
        """Keep what was found out about a project: minutes; that it has no connection, seconds."""
        seconds = CONNECTED_SECONDS if connection.url else NOT_CONNECTED_SECONDS
        self._redis.set(_connected_key(project), json.dumps(asdict(connection)), ex=seconds)

    @reaching_redis()
    def is_unsecured(self, project: str) -> bool:
        """Whether nobody saw to a project's webhooks of late; who asks does so now."""
        return bool(self._redis.set(f"dgl:secured:{project}", "", nx=True, ex=CONNECTED_SECONDS))

    @reaching_redis()
    def expect(self, project: str, config: str) -> None:
        """Have a project asked after anew that is known with another label config than this.

        So what is known when something is delivered is newer than the wish for it, or says the
        same.

        Args:
            project: Label Studio's id, digits.
            config: digest of the label config under which something is wanted now.
        """
        known = self.connection(project)
        if known is not None and known.config != config:
            self._redis.delete(_connected_key(project))

    def _secret(self) -> str:
        held = self._redis.get(SECRET_KEY)
        if held is None:
            self._redis.set(SECRET_KEY, secrets.token_hex(SECRET_BYTES), nx=True)
            held = self._redis.get(SECRET_KEY)
        assert held is not None, "it was made just now"
        return notes.text(held)


def _token(project: str, secret: str) -> str:
    signature = hmac.digest(bytes.fromhex(secret), f"webhook:{project}".encode(), "sha256")
    return f"{project}.{signature.hex()}"


def _connected_key(project: str) -> str:
    return f"dgl:connected:{project}"
