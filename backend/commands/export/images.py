"""Where the image of a task is: in a folder, or wherever its reference leads."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from backend.regions.shapes import Size
from backend.studio.references import path_of
from dgl_rsis.formats import IMAGE_FORMATS
from dgl_rsis.headers import Header, read_header
from dgl_rsis.types import ImageError
from workers.images.download import FetchError
from workers.images.fetch import Fetcher
from workers.settings import WorkerSettings

# Label Studio puts eight hexadecimal digits before the name of an uploaded file.
UPLOADED = re.compile(r"^[0-9a-f]{8}-")

Fetch = Callable[[str], bytes]


class ImageMissing(Exception):
    """The image cannot be had; the message says why and the way out."""


class Images:
    """Finds images.

    Args:
        folder: looked in first; None for no folder.
        fetch: gets the bytes behind a reference; raises for what it cannot get.
        cache: folder for what was fetched.
    """

    def __init__(self, folder: Path | None, fetch: Fetch, cache: Path) -> None:
        self._folder = None if folder is None else folder.resolve()
        self._fetch = fetch
        self._cache = cache
        self._count = 0
        self._last: tuple[str, Path] | None = None  # asked for its size and then again
        self._taken: dict[Path, str] = {}  # file of the folder → path of the reference it is for

    def find(self, reference: str) -> Path:
        """The file that holds the image, upright: without the turn that EXIF asks for.

        Raises:
            ImageMissing: there is none.
        """
        if self._last is None or self._last[0] != reference:
            self._last = reference, self._upright(self._file(reference))
        return self._last[1]

    def _file(self, reference: str) -> Path:
        if self._folder is not None:
            for path in _candidates(reference):
                if (file := _inside(self._folder, path)) is not None:
                    self._take(file, path_of(reference))
                    return file
        return self._download(reference)

    def _take(self, file: Path, path: str) -> None:
        """Note whose image a file is: the end of a path may fit several.

        Raises:
            ImageMissing: it is that of another reference already.
        """
        other = self._taken.setdefault(file, path)
        if other != path:
            raise ImageMissing(
                f"its image may be {file}, but that was taken for {other}, too: keep the folders "
                f"of both references below --images, as in {path}"
            )

    def _upright(self, file: Path) -> Path:
        """Browsers show images turned as EXIF says, so masks are; training code seldom does."""
        if _header(file).orientation == 1:
            return file
        from dgl_rsis.rasters import MOST_PIXELS, read_rgb  # needs GDAL, as measuring does not

        turned = self._new_file()
        try:
            pixels = read_rgb(file.read_bytes(), MOST_PIXELS)
        except ImageError as error:
            raise _unreadable(error) from None
        Image.fromarray(pixels).save(turned, "PNG")
        return turned

    def size(self, reference: str) -> Size | None:
        """Height and width of an image, pixels; None when it cannot be had."""
        try:
            return measured(self.find(reference))[0]
        except ImageMissing:
            return None

    def _download(self, reference: str) -> Path:
        try:
            data = self._fetch(reference)
        except FetchError as error:
            where = "no folder is given by --images"
            if self._folder is not None:
                where = f"not in {self._folder}"
            raise ImageMissing(f"its image is missing: {where}, and {error}") from None
        file = self._new_file()
        file.write_bytes(data)
        return file

    def _new_file(self) -> Path:
        self._count += 1
        return self._cache / f"{self._count:08}"


def fetcher() -> Fetch:
    """Fetches as the workers do, by the settings of the environment."""
    return Fetcher.from_settings(WorkerSettings()).fetch


def measured(file: Path) -> tuple[Size, str]:
    """Height and width, and the suffix that fits what the file holds.

    Raises:
        ImageMissing: it holds no image.
    """
    header = _header(file)
    return (header.height, header.width), IMAGE_FORMATS[header.format][0]


def _header(file: Path) -> Header:
    try:
        return read_header(file)
    except (ImageError, OSError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> ImageMissing:
    return ImageMissing(f"its image cannot be read: {error}")


def _inside(folder: Path, path: str) -> Path | None:
    """A file of a folder, whatever dots, links and characters its path holds; None for none."""
    try:
        file = (folder / path).resolve()
        return file if file.is_relative_to(folder) and file.is_file() else None
    except (OSError, ValueError):  # a name that is too long, a NUL byte
        return None


def _candidates(reference: str) -> Iterator[str]:
    """Where it may be in a folder: the path, and the ends of it; without the prefix of uploads."""
    parts = [part for part in path_of(reference).split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        yield "/".join(parts[start:])
    if parts and UPLOADED.match(parts[-1]):
        yield UPLOADED.sub("", parts[-1])
