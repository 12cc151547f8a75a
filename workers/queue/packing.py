"""What lies in Redis, read with care: it may stand for all of the memory, or be rubbish."""

import logging
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Message = TypeVar("Message")

MOST_BYTES = 2**28  # a request holds inline images, a reply all of its masks


def unpacked(data: bytes, most: int = MOST_BYTES) -> bytes:
    """What zlib packed.

    Args:
        data: as it lies in Redis.
        most: bytes that it may stand for.

    Raises:
        ValueError: it is more than that, cut short, or was not packed.
    """
    packer = zlib.decompressobj()
    try:
        whole = packer.decompress(data, most)
    except zlib.error as error:
        raise ValueError(f"no packed bytes: {error}") from None
    if not packer.eof:
        raise ValueError(f"packed bytes are cut short, or stand for more than {most:,}")
    return whole


def read_or_drop(
    read: Callable[[dict[str, Any]], Message], payload: dict[str, Any]
) -> Message | None:
    """What a job asks for; None, and a line in the log, where that is nothing: no try can help."""
    try:
        return read(payload)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        log.warning("a job is dropped: it asks for nothing (%s)", type(error).__name__)
        return None
