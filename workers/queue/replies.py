"""Where answers are kept: one key of Redis for a reply, another for a failure.

A third keeps the request that failed, far longer than the failure, which only holds off what would
fail again at once: so that people can have it tried again when they have put the cause right.
"""

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from workers.messages import SegmentReply, SegmentRequest
from workers.queue.handover import HAND_OVER, handed_over
from workers.queue.handover import failure_key as failure_key
from workers.queue.handover import reply_key as reply_key
from workers.queue.packing import unpacked

FAILURE_SECONDS = 300  # short, so that a cause that was put right gets another try
MOST_KEPT_BYTES = 2**16  # of a request, packed; only images that are sent along take more
CALL_LENGTH = 4  # RQ's data of a job: function, instance, arguments, named ones
FAST_COMPRESSION = 1  # runs are repetitive: level 1 halves the time of level 6 for 10 % more bytes

# KEYS: where, what `hand_over` takes, then what is forgotten. ARGV: what, for how many seconds,
# what `hand_over` takes.
_STORE = (
    HAND_OVER
    + """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', unpack(KEYS, 5))
hand_over(KEYS[2], KEYS[3], KEYS[4], ARGV[3])
"""
)


@dataclass(frozen=True)
class Failure:
    """Why a request has no reply.

    Attributes:
        message: names the value, the cause and the way out; fit for users.
    """

    message: str


@dataclass(frozen=True)
class Failed:
    """A request that was given up.

    Attributes:
        message: why.
        request: to be tried again; None for one too large to keep.
    """

    message: str
    request: SegmentRequest | None


Answer = SegmentReply | Failure | None

# What reading raises of bytes that others wrote.
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def attempts_key(key: str) -> str:
    """Where the tries of `SegmentRequest.key` are counted."""
    return f"dgl:attempts:{key}"


def tries_key(key: str) -> str:
    """Where the tries of `SegmentRequest.key` are counted that ended with what may pass."""
    return f"dgl:tries:{key}"


def retry_key(key: str) -> str:
    """Where a request that was given up is kept, `SegmentRequest.key`."""
    return f"dgl:retry:{key}"


def store_reply(redis: Redis, key: str, reply: SegmentReply, seconds: int) -> None:
    """Keep a reply, forget earlier failures and tries, and hand the waiting deliveries over."""
    packed = zlib.compress(json.dumps(reply.to_json()).encode(), FAST_COMPRESSION)
    _store(redis, key, reply_key(key), [failure_key(key), retry_key(key)], packed, seconds)


def store_failure(redis: Redis, key: str, message: str, seconds: int = FAILURE_SECONDS) -> None:
    """Keep a failure for some minutes or `seconds`, forget the tries, and hand over."""
    _store(redis, key, failure_key(key), [], message.encode(), seconds)


def _store(
    redis: Redis, key: str, name: str, outdated: Sequence[str], value: bytes, seconds: int
) -> None:
    keys, values = handed_over(key)
    names = [name, *keys, attempts_key(key), tries_key(key), *outdated]
    redis.register_script(_STORE)(names, [value, seconds, *values])


def keep_request(
    redis: Redis | Pipeline, request: SegmentRequest, message: str, seconds: int
) -> None:
    """Keep a request that was given up for `seconds`; without its image, only why."""
    packed = zlib.compress(json.dumps([message, request.to_json()]).encode(), FAST_COMPRESSION)
    if len(packed) > MOST_KEPT_BYTES:
        packed = zlib.compress(json.dumps([message, None]).encode(), FAST_COMPRESSION)
    redis.set(retry_key(request.key), packed, ex=seconds)


def kept_requests(redis: Redis, keys: Sequence[str]) -> dict[str, Failed]:
    """What was given up under these keys, where it is still kept."""
    stored = redis.mget([retry_key(key) for key in keys]) if keys else []
    failed = {}
    for key, packed in zip(keys, stored, strict=True):
        if packed is not None:
            assert isinstance(packed, bytes)
            with suppress(*DAMAGED):  # as good as not kept
                failed[key] = _failed(json.loads(unpacked(packed)))
    return failed


def look_up(redis: Redis, keys: Sequence[str]) -> dict[str, Answer]:
    """The answers that are there, in one round trip; None for a pending or unknown key."""
    if not keys:
        return {}
    with redis.pipeline(transaction=False) as pipe:
        pipe.mget([reply_key(key) for key in keys])
        pipe.mget([failure_key(key) for key in keys])
        replies, failures = pipe.execute()
    return {
        key: _answer(reply, failure)
        for key, reply, failure in zip(keys, replies, failures, strict=True)
    }


def _failed(kept: Sequence[Any]) -> Failed:
    """What `keep_request` kept, or the call of a job that was cancelled: the server copied that."""
    if len(kept) == CALL_LENGTH:
        return Failed("cancelled", SegmentRequest.from_json(kept[2][0]))
    message, content = kept
    return Failed(message, None if content is None else SegmentRequest.from_json(content))


def _answer(reply: bytes | None, failure: bytes | None) -> Answer:
    if reply is not None:  # a reply wins: the failure is of an earlier try
        return _readable(reply)
    return Failure(failure.decode()) if failure is not None else None


def _readable(reply: bytes) -> Answer:
    """A reply, or that it is damaged: nobody makes it anew before it is asked for anew."""
    try:
        return SegmentReply.from_json(json.loads(unpacked(reply)))
    except DAMAGED as error:
        return Failure(
            f"what the queue holds as the reply cannot be read ({type(error).__name__}): delete it "
            "there, or wait until it is forgotten, and retrieve the prediction again"
        )
