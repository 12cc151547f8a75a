"""Evaluation with fakes in the place of the pipeline, and the ladders with a small real model."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dgl_rsis import (
    evaluation,
    evaluation_parts,
    evaluation_plots,
    evaluation_runs,
    evaluation_text,
    published,
)
from dgl_rsis.crops import CropParameters
from dgl_rsis.dataset_catalogue import (
    CLASS_SETS,
    REFERRAL_SETS,
    ClassData,
    ObjectData,
    ReferralData,
    SentenceData,
)
from dgl_rsis.dataset_referring import NamedSentence
from dgl_rsis.datasets import DatasetError, Instances, Referral, Sample
from dgl_rsis.evaluation import MAJORITY, ORACLE, Case, ClassScores, ExpressionScores, Worst
from dgl_rsis.evaluation_parts import ParserScores, ProposalScores
from dgl_rsis.evaluation_runs import Options
from dgl_rsis.metrics import IGNORE, Overlap
from dgl_rsis.pipelines import OvssParameters
from dgl_rsis.types import RGB, Anchor, Decoupled, Mask, Modifier, Proposals

NAMES = ("field", "road", "background")
SIDE = 24


def image_of(truth: np.ndarray) -> RGB:
    """A picture that shows the truth: class i has the grey level 40 · i."""
    return np.repeat((40 * np.minimum(truth, 5)).astype(np.uint8)[:, :, None], 3, axis=2)


def sample(name: str, road: int, field: int = 2) -> Sample:
    """`road` rows of road, `field` ignored rows and fields below."""
    truth = np.zeros((SIDE, SIDE), np.uint16)
    truth[:road] = 1
    truth[road : road + field] = IGNORE
    return Sample(name, image_of(truth), truth)


def knowing(image: RGB) -> np.ndarray:
    """The right class map, from the picture."""
    return (image[:, :, 0] // 40 + 1).astype(np.uint16)


def nothing(image: RGB) -> np.ndarray:
    return np.zeros(image.shape[:2], np.uint16)


def fields(image: RGB) -> np.ndarray:
    return np.ones(image.shape[:2], np.uint16)


@pytest.fixture
def class_scores() -> ClassScores:
    samples = [sample("a", 4), sample("b", 12), sample("c", 1)]
    return evaluation.evaluate_classes(samples, NAMES, {"fields": fields, "all": knowing}, worst=2)


# ---- semantic segmentation -----------------------------------------------------------------------


def test_a_ladder_starts_with_the_majority_class(class_scores: ClassScores):
    assert list(class_scores.rungs) == [MAJORITY, "fields", "all"]
    majority, fields_only, knows = class_scores.rungs.values()
    assert np.array_equal(majority.counts, fields_only.counts)
    assert knows.miou == knows.pixel_accuracy == 1
    assert knows is class_scores.last
    assert class_scores.images == 3
    assert knows.counts.sum() == 3 * SIDE * (SIDE - 2)


def test_the_worst_images_of_the_last_rung_are_kept():
    samples = [sample(name, rows) for name, rows in zip("abcd", (4, 12, 1, 9), strict=True)]
    scores = evaluation.evaluate_classes(
        samples, NAMES, {"all": knowing, "fields": fields}, worst=3
    )
    # Only fields are found: the fewer there are, the worse.
    assert [case.name for case in scores.worst] == ["b", "d", "a"]
    worst = scores.worst[0]
    assert worst.score == pytest.approx(10 / 22 / 2)
    assert worst.truth[:, 0].tolist() == [2] * 12 + [0] * 2 + [1] * 10
    assert (worst.predicted == 1).all()


def test_pixels_without_a_label_are_background_where_there_is_one():
    truth = np.full((4, 4), 2, np.uint16)
    blank = [Sample("a", image_of(truth), truth)]
    as_miss = evaluation.evaluate_classes(blank, NAMES, {"nothing": nothing})
    as_background = evaluation.evaluate_classes(blank, NAMES, {"nothing": nothing}, unlabelled=2)
    assert as_miss.last.miou == 0
    assert as_background.last.miou == 1


def test_progress_is_told_and_no_images_are_an_error():
    told: list[str] = []
    samples = [sample("a", 4), sample("b", 12)]
    evaluation.evaluate_classes(samples, NAMES, {"all": knowing}, progress=told.append)
    assert told == ["a", "b"]
    with pytest.raises(DatasetError, match="no images"):
        evaluation.evaluate_classes([], NAMES, {"all": knowing})


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, math.nan])), st.integers(0, 4))
def test_worst_keeps_the_lowest_scores(scores: list[float], most: int):
    worst, blank = Worst(most), np.zeros((1, 1), np.uint16)
    for i, score in enumerate(scores):
        if worst.wants(score):
            worst.add(Case(str(i), score, np.zeros((1, 1, 3), np.uint8), ("a",), blank, blank))
    known = [(s, i) for i, s in enumerate(scores) if not math.isnan(s)]
    expected = [str(i) for _, i in sorted(known)[:most]]
    assert [case.name for case in worst.cases] == expected


def test_class_text_and_json(class_scores: ClassScores):
    text = evaluation_text.class_text(class_scores)
    ladder, per_class = text.split("\n\n")
    assert ladder.splitlines()[1].split()[:3] == ["majority", "class", "0.371"]
    assert [line.split()[0] for line in ladder.splitlines()[2:]] == ["fields", "all"]
    assert "+62.9" in ladder.splitlines()[3]
    assert per_class.splitlines()[3].split() == ["background", "0.000", "–", "–", "–"]
    found = json.loads(json.dumps(evaluation_text.class_json(class_scores), allow_nan=False))
    assert found["rungs"]["all"]["IoU"] == {"field": 1.0, "road": 1.0, "background": None}
    assert found["rungs"][MAJORITY]["mIoU"] == pytest.approx(49 / 66 / 2)
    assert found["images"] == 3


# ---- referring expressions -----------------------------------------------------------------------


def square(top: int, left: int, side: int = 6) -> Mask:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


TARGETS = {"left": square(2, 2), "right": square(12, 14)}


def proposals(*masks: Mask, quality: Sequence[float] | None = None) -> Proposals:
    stacked = np.stack(masks)
    ranks = np.linspace(1, 0.5, len(masks)) if quality is None else np.array(quality)
    boxes = np.zeros((len(masks), 4), np.int32)
    return Proposals(stacked, boxes, ranks.astype(np.float32), *stacked.shape[1:])


def referrals() -> Iterator[Referral]:
    for name in ("a", "b"):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for place, stratum in (("left", "image-relative"), ("right", "attribute")):
            yield Referral(name, image, f"the {place} one", TARGETS[place], "pool", stratum)


def place(expression: str) -> str:
    return expression.split()[1]


@pytest.fixture
def expression_scores() -> ExpressionScores:
    half = {name: mask & (np.arange(SIDE) % 2 == 0) for name, mask in TARGETS.items()}
    rungs = {
        "silent": lambda encoded, text: [],
        "wrong": lambda encoded, text: [TARGETS["left"], half["right"], TARGETS["right"]],
        "half": lambda encoded, text: [half[place(text)]],
    }
    return evaluation.evaluate_expressions(
        referrals(), lambda image: "encoded", rungs, lambda encoded: proposals(square(0, 0))
    )


def test_first_answers_and_the_best_of_several(expression_scores: ExpressionScores):
    scores = expression_scores
    assert scores.rungs == ("silent", "wrong", "half", ORACLE)
    assert [o.iou for o in scores.first("silent")] == [0, 0, 0, 0]
    assert scores.first("silent")[0] == Overlap(0, 36)  # what was not found counts in oIoU
    assert [o.iou for o in scores.first("wrong")] == [1, 0, 1, 0]
    assert [o.iou for o in scores.best("wrong")] == [1, 1, 1, 1]
    assert [o.iou for o in scores.first("half")] == [0.5, 0.5, 0.5, 0.5]
    assert [o.iou for o in scores.first("wrong", "attribute")] == [0, 0]
    assert scores.strata == ("attribute", "image-relative")
    assert (scores.images, len(scores.asked)) == (2, 4)


def test_the_oracle_is_above_every_rung(expression_scores: ExpressionScores):
    """Here the pool holds no good mask, but one of the answers is right."""
    assert [o.iou for o in expression_scores.first(ORACLE)] == [1, 1, 1, 1]


def test_the_oracle_takes_the_best_of_the_pool():
    near = square(2, 3)
    scores = evaluation.evaluate_expressions(
        list(referrals())[:1],
        lambda image: "encoded",
        {"silent": lambda encoded, text: []},
        lambda encoded: proposals(square(18, 18), near, TARGETS["right"]),
    )
    assert scores.first(ORACLE) == [Overlap(30, 42)]


def test_only_the_first_answers_count():
    answers = [square(18, 18), square(18, 0), square(0, 18), TARGETS["left"]]
    scores = evaluation.evaluate_expressions(
        list(referrals())[:1],
        lambda image: "encoded",
        {"late": lambda encoded, text: answers},
        lambda encoded: proposals(square(18, 18)),
        top_k=3,
    )
    assert scores.best("late")[0].iou == scores.first(ORACLE)[0].iou == 0


def test_an_image_is_encoded_once_for_all_its_expressions():
    encoded: list[int] = []
    told: list[str] = []
    scores = evaluation.evaluate_expressions(
        referrals(),
        lambda image: encoded.append(1) or len(encoded),
        {"which": lambda number, text: [TARGETS["left"]] if number == 1 else []},
        lambda number: proposals(square(0, 0)),
        progress=told.append,
    )
    assert len(encoded) == 2
    assert told == ["a", "a", "b", "b"]
    assert [o.iou for o in scores.first("which")] == [1, 0, 0, 0]


def test_masks_are_compared_at_the_size_of_the_protocol():
    """Nearest: of each pixel the centre, as Pillow resizes."""
    rng = np.random.default_rng(0)
    truth, answer = rng.random((2, 37, 50)) < 0.5
    asked = [Referral("a", np.zeros((37, 50, 3), np.uint8), "it", truth)]
    scores = evaluation.evaluate_expressions(
        asked,
        lambda image: "encoded",
        {"one": lambda encoded, text: [answer]},
        lambda encoded: proposals(answer),
        side=48,
    )
    small = [
        np.asarray(Image.fromarray(m).resize((48, 48), Image.Resampling.NEAREST))
        for m in (truth, answer)
    ]
    expected = Overlap(int((small[0] & small[1]).sum()), int((small[0] | small[1]).sum()))
    assert scores.first("one") == scores.first(ORACLE) == [expected]


def test_no_expressions_are_an_error():
    with pytest.raises(DatasetError, match="no expressions"):
        evaluation.evaluate_expressions(
            [],
            lambda image: "encoded",
            {"silent": lambda encoded, text: []},
            lambda encoded: proposals(square(0, 0)),
        )


def test_expression_text_and_json(expression_scores: ExpressionScores):
    text = evaluation_text.expression_text(expression_scores)
    ladder, strata = (block.splitlines() for block in text.split("\n\n"))
    assert ladder[0].split()[-4:] == ["best", "of", "3", "s/expression"]
    assert [line.split()[0] for line in ladder[1:]] == ["silent", "wrong", "half", "oracle"]
    assert ladder[2].split()[1:4] == ["0.500", "+50.0", "0.333"]
    assert ladder[4].split()[-2:] == ["–", "–"]
    assert "attribute (2)" in strata[0]
    assert strata[2].split() == ["wrong", "0.000", "1.000"]
    whole = json.dumps(evaluation_text.expression_json(expression_scores), allow_nan=False)
    found = json.loads(whole)
    assert found["rungs"]["half"]["mIoU"] == 0.5
    assert found["rungs"]["half"]["Pr@0.5"] == 1
    assert found["rungs"]["wrong"]["best_of_top_k"] == 1
    assert found["rungs"]["wrong"]["strata"]["attribute"]["mIoU"] == 0
    assert found["asked"][1]["IoU"] == {"silent": 0, "wrong": 0, "half": 0.5, "oracle": 1}


# ---- proposals and parser ------------------------------------------------------------------------


@pytest.fixture
def proposal_scores() -> ProposalScores:
    numbers = np.zeros((SIDE, SIDE), np.int32)
    for number, mask in enumerate([*TARGETS.values(), square(0, 20, 2)], start=1):
        numbers[mask] = number
    far, near, right = square(18, 0), square(2, 3), TARGETS["right"]
    return evaluation_parts.evaluate_proposals(
        [Instances("a", np.zeros((SIDE, SIDE, 3), np.uint8), numbers)],
        lambda image: proposals(near, right, far, quality=[0.2, 0.1, 0.9]),
        min_area=5,
        budgets=(1, 2),
    )


def test_proposals_count_by_their_quality(proposal_scores: ProposalScores):
    scores = proposal_scores
    assert scores.objects == 2  # the third is too small
    assert scores.proposals == 3
    assert scores.best[1].tolist() == [0, 0]
    assert scores.best[2].tolist() == pytest.approx([30 / 42, 0])
    assert scores.best[None].tolist() == pytest.approx([30 / 42, 1])
    assert scores.average_recall(None) == pytest.approx((5 / 10 + 1) / 2)  # 0.5 … 0.7 are reached
    assert scores.mean_best(None) == pytest.approx((30 / 42 + 1) / 2)
    (case,) = scores.worst
    assert (case.predicted > 0).sum() == 72


def test_without_objects_there_is_nothing_to_score():
    images = [Instances("a", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int32))]
    with pytest.raises(DatasetError, match="no object of 100 pixels"):
        evaluation_parts.evaluate_proposals(images, lambda image: proposals(square(0, 0)))
    with pytest.raises(DatasetError, match="no object"):
        evaluation_parts.evaluate_proposals([], lambda image: proposals(square(0, 0)))


def test_images_without_objects_do_not_count_as_misses():
    blank = np.zeros((8, 8), np.int32)
    found = blank.copy()
    found[2:6, 2:6] = 1
    images = [
        Instances(name, np.zeros((8, 8, 3), np.uint8), numbers)
        for name, numbers in (("blank", blank), ("found", found))
    ]
    scores = evaluation_parts.evaluate_proposals(
        images, lambda image: proposals(found > 0), min_area=1
    )
    assert scores.best[None].tolist() == [1]
    assert [case.name for case in scores.worst] == ["found"]


def test_proposal_text_and_json(proposal_scores: ProposalScores):
    text = evaluation_text.proposal_text(proposal_scores)
    assert text.startswith("2 objects of 5 pixels or more in 1 images, 3 proposals an image")
    assert text.splitlines()[-1].split() == ["all", "0.750", "1.000", "0.857"]
    found = json.loads(json.dumps(evaluation_text.proposal_json(proposal_scores)))
    assert found["budgets"]["2"]["mean_best_IoU"] == pytest.approx(15 / 42)


SENTENCES = [
    NamedSentence("The golf field left of the ships", "golf-field"),
    NamedSentence("A golf field", "Golf_field"),
    NamedSentence("The ship on the dam", "ship"),
    NamedSentence("The dam", "dam"),
    NamedSentence("A damaged dam", "dam"),
    NamedSentence("Two ships beside a ship", "ship"),
]


@pytest.fixture
def parser_scores() -> ParserScores:
    nouns = {"A golf field": "field", "The ship on the dam": "dam"}
    gold = {row.text: evaluation_parts.normal_category(row.category) for row in SENTENCES}
    return evaluation_parts.evaluate_parser(
        SENTENCES, lambda text: Decoupled(text, nouns.get(text, gold[text]))
    )


def test_nouns_are_right_when_they_are_the_category(parser_scores: ParserScores):
    assert (parser_scores.sentences, parser_scores.right) == (6, 4)
    # "ships" names a second category, "damaged" and a second ship do not.
    assert (parser_scores.ambiguous, parser_scores.ambiguous_right) == (2, 1)
    assert [w.noun for w in parser_scores.wrong] == ["field", "dam"]
    assert parser_scores.accuracy == pytest.approx(4 / 6)


def test_parser_text_and_json(parser_scores: ParserScores):
    text = evaluation_text.parser_text(parser_scores)
    assert text.splitlines()[2].split()[-3:] == ["2", "1", "0.5000"]
    assert "'field' instead of 'golf field': A golf field" in text
    assert evaluation_text.parser_json(parser_scores)["naming_a_second_accuracy"] == 0.5


def test_no_second_category_has_no_share():
    scores = evaluation_parts.evaluate_parser(
        [NamedSentence("A dam", "dam")], lambda text: Decoupled(text, "dam")
    )
    assert math.isnan(scores.ambiguous_accuracy)
    assert evaluation_text.parser_json(scores)["naming_a_second_accuracy"] is None
    with pytest.raises(DatasetError, match="no sentences"):
        evaluation_parts.evaluate_parser([], lambda text: Decoupled(text, "dam"))


# ---- pictures ------------------------------------------------------------------------------------


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 3
        return picture.size


def test_pictures_of_classes(class_scores: ClassScores, tmp_path: Path):
    paths = evaluation_plots.plot_classes(class_scores, tmp_path / "new" / "plots")
    names = [path.name for path in paths]
    assert names == [
        "ladder.png", "classes.png", "confusion.png", "worst-1-a.png", "worst-2-b.png",
    ]  # fmt: skip
    assert {path.name for path in paths[0].parent.iterdir()} == set(names)
    sizes = [size_of(path) for path in paths]
    assert sizes[0][0] == sizes[1][0] == 8 * evaluation_plots.DPI
    assert sizes[2][0] > sizes[2][1] > 4 * evaluation_plots.DPI


def test_pictures_of_expressions(expression_scores: ExpressionScores, tmp_path: Path):
    paths = evaluation_plots.plot_expressions(expression_scores, tmp_path)
    names = [path.name for path in paths]
    assert names[:3] == ["ladder.png", "strata.png", "worst-1-a_the_left_one.png"]
    assert len(names) == 2 + 4
    assert all(min(size_of(path)) > SIDE for path in paths)


def test_pictures_of_proposals(proposal_scores: ProposalScores, tmp_path: Path):
    paths = evaluation_plots.plot_proposals(proposal_scores, tmp_path)
    assert [path.name for path in paths] == ["best.png", "worst-1-a.png"]
    assert size_of(paths[0]) == (7 * evaluation_plots.DPI, round(4.5 * evaluation_plots.DPI))


def test_a_large_case_is_drawn_smaller():
    numbers = np.zeros((2000, 100), np.uint16)
    numbers[:1000] = 1
    image = np.zeros((2000, 100, 3), np.uint8)
    page = evaluation_plots.sheet(Case("a" * 200, 0.5, image, ("field",), numbers, numbers * 0))
    assert page.dtype == np.uint8
    assert 600 < page.shape[0] < 800


# ---- published numbers ---------------------------------------------------------------------------


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


# ---- the ladders ---------------------------------------------------------------------------------


def test_the_class_ladder_adds_one_thing_at_a_time():
    rungs = list(evaluation_runs.class_rungs().values())
    first, context, knowledge, whole = rungs
    assert first.crops == CropParameters(min_scale=1.0, max_scale=1.0, min_side=1)
    assert (first.mask_share, first.knowledge) == (0.0, False)
    assert context.crops == OvssParameters().crops
    assert (context.mask_share, context.knowledge) == (0.0, False)
    assert (knowledge.mask_share, knowledge.knowledge) == (0.0, True)
    assert whole == OvssParameters()


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
    report = evaluation_runs.evaluate_ovss(data, options, told.append)
    assert told == ["a", "bb"]
    title, ladder, per_class, theirs = report.text.split("\n\n")
    assert title.startswith("three fields: 2 images, dgl-rsis-")
    assert len(ladder.splitlines()) == 1 + 5
    assert len(per_class.splitlines()) == 1 + 3
    assert theirs.startswith("Published by others")
    assert "SegEarth-OV3" not in title + ladder + per_class
    assert list(report.json["rungs"]) == [MAJORITY, *evaluation_runs.class_rungs()]
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
        report = evaluation_runs.evaluate_ovss(data, options)
        assert report.json["images"] == images


def test_evaluate_res(options: Options, tmp_path: Path):
    def asked() -> Iterator[Referral]:
        for name in ("a", "bb", "ccc"):
            whole = scene(name)
            for text in ("the road on the left", "the large field", "the road"):
                yield Referral(name, whole.image, text, whole.truth == 1, "road")

    told: list[str] = []
    data = ReferralData("three fields", asked(), side=32)
    report = evaluation_runs.evaluate_res(data, options, told.append)
    assert told == ["a"] * 3 + ["bb"] * 3
    assert list(report.json["rungs"]) == [
        "random candidate", "clip", "global-local", "dgl", "geometry", ORACLE,
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
    report = evaluation_runs.evaluate_proposals(data, Options("fair", min_area=10))
    assert report.json["objects"] == 1
    assert report.json["budgets"]["all"]["mean_best_IoU"] > 0.5
    assert report.text.startswith("roads\n\n1 objects of 10 pixels")


def test_evaluate_parser():
    rows = [NamedSentence("The white dam on the left", "dam"), NamedSentence("A ship", "ship")]
    data = SentenceData("two", rows)
    assert evaluation_runs.evaluate_parser(data, Options("expressions")).json["accuracy"] == 1
    limited = evaluation_runs.evaluate_parser(data, Options("expressions", limit=1))
    assert limited.json["sentences"] == 1


def test_the_first_expressions_of_the_first_images():
    chosen = evaluation_runs.first_referrals
    names = lambda found: [(r.name, place(r.expression)) for r in found]  # noqa: E731
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
    assert evaluation_runs.stratum(Decoupled("", "tank", modifiers)) == expected


def test_a_stratum_that_is_given_stays():
    (asked, *_) = referrals()
    assert evaluation_runs.with_stratum(asked) is asked
