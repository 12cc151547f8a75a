from dataclasses import dataclass

import numpy as np

from dgl_rsis.caching import footprint, kept


@dataclass(frozen=True)
class Thing:
    words: tuple[str, ...]


def test_what_was_made_is_not_made_again() -> None:
    made: list[str] = []

    @kept(100_000)
    def make(text: str) -> Thing:
        made.append(text)
        return Thing((text,))

    assert make("a") is make("a")
    assert make("b") == Thing(("b",))
    assert made == ["a", "b"]


def test_the_bytes_of_all_results_and_arguments_have_one_limit() -> None:
    made: list[int] = []

    @kept(10_000)
    def make(number: int) -> str:
        made.append(number)
        return "x" * 3_000

    for number in (1, 2, 3, 1, 4, 1):  # three fit; 2 is used least when 4 comes
        make(number)
    assert made == [1, 2, 3, 4]
    make(2)
    assert made[-1] == 2


def test_what_is_larger_than_all_is_made_but_not_kept() -> None:
    made: list[str] = []

    @kept(1_000)
    def make(text: str) -> int:
        made.append(text)
        return len(text)

    long = "x" * 2_000
    assert make(long) == make(long) == 2_000
    assert len(made) == 2


def test_a_footprint_holds_all_that_a_value_holds_once() -> None:
    text = "x" * 10_000
    inside = Thing((text, text))
    assert 10_000 < footprint({"key": [inside, inside]}) < 12_000
    assert footprint([np.zeros(10_000, dtype=np.uint8)[:9_000]]) > 9_000
    assert footprint((text, "y" * 10_000)) > 20_000
