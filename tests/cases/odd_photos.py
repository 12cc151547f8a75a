"""Photos with something broken or unusual beside their picture, as cameras and programs write them.

All show `PICTURE` unless their name says what turns it.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DATA = Path(__file__).parent / "data"
BLOCKS = np.random.default_rng(3).integers(40, 216, (6, 8, 3), dtype=np.uint8)
PICTURE = np.kron(BLOCKS, np.ones((8, 8, 1), dtype=np.uint8))  # (48, 64, 3): what JPEG keeps
ORIENTATION = 0x0112
MEGABYTES = 3 << 20  # more than Pillow reads of a text


def encoded(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, form, **options)
    return buffer.getvalue()


JPEG, PNG = encoded("JPEG", quality=95, subsampling=0), encoded("PNG")


def exif(kind: int = 3, count: int = 1, value: int = 6) -> bytes:
    """A block of EXIF with an orientation alone."""
    entry = struct.pack("<HHIHH", ORIENTATION, kind, count, value, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """With these segments, marker and content, before all others."""
    written = b"".join(b"\xff" + struct.pack(">BH", m, len(c) + 2) + c for m, c in segments)
    return JPEG[:2] + written + JPEG[2:]


def chunk(kind: bytes, content: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if check is None else check
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(*chunks: bytes) -> bytes:
    """With these chunks behind its header."""
    return PNG[:33] + b"".join(chunks) + PNG[33:]


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
APP1, APP2, NAMED = 0xE1, 0xE2, b"Exif\0\0"
BAD_OFFSET = struct.pack("<HHII", 0x011A, 5, 1, 0x7FFFFFFF)  # a fraction far behind the end
TURNED_AND_BROKEN = (
    b"II*\0" + struct.pack("<IH", 8, 2) + exif()[10:22] + BAD_OFFSET + bytes(4)
)  # fmt: skip

UPRIGHT = {
    "index of pictures cut off": jpeg((APP2, b"MPF\0II*\0\x08\0\0\0\x03\0")),
    "exif of nonsense": jpeg((APP1, NAMED + b"II*\0\xff\xff\xff\x7f nonsense")),
    "exif cut off": jpeg((APP1, NAMED + b"II*\0\x08\0\0\0\x05\0\x12\x01")),
    "orientation of another type": jpeg((APP1, NAMED + exif(kind=4))),
    "two orientations": jpeg((APP1, NAMED + exif(count=2))),
    "orientation out of range": jpeg((APP1, NAMED + exif(value=9))),
    "orientation in XMP, JPEG": jpeg((APP1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "orientation in XMP, PNG": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "orientation in WebP": encoded("WEBP", lossless=True, exif=NAMED + exif()),
    "orientation behind the pixels": PNG[:-12] + chunk(b"eXIf", exif()) + PNG[-12:],
    "JFIF and Adobe cut off": jpeg((0xE0, b"JFIF\0"), (0xEE, b"Adobe")),
    "something behind the end": JPEG + bytes(100),
    "a long text": png(chunk(b"tEXt", b"Comment\0" + b"a" * MEGABYTES)),
    "a packed long text": png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MEGABYTES)))),
    "a text with a wrong sum": png(chunk(b"tEXt", b"Comment\0hello", check=5)),
    "chunks cut off": png(*(chunk(k, b"\0") for k in (b"pHYs", b"gAMA", b"tRNS", b"acTL"))),
    "a broken profile": png(chunk(b"iCCP", b"x\0\0nonsense")),
}
QUARTER = {  # turned by a quarter, with the clock
    "orientation in EXIF, JPEG": jpeg((APP1, NAMED + exif())),
    "orientation before something broken": jpeg((APP1, NAMED + TURNED_AND_BROKEN)),
    "orientation in EXIF, PNG": png(chunk(b"eXIf", exif())),
    "orientation in AVIF": encoded("AVIF", quality=100, subsampling="4:4:4", exif=NAMED + exif()),
}
NO_END = JPEG[:-2]  # all pixels are there; Chromium leaves out the last row of blocks
# What a browser shows in part at most.
NOT_WHOLE = {
    "JPEG": JPEG[: len(JPEG) * 2 // 3],
    "PNG": PNG[: len(PNG) * 2 // 3],
    "GIF": encoded("GIF")[:900],
    "BMP": encoded("BMP")[:-100],
}
