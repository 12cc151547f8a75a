"""What lies packed in Redis, unpacked up to a limit: few bytes may stand for all of the memory."""

import zlib

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
