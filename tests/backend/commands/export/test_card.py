import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from backend.commands.export import card
from backend.commands.export.card import Card
from backend.commands.export.counts import LabelCounts, SplitCounts
from backend.commands.export.dataset import DatasetVocabulary

CARD = Card(
    source="export.json",
    date="2026-01-02",
    formats=["coco", "yolo"],
    vocabulary=DatasetVocabulary.of(["road|path", "water"], {"water": "#0000ff"}),
    splits={
        "train": SplitCounts(
            3, 1, 1000, Counter({"a.tif": 2, "b`.tif": 1}),
            {"road|path": LabelCounts(4, 5, 250, 2), "water": LabelCounts()},
        )
    },
    ratios=(1, 0, 0),
    seed=7,
    choice="the newest annotation of each image",
    agreements=[0.5, 1.0],
    annotators={"ann": 1, "ben": 2},
    versions={"dgl-1": 3},
    left_out=["task 9: nobody has marked it\n# not a title"],
    problems=[f"task {i}: broken" for i in range(60)],
    skipped={"relation regions": 4},
)  # fmt: skip


def test_says_what_is_in_it(tmp_path: Path) -> None:
    card.write(CARD, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    for expected in (
        "3 images with masks of 2 labels, written by `dgl-rsis export` on 2026-01-02 from "
        "`export.json`.",
        "Licence: *to be filled in",
        "Agreement: 0.750",
        "`ben` (2 images), `ann` (1 images)",
        "Pre-labels by model version: `dgl-1` (3 images)",
        "| train | 3 | 1 | 2 |",
        "| road\\|path | train | 2 | 4 | 5 | 250 | 25.00% |",
        "- train: `a.tif` (2), `b.tif` (1)",
        "- task 9: nobody has marked it # not a title",
        "- and 10 more: see `statistics.json`",
        "- 4 relation regions",
    ):
        assert expected in text
    numbers = json.loads((tmp_path / "out/statistics.json").read_text())
    assert len(numbers["problems"]) == 60
    assert numbers["labels"]["water"] == "#0000ff"
    assert numbers["splits"]["train"]["scenes"] == {"a.tif": 2, "b`.tif": 1}
    assert numbers["agreement"] == {"images": 2, "mean": 0.75}


def test_says_what_is_unknown() -> None:
    bare = replace(CARD, agreements=[], versions={}, problems=[], left_out=[], skipped={})
    text = card.to_markdown(bare)
    assert "unknown, since no image was marked by several people" in text
    assert "Pre-labels by model version: none" in text
    assert "Left out" not in text
