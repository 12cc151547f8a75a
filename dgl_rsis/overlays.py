"""Pictures of a segmentation: the image, its class masks in colour, and a legend with scores."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from dgl_rsis.types import RGB, Floats, Mask, Segment

OPACITY = 0.45
MARGIN, SWATCH = 12, 18  # pixels
# Colours told apart by people with the usual kinds of colour blindness (Okabe and Ito), then more.
PALETTE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#B2182B",
    "#762A83", "#1B7837", "#8C510A", "#35978F", "#C51B7D", "#4D4D4D", "#A6761D", "#7570B3",
)  # fmt: skip


def in_turn(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of some things in their order: that of the palette, from its start again.

    For what has a place but no colour of its own, such as ranked candidates.

    Args:
        names: different ones.

    Returns:
        Name → "#RRGGBB".
    """
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def overlay(image: RGB, segments: Sequence[Segment], by_label: Mapping[str, str]) -> RGB:
    """The image with its masks, outlined, and a legend to the right.

    Args:
        image: (H, W, 3) uint8.
        segments: masks of (H, W).
        by_label: colour of each label, "#rrggbb".

    Returns:
        (H', W', 3) uint8, wider than the image.
    """
    painted = image.astype(np.float32)
    for segment in segments:
        colour = np.array(ImageColor.getrgb(by_label[segment.label])[:3], dtype=np.float32)
        painted[segment.mask] = (1 - OPACITY) * painted[segment.mask] + OPACITY * colour
        painted[_outline(segment.mask)] = colour
    legend = _legend(segments, by_label, image.shape[0])
    height = max(image.shape[0], legend.height)
    canvas = Image.new("RGB", (image.shape[1] + legend.width, height), "white")
    canvas.paste(Image.fromarray(painted.astype(np.uint8)), (0, 0))
    canvas.paste(legend, (image.shape[1], 0))
    return np.asarray(canvas)


def heat(image: RGB, activation: Floats, mask: Mask | None = None) -> RGB:
    """The image under an activation map, from dark blue (0) to yellow (1).

    Args:
        image: (H, W, 3) uint8.
        activation: (H, W) float32 in [0, 1].
        mask: (H, W) bool, outlined in white.

    Returns:
        (H, W, 3) uint8.
    """
    levels = np.clip(activation * 255, 0, 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    painted = (0.45 * image + 0.55 * coloured).astype(np.uint8)
    if mask is not None:
        painted[_outline(mask)] = 255
    return painted


def _outline(mask: Mask) -> Mask:
    inner: Mask = ndimage.binary_erosion(mask, border_value=1)
    return mask & ~inner


def _legend(segments: Sequence[Segment], by_label: Mapping[str, str], height: int) -> Image.Image:
    font = ImageFont.load_default(size=16)
    lines = [
        (by_label[s.label], f"{s.label}  {s.mask.mean():.1%}  score {s.score:.2f}")
        for s in segments
    ]
    lines = lines or [("#FFFFFF", "nothing found")]
    width = int(max(font.getlength(text) for _, text in lines)) + SWATCH + 3 * MARGIN
    legend = Image.new("RGB", (width, max(height, MARGIN + len(lines) * (SWATCH + 8))), "white")
    draw = ImageDraw.Draw(legend)
    for i, (colour, text) in enumerate(lines):
        top = MARGIN + i * (SWATCH + 8)
        draw.rectangle([MARGIN, top, MARGIN + SWATCH, top + SWATCH], fill=colour, outline="black")
        draw.text((2 * MARGIN + SWATCH, top), text, fill="black", font=font)
    return legend
