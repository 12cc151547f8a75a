"""Reading an image that a browser shows, guarded against what a stranger may send."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dgl_rsis.types import RGB, Floats

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
HIGH_PERCENTILES = (2.0, 98.0)  # stretch of 16-bit data, the remote-sensing viewers' usual default


class ImageError(ValueError):
    """The bytes are not an image that this project reads. The message is fit for users."""


def read_rgb(data: bytes, max_pixels: int = 100_000_000) -> RGB:
    """Decode an image as a browser would show it: first frame, EXIF orientation applied.

    Alpha is dropped over its own colours (masks must cover what lies under it too); 16-bit data are
    stretched between the percentiles 2 and 98, all channels alike.

    Args:
        data: a PNG, JPEG, WebP, BMP, GIF or TIFF file.
        max_pixels: budget, checked on the header before anything is decoded.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: empty, truncated, of another format, or larger than the budget.
    """
    if not data:
        raise ImageError("the image is empty (0 bytes): check that the file was uploaded whole")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # damaged metadata
            warnings.simplefilter("ignore", DeprecationWarning)
            # Pillow's own budget is one for all callers; ours is checked on the header instead.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _decode(data, max_pixels)
    except UnidentifiedImageError:
        raise ImageError(
            f"not an image of a known format ({len(data)} bytes starting {data[:8]!r}): "
            f"use one of {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"the image has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels that are "
            "ever read whole: tile it"
        ) from None
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, MemoryError, Warning) as error:
        raise ImageError(f"the image is damaged: {error}; save it again and re-import") from None


def _decode(data: bytes, max_pixels: int) -> RGB:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"the image has {width} × {height} pixels, more than the allowed {max_pixels:,}: "
                "tile it, or raise MAX_IMAGE_PIXELS"
            )
        image.seek(0)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I") or upright.mode == "F":
            return _stretch(np.asarray(upright, dtype=np.float32))
        if upright.mode in ("LA", "PA", "La") or "transparency" in upright.info:
            upright = upright.convert("RGBA")
        return np.asarray(upright.convert("RGB"))


def _stretch(grey: Floats) -> RGB:
    """Grey levels of any range → (H, W, 3) uint8."""
    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, HIGH_PERCENTILES) if finite.size else (0.0, 1.0)
    if high <= low:
        high = low + 1.0
    scaled = np.nan_to_num((grey - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    levels = (np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.repeat(levels[:, :, None], 3, axis=2)
