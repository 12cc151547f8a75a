"""Which photos are taken: their formats, how their files end, and how large they may be.

Needs no library, so that whoever only asks for a suffix or a setting loads none.
"""

from collections.abc import Mapping

# Formats as Pillow calls them → suffixes of their files, the usual one first.
IMAGE_FORMATS: Mapping[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)
# Of what only commands read, by paths that people give them: never what a task leads to.
RASTER_SUFFIXES = (".jp2", ".j2k", ".vrt", ".nc", ".h5", ".hdf5")
TIFF_SUFFIXES = IMAGE_FORMATS["TIFF"]

PIXEL_BUDGET = 100_000_000  # height · width of the largest image, unless MAX_IMAGE_PIXELS is set
