"""What of a photo's file decides its picture: the rest is left out before it is decoded. [ours].

Browsers show a JPEG with a broken index of pictures, or a PNG with a novel inside; Pillow refuses
both. So segments and chunks that no picture depends on never reach it, and the turn is read here,
from where browsers read it and nowhere else: the EXIF of JPEG and PNG, never XMP, and not that of
WebP. `tests/e2e/test_photos.py` compares with Chromium.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
EXIF = b"Exif\0\0"
ORIENTATION, SHORT = 0x0112, 3  # number and type of the tag
# Markers of JPEG: application data of JFIF, EXIF and Adobe, the last of all, a comment; the start
# of the pixels; those without a length.
APP0, APP1, APP14, APP15, COMMENT, SCAN = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE, 0xDA
ALONE = frozenset({0x01, *range(0xD0, 0xDA)})
JFIF_BYTES, ADOBE_BYTES = 14, 12  # of these segments at least: shorter ones count as not there
PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
TRANSPARENT_BYTES = {0: 2, 2: 6}  # of tRNS, by the kind of colours in IHDR
PALETTE = 3  # such a kind


@dataclass(frozen=True)
class Essentials:
    """A photo's file without what its picture does not depend on.

    Attributes:
        data: the file, or what is left of a JPEG or PNG.
        orientation: the turn that a browser makes, as EXIF counts it: 1 to 8, 1 for none.
    """

    data: bytes
    orientation: int = 1


def essentials(data: bytes) -> Essentials:
    """What decides the picture of a file.

    Args:
        data: of a file in any format. One that is damaged comes as it is: its reader says so.
    """
    if data.startswith(JPEG_START):
        return _of_jpeg(data)
    if data.startswith(PNG_START):
        return _of_png(data)
    return Essentials(data)


def _of_jpeg(data: bytes) -> Essentials:
    kept, exif, at = [data[:2]], None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # any number may stand before a marker
            at += 1
            continue
        if marker in ALONE or marker == SCAN:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == APP1 and exif is None and body.startswith(EXIF):
            exif = body.removeprefix(EXIF)
        if (not APP0 <= marker <= APP15 and marker != COMMENT) or _says_colours(marker, body):
            kept.append(data[at:end])
        at = end
    kept.append(data[at:])
    return Essentials(b"".join(kept), orientation_in(exif or b""))


def _says_colours(marker: int, body: bytes) -> bool:
    """Whether the decoder learns from a segment what the components of its colours are."""
    if marker == APP0:
        return body.startswith(b"JFIF\0") and len(body) >= JFIF_BYTES
    return marker == APP14 and body.startswith(b"Adobe") and len(body) >= ADOBE_BYTES


def _of_png(data: bytes) -> Essentials:
    kept, exif = [PNG_START], b""
    colours, entries, pixels = -1, 0, False
    for kind, body, whole in _chunks(data):
        if kind == b"IHDR" and len(body) > 9:
            colours = body[9]
        elif kind == b"PLTE":
            entries = len(body) // 3
        elif kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf" and not pixels:
            exif = body
        if kind in PNG_KEPT and (kind != b"tRNS" or _fits(len(body), colours, entries)):
            kept.append(whole)
    return Essentials(b"".join(kept), orientation_in(exif))


def _fits(size: int, colours: int, entries: int) -> bool:
    """Whether a tRNS of so many bytes can belong to these colours."""
    if colours == PALETTE:
        return 0 < size <= entries
    return size == TRANSPARENT_BYTES.get(colours)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content and all bytes of each chunk of a PNG; the last one may be cut off."""
    at = len(PNG_START)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size], data[at : at + 12 + size]
        at += 12 + size


def orientation_in(exif: bytes) -> int:
    """The turn that a block of EXIF asks for, 1 to 8; 1, which is none, where it is damaged.

    Args:
        exif: from the order of its bytes on, without the name before it.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        start = struct.unpack_from(order + "I", exif, 4)[0]
        count = struct.unpack_from(order + "H", exif, start)[0]
        for i in range(count):
            tag, kind, number, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * i)
            if tag == ORIENTATION:
                return value if (kind, number) == (SHORT, 1) and 1 <= value <= 8 else 1
    except struct.error:  # it ends too early
        pass
    return 1
