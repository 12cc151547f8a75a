"""What `dgl-rsis evaluate` runs."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip.crops import CropParameters
from dgl_rsis.evaluation import ladders
from dgl_rsis.evaluation.datasets.catalogue import (
    ClassData,
    ObjectData,
    ReferralData,
    SentenceData,
)
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import Instances, Referral, Sample
from dgl_rsis.evaluation.harness import MAJORITY, ORACLE
from dgl_rsis.evaluation.ladders import Options
from dgl_rsis.types import Anchor, Decoupled, Modifier
from tests.dgl_rsis.evaluation.cases import (
    NAMES,
    place,
    referrals,
)


def test_the_class_ladder_adds_one_thing_at_a_time():
    first, context, knowledge, masks, whole = ladders.class_rungs().values()
    assert first.crops == CropParameters(min_scale=1.0, max_scale=1.0, min_side=1)
    assert (first.mask_share, first.knowledge) == (0.0, False)
    assert context.crops == OvssParameters().crops
    assert (context.mask_share, context.knowledge) == (0.0, False)
    assert (knowledge.mask_share, knowledge.knowledge) == (0.0, True)
    assert (masks.mask_share, masks.knowledge, masks.factors) == (whole.mask_share, True, ())
    assert whole == OvssParameters()
    others = list(ladders.class_rungs(attends=True).values())[4:-1]
    kinds = ("query-query", "key-key", "value-value")
    assert others == [replace(masks, mask_feature=kind) for kind in kinds]
    *lower, tower, votes, presence, last = ladders.class_rungs(pixels=True).values()
    assert all(rung.pixel_share == 0 for rung in lower)
    assert lower[-1] == replace(masks, pixel_share=0.0)
    assert (tower.pixel_share, tower.pixel_area) == (1, math.inf)
    assert votes == replace(tower, pixel_area=whole.pixel_area)
    assert presence == replace(votes, presence=whole.presence)
    assert last == whole == replace(presence, factors=whole.factors)


def scene(name: str) -> Sample:
    """Three fields of noise that a region tree tells apart."""
    rng = np.random.default_rng(len(name))
    truth = np.zeros((48, 64), np.uint16)
    truth[:, 20:40], truth[30:] = 1, 2
    levels = np.array([40, 120, 210], np.uint8)[truth]
    noise = rng.integers(0, 20, (48, 64, 3), dtype=np.uint8)
    return Sample(name, levels[:, :, None] + noise, truth)


@pytest.fixture
def options(model_folder: Path) -> Options:
    return Options("potsdam", str(model_folder), limit=2)


def test_evaluate_ovss(options: Options, tmp_path: Path):
    data = ClassData("three fields", NAMES, (scene(name) for name in ("a", "bb", "ccc")))
    told: list[str] = []
    report = ladders.evaluate_ovss(data, options, told.append)
    assert told == ["a", "bb"]
    title, ladder, per_class, calibration, theirs = report.text.split("\n\n")
    assert title.startswith("three fields: 2 images, dgl-rsis-")
    assert len(ladder.splitlines()) == 1 + 9
    assert len(per_class.splitlines()) == 1 + 3
    assert calibration.startswith("expected calibration error: 0.")
    assert theirs.startswith("Published by others")
    assert "SegEarth-OV3" not in title + ladder + per_class
    assert list(report.json["rungs"]) == [
        MAJORITY,
        *ladders.class_rungs(attends=True),
    ]
    assert (report.json["task"], report.json["dataset"], report.json["limit"]) == (
        "ovss", "potsdam", 2,
    )  # fmt: skip
    assert report.json["published"][0]["per_cent"] == {"mIoU": 39.6}
    json.dumps(report.json, allow_nan=False)
    # "background" is what the pipeline leaves unlabelled: nothing stays without a class.
    for rung in report.json["rungs"].values():
        assert np.array(rung["confusion"])[:, 0].sum() == 0
    assert (tmp_path / "ladder.png") in report.plot(tmp_path)


def test_larger_images_are_cut_as_the_data_set_or_the_user_wants(model_folder: Path):
    samples = [scene("a")]
    for piece, wanted, images in ((32, None, 4), (None, 32, 4), (32, 0, 1), (None, None, 1)):
        data = ClassData("fields", NAMES, samples, piece)
        options = Options("folder", str(model_folder), piece=wanted)
        report = ladders.evaluate_ovss(data, options)
        assert report.json["images"] == images


def test_evaluate_res(options: Options, tmp_path: Path):
    def asked() -> Iterator[Referral]:
        for name in ("a", "bb", "ccc"):
            whole = scene(name)
            for text in ("the road on the left", "the large field", "the road"):
                yield Referral(name, whole.image, text, whole.truth == 1, "road")

    told: list[str] = []
    data = ReferralData("three fields", asked(), side=32)
    report = ladders.evaluate_res(data, options, told.append)
    assert told == ["a"] * 3 + ["bb"] * 3
    assert list(report.json["rungs"]) == [
        "random candidate", "clip", "global-local", "dgl", "geometry, one size", "geometry", ORACLE,
    ]  # fmt: skip
    rungs = report.json["rungs"]
    assert rungs[ORACLE]["mIoU"] >= max(rung["mIoU"] for rung in rungs.values())
    assert set(rungs["dgl"]["strata"]) == {"image-relative", "attribute", "category"}
    assert report.json["expressions"] == 6
    assert (tmp_path / "strata.png") in report.plot(tmp_path)


def test_evaluate_proposals():
    data = ObjectData(
        "roads", [Instances("a", scene("a").image, (scene("a").truth == 1).astype(np.int32))]
    )
    report = ladders.evaluate_proposals(data, Options("fair", min_area=10))
    assert report.json["objects"] == 1
    assert report.json["budgets"]["all"]["mean_best_IoU"] > 0.5
    assert report.text.startswith("roads\n\n1 objects of 10 pixels")


def test_evaluate_parser():
    rows = [NamedSentence("The white dam on the left", "dam"), NamedSentence("A ship", "ship")]
    data = SentenceData("two", rows)
    assert ladders.evaluate_parser(data, Options("expressions")).json["accuracy"] == 1
    limited = ladders.evaluate_parser(data, Options("expressions", limit=1))
    assert limited.json["sentences"] == 1


def test_the_first_expressions_of_the_first_images():
    chosen = ladders.first_referrals
    names = lambda referrals: [(r.name, place(r.expression)) for r in referrals]  # noqa: E731
    assert names(chosen(referrals(), 1, None)) == [("a", "left"), ("a", "right")]
    assert names(chosen(referrals(), None, 1)) == [("a", "left"), ("b", "left")]
    assert len(list(chosen(referrals(), None, None))) == 4


ROAD = (Anchor("the road", "road"),)
WHITE, LEFT = Modifier("attribute", "white", "white"), Modifier("position", "left", "left")


@pytest.mark.parametrize(
    ("modifiers", "expected"),
    [
        ((), "category"),
        ((Modifier("count", "two", "2"),), "category"),
        ((WHITE, Modifier("size", "large", "large")), "attribute"),
        ((WHITE, LEFT), "image-relative"),
        ((LEFT, Modifier("relation", "near", "near", ROAD)), "object-relative"),
    ],
)
def test_the_stratum_is_what_tells_most(modifiers: tuple[Modifier, ...], expected: str):
    assert ladders.stratum(Decoupled("", "tank", modifiers)) == expected


def test_a_stratum_that_is_given_stays():
    (asked, *_) = referrals()
    assert ladders.with_stratum(asked) is asked
