"""What the queue's server, or the way to it, says when it refuses: in words, with the way out."""

from dataclasses import dataclass

from redis import RedisError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError


@dataclass(frozen=True)
class Cause:
    """Why the queue's server does not serve.

    Attributes:
        name: a word for metrics and logs.
        message: cause and way out; no address and no password in it.
        passes: it may pass by itself; else a person must act, and trying again is in vain.
    """

    name: str
    message: str
    passes: bool


_CHECK_LOGIN = "check user name and password in REDIS_URL"
_NO_LOGIN = Cause("login", f"the queue's server asks for a login: {_CHECK_LOGIN}", passes=False)
_LOGIN = Cause("login", f"the queue's server refuses the login: {_CHECK_LOGIN}", passes=False)
_PERMISSION = Cause(
    "permission",
    "the queue's server forbids its user a command or a key: give the user in REDIS_URL the rights "
    "that docs/SETTINGS.md lists",
    passes=False,
)
_CLIENTS = Cause(
    "clients",
    "the queue's server has no connection left: raise its maxclients, or run fewer workers",
    passes=True,
)
_FULL = Cause(
    "memory",
    "the queue's server is full: raise its maxmemory, or keep replies for a shorter time "
    "(REPLY_DAYS); what waits is kept",
    passes=True,
)
_REPLICA = Cause(
    "read-only",
    "the queue's server is a replica: give REDIS_URL the address of the primary, or those of its "
    "sentinels (redis+sentinel://HOST:26379,…/GROUP/0)",
    passes=True,
)
_CHANGED = Cause(
    "read-only", "the queue's primary has just changed: its successor is asked for", passes=True
)
_LOADING = Cause(
    "loading", "the queue's server is loading its data: wait until it has", passes=True
)
_DISK = Cause(
    "disk",
    "the queue's server cannot write to its disk, and refuses to take what it might lose: look at "
    "its log and its disk",
    passes=True,
)
_REPLICAS = Cause(
    "replicas",
    "the queue's server has fewer replicas than it needs: start them, or lower its "
    "min-replicas-to-write",
    passes=True,
)
_BUSY = Cause(
    "busy", "the queue's server is busy with a script: wait until it is done", passes=True
)
_ORPHANED = Cause(
    "primary",
    "the queue's primary is away, and this is its replica: wait until one is promoted",
    passes=True,
)
_CLUSTER = Cause(
    "cluster",
    "the queue's server is part of a cluster, which RQ cannot use: use one server, with replicas "
    "and sentinels if it must not be a single one",
    passes=False,
)
_DATABASE = Cause(
    "database",
    "the queue's server has no database of that number: lower the one at the end of REDIS_URL, or "
    "raise its setting databases",
    passes=False,
)
_VERSION = Cause(
    "version",
    "the queue's server does not know a command that is needed: use Valkey, or Redis from 7.0 on",
    passes=False,
)
_SENTINEL = Cause(
    "sentinel",
    "no sentinel names a primary for the queue: wait for the failover; if it lasts, check hosts, "
    "group and logins in REDIS_URL",
    passes=True,
)
_UNTRUSTED = Cause(
    "certificate",
    "the certificate of the queue's server is not trusted: name the file of its authority in "
    "REDIS_URL (?ssl_ca_certs=FILE), and the host as the certificate does",
    passes=False,
)
_NO_TLS = Cause(
    "certificate",
    "the queue's server speaks no TLS at this port: write redis:// for rediss://, or its TLS port",
    passes=False,
)
_NO_CERTIFICATE = Cause(
    "certificate",
    "the queue's server asks for a certificate: name it in REDIS_URL "
    "(?ssl_certfile=FILE&ssl_keyfile=FILE)",
    passes=False,
)
_HUNG_UP = Cause(
    "certificate",
    "the queue's server ends the encrypted connection at once: if it asks for a certificate, name "
    "it in REDIS_URL (?ssl_certfile=FILE&ssl_keyfile=FILE); its log says why",
    passes=True,
)
_FILE = Cause(
    "address",
    "a file or socket that REDIS_URL names does not exist: check it, and that the server runs",
    passes=True,
)
_SILENT = Cause(
    "silent",
    "the queue does not answer in time: check that its server runs, what holds it up, and that it "
    "speaks TLS where REDIS_URL says rediss://",
    passes=True,
)
_UNREACHABLE = Cause(
    "unreachable",
    "the queue does not answer: check that its server runs and that REDIS_URL is right",
    passes=True,
)
FOREIGN = Cause(
    "foreign",
    "the queue's server holds something of another kind under a name that is used here: another "
    "program, or somebody by hand, wrote it; give REDIS_URL a database of its own (the number at "
    "its end), or empty this one",
    passes=True,
)
REFUSED = Cause(
    "refused",
    "the queue's server refuses what it is asked, for no reason that is known here: its log and "
    "the worker's say more",
    passes=True,
)

_OTHER_TYPE = "WRONGTYPE"

# Class of redis-py, what the message contains, the cause; the first that fits counts. Codes are
# sought in messages since those of scripts and of refused transactions hold them in their middle.
_TABLE: tuple[tuple[type[RedisError], str, Cause], ...] = (
    (RedisError, "max number of clients", _CLIENTS),
    (RedisError, "NOAUTH", _NO_LOGIN),
    (AuthenticationError, "already authenticated", _NO_LOGIN),
    (AuthenticationError, "Authentication required", _NO_LOGIN),
    (AuthenticationError, "", _LOGIN),
    (RedisError, "WRONGPASS", _LOGIN),
    (NoPermissionError, "", _PERMISSION),
    (RedisError, "NOPERM", _PERMISSION),
    (OutOfMemoryError, "", _FULL),
    (RedisError, "OOM command not allowed", _FULL),
    (ReadOnlyError, "", _REPLICA),
    (RedisError, "READONLY", _REPLICA),
    (RedisError, "previous master is now a slave", _CHANGED),
    (BusyLoadingError, "", _LOADING),
    (RedisError, "LOADING", _LOADING),
    (RedisError, "MISCONF", _DISK),
    (RedisError, "NOREPLICAS", _REPLICAS),
    (RedisError, "BUSY", _BUSY),
    (RedisError, "MASTERDOWN", _ORPHANED),
    (MovedError, "", _CLUSTER),
    (RedisError, "CLUSTERDOWN", _CLUSTER),
    (RedisError, "CROSSSLOT", _CLUSTER),
    (RedisError, "DB index is out of range", _DATABASE),
    (RedisError, "unknown command", _VERSION),
    (MasterNotFoundError, "", _SENTINEL),
    (RedisError, "CERTIFICATE_VERIFY_FAILED", _UNTRUSTED),
    (RedisError, "WRONG_VERSION_NUMBER", _NO_TLS),
    (RedisError, "RECORD_LAYER_FAILURE", _NO_TLS),
    (RedisError, "CERTIFICATE_REQUIRED", _NO_CERTIFICATE),
    (RedisError, "EOF occurred in violation of protocol", _HUNG_UP),
    (RedisError, "No such file or directory", _FILE),
    (RedisError, _OTHER_TYPE, FOREIGN),
    (TimeoutError, "", _SILENT),
    (ResponseError, "", REFUSED),
)


def explain(error: BaseException) -> Cause:
    """Why a call to the queue's server failed.

    Args:
        error: what redis-py raised.
    """
    # Of a pipeline the message begins with the command, which holds what strangers wrote.
    text = str(error).rpartition("caused error: ")[2]
    for kind, part, cause in _TABLE:
        if isinstance(error, kind) and part in text:
            return cause
    return _UNREACHABLE


def is_of_another_type(error: BaseException) -> bool:
    """Whether a key is there, and holds something else than what was asked of it."""
    return explain(error) is FOREIGN
