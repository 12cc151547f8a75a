"""Small scores of every kind."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from dgl_rsis.evaluation import harness, parts
from dgl_rsis.evaluation.clicks import ClickRun, ClickScores
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import Instances, Referral, Sample
from dgl_rsis.evaluation.harness import ClassScores, ExpressionScores, Predicted
from dgl_rsis.evaluation.parts import ParserScores, ProposalScores
from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.types import RGB, Decoupled, Mask, Proposals

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


def sure(class_map: np.ndarray) -> Predicted:
    """A prediction that never doubts."""
    return Predicted(class_map.astype(np.uint16), np.ones(class_map.shape, np.float32))


def knowing(image: RGB) -> Predicted:
    """The right classes, from the picture."""
    return sure(image[:, :, 0] // 40 + 1)


def nothing(image: RGB) -> Predicted:
    return sure(np.zeros(image.shape[:2]))


def fields(image: RGB) -> Predicted:
    return sure(np.ones(image.shape[:2]))


@pytest.fixture
def class_scores() -> ClassScores:
    samples = [sample("a", 4), sample("b", 12), sample("c", 1)]
    return harness.evaluate_classes(samples, NAMES, {"fields": fields, "all": knowing}, worst=2)


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
    return harness.evaluate_expressions(
        referrals(), lambda image: "encoded", rungs, lambda encoded: proposals(square(0, 0))
    )


@pytest.fixture
def proposal_scores() -> ProposalScores:
    numbers = np.zeros((SIDE, SIDE), np.int32)
    for number, mask in enumerate([*TARGETS.values(), square(0, 20, 2)], start=1):
        numbers[mask] = number
    far, near, right = square(18, 0), square(2, 3), TARGETS["right"]
    return parts.evaluate_proposals(
        [Instances("a", np.zeros((SIDE, SIDE, 3), np.uint8), numbers)],
        lambda image: proposals(near, right, far, quality=[0.2, 0.1, 0.9]),
        min_area=5,
        budgets=(1, 2),
    )


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
    gold = {row.text: parts.normal_category(row.category) for row in SENTENCES}
    return parts.evaluate_parser(
        SENTENCES, lambda text: Decoupled(text, nouns.get(text, gold[text]))
    )


@pytest.fixture
def click_scores() -> ClickScores:
    from_nothing = (ClickRun((0.0, 0.5, 0.82)), ClickRun((0.0, 0.9)))
    from_prior = (ClickRun((0.7, 0.86)), ClickRun((0.9,)))
    return ClickScores(from_nothing, from_prior, 1, 100, 0.5, (0.01, 0.03))
