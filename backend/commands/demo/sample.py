"""What the demos show: images that come with the package, and the labels that are asked for."""

from pathlib import Path

from backend.project.interface import Wanted, write

LABEL_CONFIG = write(
    Wanted(
        names=("building", "road", "vegetation", "water", "land"),
        synonyms={
            "building": ("house", "rooftop"),
            "road": ("street", "highway"),
            "vegetation": ("trees", "grass"),
            "water": ("river", "sea"),
            "land": ("bare land", "sand"),
        },
    )
)


def sample_images() -> list[Path]:
    """The images, sorted by name."""
    return sorted((Path(__file__).parent / "samples").glob("*.jpg"))
