"""Measuring the parts of the pipeline that have a truth of their own: proposals and parser."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation import scores
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances
from dgl_rsis.evaluation.harness import Case, Progress, Worst, silent
from dgl_rsis.types import RGB, Decoupled, Proposals

BUDGETS = (50, 100, 200, 1000)
EXAMPLES = 20  # wrong nouns that are kept


@dataclass(frozen=True)
class ProposalScores:
    """How well proposals cover objects.

    Attributes:
        best: budget → (M,) the best IoU of each object among the first so many proposals of its
            image; None → among all.
        proposals: mean number an image.
        min_area: pixels; smaller objects were left out.
        images: how many.
        worst: images with the lowest mean best IoU.
    """

    best: dict[int | None, NDArray[np.float64]]
    proposals: float
    min_area: int
    images: int
    worst: tuple[Case, ...] = field(repr=False)

    @property
    def objects(self) -> int:
        """How many there are."""
        return len(self.best[None])

    def mean_best(self, budget: int | None) -> float:
        """Mean over the objects of their best IoU."""
        return float(self.best[budget].mean())

    def average_recall(self, budget: int | None) -> float:
        """AR: the share of objects found, averaged over IoU thresholds of 0.5 to 0.95."""
        return scores.average_recall(self.best[budget])


def evaluate_proposals(
    images: Iterable[Instances],
    propose: Callable[[RGB], Proposals],
    *,
    min_area: int = 100,
    budgets: Sequence[int] = BUDGETS,
    worst: int = 5,
    progress: Progress = silent,
) -> ProposalScores:
    """Score class-agnostic proposals.

    Args:
        images: images with their objects.
        propose: proposals; `quality` ranks them.
        min_area: pixels; smaller objects are left out.
        budgets: proposals an image that count.
        worst: images kept.
        progress: called after each image.

    Raises:
        DatasetError: no object is large enough.
    """
    limits: list[int | None] = [*budgets, None]
    best: dict[int | None, list[NDArray[np.float64]]] = {budget: [] for budget in limits}
    counts: list[int] = []
    kept = Worst(worst)
    for entry in images:
        proposals = propose(entry.image)
        ious = scores.object_ious(proposals, entry.numbers, min_area)
        for budget in limits:
            best[budget].append(scores.best_ious(ious, budget))
        counts.append(len(proposals))
        if ious.size:
            score = float(best[None][-1].mean())
            if kept.wants(score):
                kept.add(_case(entry, proposals, ious, score))
        progress(entry.name)
    joined = {budget: np.concatenate(parts) for budget, parts in best.items() if parts}
    if not joined or not joined[None].size:
        raise DatasetError(f"the data set has no object of {min_area} pixels or more")
    return ProposalScores(joined, float(np.mean(counts)), min_area, len(counts), kept.cases)


def _case(entry: Instances, proposals: Proposals, ious: NDArray[np.float64], score: float) -> Case:
    """All objects, and the best proposal of each."""
    order = np.argsort(-proposals.quality, kind="stable")
    chosen = proposals.masks[order[np.unique(ious.argmax(axis=0))]].any(axis=0)
    return Case(
        entry.name,
        score,
        entry.image,
        ("object",),
        (entry.numbers > 0).astype(np.uint16),
        proposals.at_full_size(chosen).astype(np.uint16),
    )


@dataclass(frozen=True)
class WrongNoun:
    """A sentence whose noun was not its category."""

    text: str
    category: str
    noun: str


@dataclass(frozen=True)
class ParserScores:
    """How often the class noun is right.

    Attributes:
        sentences, right: all of them.
        ambiguous, ambiguous_right: those that name a second category.
        wrong: the first ones.
    """

    sentences: int
    right: int
    ambiguous: int
    ambiguous_right: int
    wrong: tuple[WrongNoun, ...]

    @property
    def accuracy(self) -> float:
        """Share of all sentences."""
        return self.right / self.sentences

    @property
    def ambiguous_accuracy(self) -> float:
        """Share of the sentences that name a second category; NaN where none does."""
        return self.ambiguous_right / self.ambiguous if self.ambiguous else float("nan")


def evaluate_parser(
    sentences: Iterable[NamedSentence],
    decouple: Callable[[str], Decoupled],
    *,
    progress: Progress = silent,
) -> ParserScores:
    """Score the class nouns of a parser.

    Args:
        sentences: with the category that each refers to; all categories that occur make up the set
            in which a second one is looked for.
        decouple: the parser; its noun is right when it is the category in lower case.
        progress: called after each sentence.

    Raises:
        DatasetError: there are no sentences.
    """
    rows = [NamedSentence(row.text, normal_category(row.category)) for row in sentences]
    if not rows:
        raise DatasetError("the data set has no sentences")
    named = _naming({row.category for row in rows})
    right = ambiguous = ambiguous_right = 0
    wrong: list[WrongNoun] = []
    for row in rows:
        noun = decouple(row.text).noun
        second = bool(named(row.text) - {row.category})
        right += noun == row.category
        ambiguous += second
        ambiguous_right += second and noun == row.category
        if noun != row.category and len(wrong) < EXAMPLES:
            wrong.append(WrongNoun(row.text, row.category, noun))
        progress(row.text)
    return ParserScores(len(rows), right, ambiguous, ambiguous_right, tuple(wrong))


def normal_category(name: str) -> str:
    """Lower case, single spaces, no hyphens or underscores."""
    return " ".join(re.sub(r"[-_]", " ", name).lower().split())


def _naming(categories: set[str]) -> Callable[[str], set[str]]:
    """A function that finds the categories that a text names, longest first, also in the plural."""
    longest = sorted(categories, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest))})(?:e?s)?\b")

    def named(text: str) -> set[str]:
        return {match.group(1) for match in pattern.finditer(normal_category(text))}

    return named
