import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands.export.images import ImageMissing, Images, fetcher, measured
from dgl_rsis.rasters import read_rgb
from tests.small_raster import NOWHERE, raster
from workers.images.download import FetchError


def nothing(reference: str) -> bytes:
    raise FetchError(f"no {reference}")


def picture(path: Path, size: tuple[int, int] = (6, 4), **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **more)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("/data/local-files/?d=set/tiles/a.png", "set/tiles/a.png"),
        ("/data/local-files/?d=set/tiles/a.png", "tiles/a.png"),
        ("/data/local-files/?d=set%2Ftiles/a.png", "a.png"),
        ("/data/upload/1/8885ccc6-a.png", "a.png"),
        ("/data/upload/1/8885ccc6-a.png", "8885ccc6-a.png"),
        ("https://example.org/x/a%20b.png?token=1", "a b.png"),
        ("s3://bucket/x/a.png", "x/a.png"),
        ("/tasks/4/resolve/?fileuri=czM6Ly9idWNrZXQveC9hLnBuZw==", "x/a.png"),
    ],
)
def test_finds_it_in_a_folder(tmp_path: Path, reference: str, file: str) -> None:
    there = picture(tmp_path / "images" / file)
    assert Images(tmp_path / "images", nothing, tmp_path).find(reference) == there


def test_takes_the_longest_path_that_is_there(tmp_path: Path) -> None:
    there, _ = picture(tmp_path / "x/a.png"), picture(tmp_path / "a.png")
    assert Images(tmp_path, nothing, tmp_path).find("/data/local-files/?d=x/a.png") == there


@pytest.mark.parametrize(
    "reference", ["/data/local-files/?d=../a.png", "x/../../a.png", "x" * 5000, "a%00b.png"]
)
def test_stays_in_the_folder(tmp_path: Path, reference: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/link.png").symlink_to(tmp_path / "a.png")
    images = Images(tmp_path / "images", nothing, tmp_path)
    for each in (reference, "link.png"):
        with pytest.raises(ImageMissing, match=r"missing: not in .*images, and no "):
            images.find(each)


def test_fetches_what_is_not_there_once(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG")
    calls = []

    def fetch(reference: str) -> bytes:
        calls.append(reference)
        return buffer.getvalue()

    images = Images(None, fetch, tmp_path)
    assert images.size("a.jpg") == (4, 6)
    assert measured(images.find("a.jpg")) == ((4, 6), ".jpg")
    assert calls == ["a.jpg"]
    images.find("b.jpg")
    assert len(list(tmp_path.iterdir())) == 2


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    def fetch(reference: str) -> bytes:
        raise RuntimeError(reference)

    with pytest.raises(RuntimeError):
        Images(None, fetch, tmp_path).find("a.jpg")


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>")
    images = Images(tmp_path, nothing, tmp_path)
    with pytest.raises(ImageMissing, match="cannot be read"):
        images.find("a.png")
    assert images.size("a.png") is None
    assert images.size("b.png") is None


def test_images_come_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    cache = tmp_path / "cache"
    cache.mkdir()
    upright = Images(tmp_path, nothing, cache).find("a.png")
    assert measured(upright) == ((6, 4), ".png")
    with Image.open(upright) as image:
        assert (np.asarray(image) == np.rot90(pixels, -1)).all()
        assert 0x0112 not in image.getexif()


def test_images_in_tiffs_that_no_browser_shows_are_measured_and_come_as_they_are(
    tmp_path: Path,
) -> None:
    values = np.zeros((4, 6, 8), dtype=np.uint16)
    for name, options in (("twelve.tif", {"nbits": 12}), ("sixteen.tif", {})):
        there = raster(tmp_path / name, values, **NOWHERE, **options)
        images = Images(tmp_path, nothing, tmp_path)
        assert images.size(name) == (6, 8)
        assert images.find(name) == there
        assert measured(there) == ((6, 8), ".tif")


def test_a_deep_tiff_comes_upright_too(tmp_path: Path) -> None:
    ramp = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp).save(tmp_path / "a.tif", exif=exif)
    (tmp_path / "cache").mkdir()
    found = Images(tmp_path, nothing, tmp_path / "cache").find("a.tif")
    assert measured(found) == ((6, 4), ".png")
    with Image.open(found) as image:
        assert (np.asarray(image) == read_rgb((tmp_path / "a.tif").read_bytes())).all()


def test_fetches_as_workers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = picture(tmp_path / "x/a.png")
    monkeypatch.setenv("LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path))
    assert fetcher()("/data/local-files/?d=x/a.png") == there.read_bytes()


def test_two_references_do_not_share_a_file_in_silence(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    images = Images(tmp_path, nothing, tmp_path)
    assert images.find("s3://bucket/x/a.png") == images.find("https://host/x/a.png?token=2")
    with pytest.raises(ImageMissing, match=r"was taken for x/a\.png, too: keep the folders"):
        images.find("s3://bucket/y/a.png")
