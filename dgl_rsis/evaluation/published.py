"""What others published on the same data sets: printed beside our numbers, never among them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_NO_SCORES = {"name", "training", "source"}


@dataclass(frozen=True)
class Published:
    """One method's numbers on one data set.

    Attributes:
        method: its name.
        training: "none", or what it was trained on.
        source: who published it.
        scores: measure → per cent.
    """

    method: str
    training: str
    source: str
    scores: Mapping[str, float]


def published(dataset: str) -> tuple[Published, ...]:
    """The published numbers of a data set, by its name in `datasets.catalogue`; none for most."""
    return tuple(entry for key, entry in _all() if key == dataset)


def table(dataset: str) -> str:
    """Those numbers as a block of text that says whose they are; empty where there are none."""
    lines = [
        f"  {entry.method:<14}{_scores(entry.scores):<28}training: {entry.training}; {entry.source}"
        for entry in published(dataset)
    ]
    if not lines:
        return ""
    head = "Published by others, on their weights and their protocol; nothing of this was measured"
    return "\n".join([f"{head} here:", *lines])


def _scores(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f} %" for name, value in scores.items())


@cache
def _all() -> tuple[tuple[str, Published], ...]:
    text = files("dgl_rsis.evaluation").joinpath("published.toml").read_text("utf-8")
    return tuple(
        (key, Published(entry["name"], entry["training"], entry["source"], scores))
        for entry in tomllib.loads(text)["methods"]
        for key, scores in entry.items()
        if key not in _NO_SCORES
    )
