"""What the file of a photo says before its pixels are decoded: its format, size and turn. [ours].

Pillow alone: who asks for a size needs no GDAL. The pixels are read in `dgl_rsis.rasters`.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from dgl_rsis.essentials import essentials
from dgl_rsis.formats import IMAGE_FORMATS
from dgl_rsis.types import ImageError, InputError

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two of BigTIFF
TIFF_WIDTH, TIFF_LENGTH = 256, 257  # numbers of tags
SIDEWAYS = range(5, 9)  # orientations of EXIF that exchange width and height
# What Pillow raises for files that are no longer what they were.
DAMAGES = (OSError, SyntaxError, ValueError, TypeError, KeyError, MemoryError, Warning,
           struct.error)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What the file of a photo says before its pixels are decoded.

    Attributes:
        format: one of `IMAGE_FORMATS`.
        height, width: pixels as `read_rgb` returns them, after the turn.
        orientation: the turn as EXIF counts it, 1 for none.
    """

    format: str
    height: int
    width: int
    orientation: int


def read_header(path: Path) -> Header:
    """Format and size of a photo that `read_rgb` reads, whatever the depth of its pixels.

    Args:
        path: of the file.

    Raises:
        ImageError: empty, damaged in its header, or of another format.
    """
    with (
        path.open("rb") as file,
        as_image_error(start := file.read(8), path.stat().st_size),
    ):
        file.seek(0)
        if start.startswith(TIFF_STARTS):
            tags = tiff_tags(file)
            kind, width, height = "TIFF", tags[TIFF_WIDTH], tags[TIFF_LENGTH]
            orientation = orientation_of(tags)
        else:
            with opened(file.read()) as (image, orientation):
                kind, (width, height) = str(image.format), image.size
        if orientation in SIDEWAYS:
            width, height = height, width
        return Header(kind, height, width, orientation)


@contextmanager
def opened(data: bytes) -> Iterator[tuple[Image.Image, int]]:
    """A photo that browsers show, with its turn; nothing is decoded yet.

    Args:
        data: of the file.

    Yields:
        Its first picture, and the turn as EXIF counts it, 1 for none.
    """
    essential = essentials(data)
    with (
        warnings.catch_warnings(action="ignore"),  # of what no picture depends on
        Image.open(io.BytesIO(essential.data), formats=tuple(IMAGE_FORMATS)) as image,
    ):
        # Of AVIF the turn is a part of the picture, which Pillow leaves to whoever asks.
        turned = orientation_of(image.getexif()) if image.format == "AVIF" else 1
        yield image, max(essential.orientation, turned)


@contextmanager
def as_image_error(start: bytes, size: int) -> Iterator[None]:
    """Whatever goes wrong with a file of this start and so many bytes is an `ImageError`."""
    try:
        yield
    except UnidentifiedImageError:
        raise ImageError(
            f"not an image of a known format ({size} bytes starting {start!r}): "
            f"use one of {', '.join(IMAGE_FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"the image has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels that are "
            "ever read whole: tile it"
        ) from None
    except MemoryError:
        raise ImageError(
            f"the image of {size:,} bytes does not fit into the memory of this process: tile it, "
            "or give the process more"
        ) from None
    except ImageError:
        raise
    except InputError as error:  # of a raster that is called "the image"
        raise ImageError(str(error)) from None
    except DAMAGES as error:
        raise ImageError(f"the image is damaged: {error}; save it again and re-import") from None


def tiff_tags(file: IO[bytes]) -> Any:
    """Of the first picture; read by hand: Pillow refuses many TIFFs of more bits."""
    start = file.read(16)
    big = start[2:4] in (b"+\0", b"\0+")
    directory = TiffImagePlugin.ImageFileDirectory_v2(start[: 16 if big else 8])
    file.seek(directory.next)
    with warnings.catch_warnings(action="ignore"):  # of tags that nothing here needs
        directory.load(file)
    return directory


def orientation_of(tags: Any) -> int:
    """The turn that EXIF asks for, 1 to 8; 1, which is none, where nothing sensible does."""
    value = tags.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
