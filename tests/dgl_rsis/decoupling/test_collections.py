"""Two collections of expressions: the gold file and the real sentences."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from dgl_rsis.decoupling.decouple import decouple
from tests.dgl_rsis.decoupling.readings import POSITIONS, RELATIONS
from tests.paths import ROOT

CORPUS = ROOT.parent / "shared" / "data" / "expressions" / "rrsisd_train_val.jsonl"
GOLD = Path(__file__).with_name("gold.jsonl")


@cache
def gold() -> list[dict]:
    return [json.loads(line) for line in GOLD.read_text("utf-8").splitlines()]


def f1(pairs: list[tuple[list, list]]) -> float:
    """Micro F1 of wanted and given multisets."""
    wanted, given = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    shared = sum((Counter(want) & Counter(have)).total() for want, have in pairs)
    return 2 * shared / (wanted + given)


def test_the_gold_file_is_large_and_covers_every_kind():
    counts = Counter(modifier["kind"] for row in gold() for modifier in row["modifiers"])
    assert len(gold()) >= 200
    assert {"attribute", "size", "position", "relation", "ordinal", "count"} == set(counts)
    assert min(counts.values()) >= 10
    assert len({row["text"].lower() for row in gold()}) == len(gold())
    relations = {m["value"] for row in gold() for m in row["modifiers"] if m["kind"] == "relation"}
    positions = {m["value"] for row in gold() for m in row["modifiers"] if m["kind"] == "position"}
    assert relations == RELATIONS
    assert positions == POSITIONS


def test_gold_denials():
    for row in gold():
        denied = [m["value"] for m in row["modifiers"] if m.get("negated")]
        assert [m.value for m in decouple(row["text"]).modifiers if m.negated] == denied, row


@pytest.mark.parametrize("part", ["kinds", "values", "anchors", "nouns"])
def test_gold_expressions(part):
    pairs = []
    for row in gold():
        decoupled = decouple(row["text"])
        pairs.append(
            {
                "kinds": (
                    [m["kind"] for m in row["modifiers"]],
                    [m.kind for m in decoupled.modifiers],
                ),
                "values": (
                    [(m["kind"], m["value"]) for m in row["modifiers"]],
                    [(m.kind, m.value) for m in decoupled.modifiers],
                ),
                "anchors": (row["anchors"], [anchor.noun for anchor in decoupled.anchors]),
                "nouns": ([row["noun"]], [decoupled.noun]),
            }[part]
        )
    assert f1(pairs) >= 0.95


def corpus() -> list[dict]:
    if not CORPUS.exists():
        pytest.skip(f"no referring expressions at {CORPUS}")
    return [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]


def names_a_second_class(row: dict, categories: list[str]) -> bool:
    rest = row["sentence"].lower().replace(row["category"], "#", 1)
    return "#" in rest and any(category in rest for category in categories)


def test_real_expressions_have_their_category_as_noun():
    rows = corpus()
    categories = sorted({row["category"] for row in rows})
    right = [decouple(row["sentence"]).noun == row["category"] for row in rows]
    assert len(rows) > 10_000
    assert sum(right) / len(rows) >= 0.995
    seconds = [names_a_second_class(row, categories) for row in rows]
    both = [ok for ok, second in zip(right, seconds, strict=True) if second]
    assert len(both) > 1_000
    assert sum(both) / len(both) >= 0.985
