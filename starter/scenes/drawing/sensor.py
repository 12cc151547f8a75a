"""What the camera makes of the scene: haze, cast, contrast, blur, noise, compression."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from starter.scenes.drawing.canvas import Field


def photograph(rng: np.random.Generator, radiance: Field) -> NDArray[np.uint8]:
    """Turn painted light into an image as archives hold it.

    Args:
        rng: source of chance.
        radiance: (H, W, 3) float32, about 0-255; changed in place.

    Returns:
        (H, W, 3) uint8.
    """
    _expose(rng, radiance)
    levels = np.arange(256) / 255
    curve = np.round(255 * levels ** rng.uniform(0.75, 1.3)).astype(np.uint8)
    image = Image.fromarray(curve[np.clip(radiance, 0, 255).astype(np.uint8)])
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.95))))
    if rng.random() < 0.4:  # pan-sharpened products show halos
        percent = int(rng.integers(40, 190))
        image = image.filter(ImageFilter.UnsharpMask(float(rng.uniform(0.8, 2)), percent, 2))
    noisy = np.asarray(image, np.float32)
    level = np.float32(rng.gamma(2.0, 1.2))
    speckle = rng.standard_normal(noisy.shape[:2], dtype=np.float32)
    noisy = noisy + speckle[:, :, None] * level
    return _compressed(rng, np.clip(noisy + np.float32(0.5), 0, 255).astype(np.uint8))


def _expose(rng: np.random.Generator, radiance: Field) -> None:
    """Haze, colour cast, contrast and saturation, in place."""
    haze = np.float32(rng.beta(1.2, 7))
    veil = np.asarray(rng.uniform((150, 160, 172), (196, 202, 212)), np.float32)
    radiance += haze * (veil - radiance)
    radiance *= rng.normal(1, 0.025, 3).astype(np.float32)
    radiance += rng.normal(0, 3, 3).astype(np.float32)
    gain = 1.0
    if rng.random() < 0.5:  # stretched to the image's own extremes, as viewers and mosaics do
        low, high = np.percentile(radiance[::4, ::4], (rng.uniform(0, 2), rng.uniform(97, 99.9)))
        gain = float(rng.uniform(225, 262) / max(high - low, 110))
        radiance -= np.float32(low)
        radiance *= np.float32(gain)
    # A stretch makes colours gaudy; real products are calmer than their contrast.
    saturation = rng.uniform(0.35, 1.15) / max(gain, 1.0) ** 0.7
    grey = radiance.mean(axis=2, keepdims=True)
    radiance -= grey
    radiance *= np.float32(saturation)
    radiance += grey


def _compressed(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rng.random() < 0.25:
        return image
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(45, 96)))
    return np.asarray(Image.open(buffer).convert("RGB"))
