from pathlib import Path

from backend.commands.export import counts
from backend.commands.export.counts import LabelCounts
from backend.commands.export.dataset import DatasetVocabulary
from tests.backend.commands.export.examples import example, region
from tests.backend.studio.exports import H, W, box


def test_counts_regions_parts_pixels_and_images(tmp_path: Path) -> None:
    two = box(0, 0, 2, 2) | box(10, 10, 13, 13)
    over = box(0, 0, 2, 4)
    given = [
        example(tmp_path, "a", [region(two), region(over)], (H, W), scene="s"),
        example(tmp_path, "b", [region(over), region(two, "water")], (H, W), scene="s"),
        example(tmp_path, "c", [], (H, W), split="test"),
    ]
    by_split = counts.count(iter(given), DatasetVocabulary.of(["road", "water", "tree"]))
    assert list(by_split) == ["train", "test"]
    train = by_split["train"]
    assert (train.images, train.empty, train.pixels) == (2, 0, 2 * H * W)
    assert train.scenes == {"s": 2}
    assert train.labels == {
        "road": LabelCounts(3, 4, 8 + 9 + 8, 2),
        "water": LabelCounts(1, 2, 4 + 9, 1),
        "tree": LabelCounts(),
    }
    assert (by_split["test"].images, by_split["test"].empty) == (1, 1)
