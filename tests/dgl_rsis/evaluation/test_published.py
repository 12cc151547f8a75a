"""Published numbers."""

from dgl_rsis.evaluation import published
from dgl_rsis.evaluation.datasets.catalogue import (
    CLASS_SETS,
    REFERRAL_SETS,
)


def test_published_numbers_stand_apart_with_their_source():
    (clip,) = [p for p in published.published("isaid") if p.method == "SegEarth-OV3"]
    assert clip.scores == {"mIoU": 27.6}
    text = published.table("rrsisd")
    assert text.startswith("Published by others")
    assert "DGL-RSIS      mIoU 21.50 %" in text
    assert "arXiv 2312.12470" in text
    assert published.table("dubai") == ""


def test_published_numbers_are_of_data_sets_that_exist():
    entries = published._all()
    assert {key for key, _ in entries} <= {*CLASS_SETS, *REFERRAL_SETS}
    assert all(p.source and p.training for _, p in entries)
    assert all(0 < value < 100 for _, p in entries for value in p.scores.values())
    assert len(published.published("loveda")) == 6
