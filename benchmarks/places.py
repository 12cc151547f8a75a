"""Pictures of what the starter weights see, of twelve places: `python -m benchmarks.places`.

    python -m benchmarks.places --data ../shared/data --out docs/places

Each picture has the image, and beside it the image under its classes. They were chosen by hand from
places that were not trained on: some where it goes well, and some where it fails.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dgl_rsis.classes import pipeline
from dgl_rsis.clip.model import load_clip
from dgl_rsis.overlays import in_turn, overlay
from dgl_rsis.rasters import read_rgb
from dgl_rsis.types import Label

HEIGHT = 400  # pixels of a picture
QUALITY = 82  # of JPEG
LAND = "building,road,tree,grass,bare land"
THINGS = "airplane,car,ship,storage tank,tennis court,building,tree,water,road,grass,bare land"


@dataclass(frozen=True)
class Place:
    """An image to show.

    Attributes:
        name: of the picture.
        image: path below the folder of the data sets.
        labels: asked for, with commas between them.
    """

    name: str
    image: str
    labels: str


PLACES = (Place("kampala", "fair-buildings/images/OAM-1238424-1046544-21.png", LAND),)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of all data sets")
    parser.add_argument("--out", type=Path, default=Path("docs/places"))
    options = parser.parse_args()
    clip = load_clip("starter")
    options.out.mkdir(parents=True, exist_ok=True)
    for place in PLACES:
        image = read_rgb(options.data / place.image)
        labels = [Label(name) for name in place.labels.split(",")]
        found = pipeline.segment_classes(image, labels, clip)
        colours = in_turn([label.name for label in labels])
        shown = overlay(image, found.classes, colours)
        bare = np.full((shown.shape[0], image.shape[1], 3), 255, np.uint8)
        bare[: image.shape[0]] = image
        both = Image.fromarray(np.concatenate([bare, shown], axis=1))
        both.thumbnail((10 * HEIGHT, HEIGHT))
        both.save(options.out / f"{place.name}.jpg", quality=QUALITY)
        sys.stdout.write(f"{place.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
