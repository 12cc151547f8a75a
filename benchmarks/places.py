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


PLACES = (
    Place("estonia", "open/estonia_ortho_objects/images/image_0_03_05_0_0.jpg", THINGS),
    Place(
        "palm-springs",
        "open/naip_urban_trees/images/palm_springs_2018_12.jpg",
        f"{LAND},swimming pool",
    ),
    Place("santa-monica", "open/naip_urban_trees/images/santa_monica_2020_12.jpg", LAND),
    Place(
        "amazon",
        "open/amazon_forest_s2/images/amz4498086_10616.jpg",
        "forest,farmland,bare land,water",
    ),
    Place("kampala", "fair-buildings/images/OAM-1238424-1046544-21.png", LAND),
    Place("japan-roads", "open/gsi_road_japan/images/880.jpg", LAND),
    Place("japan-fields", "open/gsi_road_japan/images/951.jpg", LAND),
    Place("japan-panels", "open/gsi_solar_japan/images/rotated_90_211.jpg", f"{LAND},solar panel"),
    Place("banepa", "open/oam_banepa_z19/images/banepa_z19_386690_220241.jpg", LAND),
    Place("athens", "open/sen2ships/images/athens_1_0.jpg", "ship,water,building,tree,bare land"),
    Place("carolina", "open/usgs_coast/images/newcropped_12.jpg", f"{LAND},water,car"),
    Place("dubai", "dubai/tile5_003.jpg", "building,road,vegetation,water,land"),
)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of all data sets")
    parser.add_argument("--out", type=Path, default=Path("docs/places"))
    options = parser.parse_args()
    clip = load_clip("starter")
    options.out.mkdir(parents=True, exist_ok=True)
    for place in PLACES:
        image = read_rgb((options.data / place.image).read_bytes())
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
