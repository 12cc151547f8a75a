"""What the metadata of a drone's photo say of its ground sample distance. [ours].

Only where the height above the take-off is noted, as DJI does in XMP: `GPSAltitude` counts from the
sea, and `XResolution` is about paper.
"""

import math
import re

from PIL import ExifTags, Image

from dgl_rsis.resolution import Resolution, plausible

FRAME = 36.0  # mm, the long side of the film that equivalent focal lengths are of
# Height over the take-off is not height over the ground in the picture, and cameras that are not
# 3:2 share the diagonal of the film and not its side.
SPREAD = 0.15
STRAIGHT_DOWN, TILT = -90.0, 20.0  # degrees of the gimbal; further off scales differ too much
SAME_SHAPE = 0.02  # share by which the sides of a photo that was only shrunk may differ

HEIGHT, PITCH = "RelativeAltitude", "GimbalPitchDegree"


def flight_resolution(photo: Image.Image) -> Resolution | None:
    """The ground sample distance of a photo that a drone took straight down.

    metres = height · 36 mm / (equivalent focal length · pixels of the long side): of a photo that
    was shrunk with its metadata this is the one of the pixels that it has now.

    Args:
        photo: open, not necessarily decoded, before any turn.

    Returns:
        Its source is "exif". None where height, focal length or the angle of the camera are
        missing, it looks more than 20° off the vertical, or the photo was cut to another shape.
    """
    camera = photo.getexif().get_ifd(ExifTags.IFD.Exif)
    notes = _xmp(photo)
    height, pitch = _note(notes, HEIGHT), _note(notes, PITCH)
    focal = _number(camera.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if not (height > 0 and focal > 0 and abs(pitch - STRAIGHT_DOWN) <= TILT):
        return None
    taken = [_number(camera.get(tag)) for tag in (
        ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight,
    )]  # fmt: skip
    if min(taken) > 0:
        shape = (photo.width * taken[1]) / (photo.height * taken[0])
        if abs(shape - 1) > SAME_SHAPE:
            return None
    return plausible(height * FRAME / (focal * max(photo.size)), "exif", SPREAD)


def _xmp(photo: Image.Image) -> str:
    packet = photo.info.get("xmp") or photo.info.get("XML:com.adobe.xmp") or b""
    return packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)


def _note(xmp: str, name: str) -> float:
    """A number that DJI noted, as an attribute or an element; NaN for none.

    Found by its name: a stranger's XML needs no parser for that.
    """
    found = re.search(rf"drone-dji:{name}\s*(?:=\s*[\"']|>)\s*([+-]?\d+(?:\.\d+)?)\s*[\"'<]", xmp)
    return float(found[1]) if found else math.nan


def _number(value: object) -> float:
    """A value of EXIF, which may be missing, a fraction or nonsense; NaN for what is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
