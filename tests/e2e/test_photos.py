"""Our reader of photos against Chromium: annotators see the one, masks are made from the other."""

import base64

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, Page

from dgl_rsis.rasters import read_rgb
from tests.cases.odd_photos import DATA, QUARTER, UPRIGHT

CLOSE = 8  # levels between two decoders
SHOWN = """async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([bytes]));
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.width, canvas.height, Array.from(pixels)];
}"""
PHOTOS = UPRIGHT | QUARTER | {"a camera's": (DATA / "malformed-mpo.jpg").read_bytes()}


@pytest.fixture(scope="module")
def page(anonymous: BrowserContext) -> Page:
    return anonymous.new_page()


def shown(page: Page, data: bytes) -> NDArray[np.int64]:
    width, height, pixels = page.evaluate(SHOWN, base64.b64encode(data).decode())
    return np.array(pixels).reshape(height, width, 4)[..., :3]


@pytest.mark.e2e
@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_is_read_as_chromium_shows_it(page: Page, name: str) -> None:
    ours, theirs = read_rgb(PHOTOS[name]).astype(int), shown(page, PHOTOS[name])
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= CLOSE
