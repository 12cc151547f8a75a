"""What is missing and what is surplus, by what is stored; property-tested against its promise."""

from hypothesis import given
from hypothesis import strategies as st

from backend.studio.reconciling import plan
from dgl_rsis.types import Json

PLACES = st.integers(1, 4)


def prediction(place: int, number: int = 0) -> Json:
    return {"id": number, "result": [{"id": f"region-{place}"}], "model_version": "v"}


def stored(places: list[int]) -> list[Json]:
    return [prediction(place, number) for number, place in enumerate(places, 1)]


def expected(count: int) -> list[Json]:
    return [prediction(place) for place in range(1, count + 1)]


def carry_out(held: list[Json], count: int, kept: set[int]) -> list[Json]:
    """What is stored once the plans are done: first what misses, then what is surplus."""
    for _ in range(3):
        needed = plan(held, expected(count), kept)
        first = 1 + max((each["id"] for each in held), default=0)
        if needed.missing:
            places = enumerate(needed.missing, first)
            held = held + [prediction(place + 1, number) for number, place in places]
        else:
            held = [each for each in held if each["id"] not in needed.surplus]
    return held


@given(
    count=PLACES, places=st.lists(PLACES, max_size=8), kept=st.sets(st.integers(1, 8), max_size=3)
)
def test_the_set_gets_complete_and_nothing_that_is_kept_is_deleted(
    count: int, places: list[int], kept: set[int]
) -> None:
    ours = [place for place in places if place <= count]
    before = stored(ours)
    kept &= {each["id"] for each in before}
    after = carry_out(before, count, kept)
    assert kept <= {each["id"] for each in after}
    names = [each["result"][0]["id"] for each in after]
    assert set(names) == {each["result"][0]["id"] for each in expected(count)}
    assert plan(after, expected(count), kept).missing == ()
    if not kept:
        assert names == [each["result"][0]["id"] for each in expected(count)], "the best is last"


@given(places=st.lists(PLACES, min_size=1, max_size=6))
def test_what_another_label_config_gave_is_left_alone(places: list[int]) -> None:
    foreign = [{**prediction(0, n), "result": [{"id": f"other-{p}"}]} for n, p in enumerate(places)]
    assert plan(foreign, expected(2)) == plan([], [])


def test_an_empty_prediction_is_one_too() -> None:
    nothing = {"id": 1, "result": [], "model_version": "v"}
    assert plan([nothing], [nothing]).missing == ()
    assert plan([nothing, {**nothing, "id": 2}], [nothing]).surplus == (2,)
    assert plan([], [nothing]).missing == (0,)
