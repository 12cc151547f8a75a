"""Label Studio's brush RLE.

The format is the bit stream of @thi.ng/rle-pack over the flattened RGBA image: a 32-bit count of
values (4 · H · W), 5 bits word size − 1, four 4-bit run sizes − 1 ([3, 4, 8, 16]), then codes:
1 bit "run", 2 bits run size class, the run length − 1 in that many bits, then one 8-bit value if
it is a run, or as many values as the length says if it is not; zero bits to the next byte.

`encode` writes the bytes that `label_studio_sdk.converter.brush.mask2rle(mask * 255)` writes,
which is the oracle of the tests. The SDK builds a string bit by bit in a Python loop; here the
codes of all runs are shifted into 64-bit words at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.runs import Runs, lengths

CHANNELS = 4  # RGBA; all channels of a pixel carry the same value
MAX_PIXELS = 2**32 // CHANNELS - 1  # the count of values has 32 bits
OPAQUE = 255
# A browser writes anti-aliased edges: a pixel counts when at least half of it is covered.
HALF_OPAQUE = 128

WORD_BITS = 8
RUN_BITS = np.array([3, 4, 8, 16], dtype=np.int64)
LONGEST_RUN = 2**16
HEADER_BITS = 32 + 5 + 4 * 4
PREFIX_BITS = 1 + 2  # "is a run", run size class

Words = NDArray[np.uint64]


def encode(runs: Runs) -> list[int]:
    """Brush RLE of a mask: foreground 255, background 0 in all four channels.

    Returns:
        Bytes, 0-255, as the `rle` of a brush region holds them.

    Raises:
        ValueError: no pixel, more than `MAX_PIXELS`, or runs that do not fit the size.
    """
    length = _values_of(runs.height, runs.width)
    counts = lengths(runs)
    values = np.where(np.arange(len(counts)) % 2 == 1, OPAQUE, 0)
    present = counts > 0
    codes, bits = _codes(*_split(counts[present] * CHANNELS, values[present]))
    rle: list[int] = _pack(_header(length), codes, bits).tolist()
    return rle


def decode(rle: Sequence[int], height: int, width: int) -> Runs:
    """The mask of a brush RLE: alpha of at least `HALF_OPAQUE`.

    Reads what the SDK writes (runs only) and what the browser writes (also literal values, any
    colour, any run sizes).

    Raises:
        ValueError: not bytes, cut short, or of another image size.
    """
    try:
        data = bytes(rle)
    except (TypeError, ValueError) as error:
        raise ValueError(f"brush RLE must be a list of integers 0-255: {error}") from None
    expected = _values_of(height, width)
    counts, values = _read(data, expected)
    ends = np.minimum(np.cumsum(counts), expected)
    # Alpha is the last of four channels, so ends // 4 alphas lie before each run's end.
    alphas = np.diff(ends // CHANNELS, prepend=0)
    return _merged(alphas, values >= HALF_OPAQUE, height, width)


def _values_of(height: int, width: int) -> int:
    """Values of the flattened RGBA image.

    Raises:
        ValueError: no pixel, or more than the format can count.
    """
    pixels = height * width
    if not 0 < pixels <= MAX_PIXELS:
        raise ValueError(
            f"brush RLE holds 1 to {MAX_PIXELS} pixels, got {width} × {height} = {pixels}: "
            "cut the image into tiles"
        )
    return pixels * CHANNELS


def _split(
    counts: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Cut runs at `LONGEST_RUN`; the flag says that a piece belongs to a run that was cut."""
    pieces = -(-counts // LONGEST_RUN)
    if not (pieces > 1).any():
        return counts, values, np.zeros(len(counts), dtype=np.bool_)
    out = np.full(int(pieces.sum()), LONGEST_RUN, dtype=np.int64)
    out[np.cumsum(pieces) - 1] = counts - (pieces - 1) * LONGEST_RUN
    return out, np.repeat(values, pieces), np.repeat(pieces > 1, pieces)


def _codes(
    counts: NDArray[np.int64], values: NDArray[np.int64], cut: NDArray[np.bool_]
) -> tuple[Words, NDArray[np.int64]]:
    """The code of each run and its length in bits (14 to 27)."""
    size_class = np.searchsorted(2**RUN_BITS, counts)  # smallest class that holds the run
    size_class[cut] = 3  # the SDK keeps 16 bits for the rest of a run that it cut
    run_bits = RUN_BITS[size_class]
    codes = ((4 + size_class) << run_bits | counts - 1) << WORD_BITS | values
    return codes.astype(np.uint64), PREFIX_BITS + run_bits + WORD_BITS


def _header(length: int) -> int:
    """The first `HEADER_BITS` bits, as one number."""
    header = length << 5 | WORD_BITS - 1
    for size in RUN_BITS.tolist():
        header = header << 4 | size - 1
    return header


def _pack(header: int, codes: Words, bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Concatenate the header and the codes, most significant bit first, and fill the last byte."""
    codes = np.concatenate((np.array([header], dtype=np.uint64), codes))
    bits = np.concatenate(([HEADER_BITS], bits))
    ends = np.cumsum(bits)
    starts = ends - bits
    total = int(ends[-1])
    word = starts // 64
    words = np.zeros(total // 64 + 2, dtype=np.uint64)
    spill = (starts % 64) + bits - 64  # bits that do not fit into the word where a code starts
    right, left = np.maximum(spill, 0), np.maximum(-spill, 0)
    head = codes >> right.astype(np.uint64) << left.astype(np.uint64)
    # A code is shorter than a word, so every word but the last has a code that starts in it.
    words[: int(word[-1]) + 1] = np.bitwise_or.reduceat(head, _first_of_each(word))
    over = np.flatnonzero(spill > 0)
    words[word[over] + 1] |= codes[over] << (64 - spill[over]).astype(np.uint64)
    # Like the SDK: a stream that ends on a byte border gets one more byte of zeros.
    return words.astype(">u8").view(np.uint8)[: total // 8 + 1]


def _first_of_each(word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the first code of each word."""
    return np.flatnonzero(np.diff(word, prepend=-1))


def _read(data: bytes, expected: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Runs of the flattened RGBA image: lengths and values; literals are runs of length 1."""
    stream = int.from_bytes(data[:7].ljust(7, b"\0"))
    length, word_bits = stream >> 24, (stream >> 19 & 31) + 1
    sizes = [(stream >> shift & 15) + 1 for shift in (15, 11, 7, 3)]
    if length != expected or word_bits != WORD_BITS:
        raise ValueError(
            f"brush RLE of {length} values of {word_bits} bits, but the region says {expected} "
            f"values of {WORD_BITS} bits (4 · width · height): the mask is of another image size"
        )
    counts, positions, literal = _walk(data, sizes, expected)
    return _values(data, counts, positions, literal)


def _walk(
    data: bytes, sizes: list[int], expected: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Follow the codes: length, bit position of the first value, and whether it is a literal.

    Where a code ends depends on the code itself, so this is a loop; it touches a code once.
    """
    padded = data + bytes(4)
    available = 8 * len(data)
    position, done = HEADER_BITS, 0
    counts, positions, literal = [], [], []
    while done < expected:
        if position + PREFIX_BITS > available:
            raise ValueError(f"brush RLE is cut short: {done} of {expected} values")
        start = position >> 3
        window = int.from_bytes(padded[start : start + 4]) << (position & 7) & 0xFFFFFFFF
        size = sizes[window >> 29 & 3]
        count = (window >> (29 - size) & (1 << size) - 1) + 1
        is_literal = window < 0x80000000
        counts.append(count)
        positions.append(position + PREFIX_BITS + size)
        literal.append(is_literal)
        position += PREFIX_BITS + size + WORD_BITS * (count if is_literal else 1)
        done += count
    if position > available:
        raise ValueError(f"brush RLE is cut short: its last value ends at bit {position}")
    return np.array(counts), np.array(positions), np.array(literal)


def _values(
    data: bytes,
    counts: NDArray[np.int64],
    positions: NDArray[np.int64],
    literal: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Read the value of each run, and each value of a literal."""
    parts = np.where(literal, counts, 1)
    index = np.arange(int(parts.sum())) - np.repeat(np.cumsum(parts) - parts, parts)
    bit = np.repeat(positions, parts) + index * WORD_BITS
    padded = np.frombuffer(data + bytes(1), dtype=np.uint8).astype(np.uint16)
    pair = padded[bit // 8] << 8 | padded[bit // 8 + 1]
    values = (pair >> (8 - bit % 8).astype(np.uint16) & 255).astype(np.uint8)
    return np.repeat(np.where(literal, 1, counts), parts), values


def _merged(
    counts: NDArray[np.int64], foreground: NDArray[np.bool_], height: int, width: int
) -> Runs:
    """Join neighbouring runs of one kind; the first is background."""
    present = counts > 0
    counts, foreground = counts[present], foreground[present]
    first = np.flatnonzero(np.diff(foreground.astype(np.int8), prepend=2))
    joined = tuple(np.add.reduceat(counts, first).tolist())
    return Runs(height, width, (0, *joined) if foreground[0] else joined)
