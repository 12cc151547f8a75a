import pytest

from starter.training.concepts import (
    COMMON,
    CONCEPTS,
    EVERY,
    NATURE,
    PAVED,
    THINGS,
    VEGETATION,
    WIDER,
    WOODS,
    Judgements,
)


def test_a_judgement_has_one_number_however_it_is_said():
    known = Judgements()
    assert known.sets[0] == EVERY  # 0 says nothing
    assert known.number(EVERY) == 0
    first = known.number("car", {"ship"})
    assert first == 1
    assert known.number({"ship", "car"}) == known.number("ship", "car") == first
    assert known.number("car") == 2
    assert known.sets[first] == {"car", "ship"}


@pytest.mark.parametrize(("may_be", "message"), [(("zebra",), "zebra"), ((), "an empty set")])
def test_what_is_no_concept_is_refused(may_be: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        Judgements().number(*may_be)


def test_no_more_judgements_than_a_byte_can_number():
    known = Judgements()
    pairs = [{a, b} for a in CONCEPTS for b in CONCEPTS if a < b]
    for pair in pairs[:255]:
        known.number(pair)
    assert known.number(pairs[0]) == 1
    with pytest.raises(ValueError, match="256"):
        known.number(pairs[255])


def test_every_concept_has_words_and_groups_hold_concepts_alone():
    assert all(words and all(words) for words in CONCEPTS.values())
    assert WOODS < VEGETATION < NATURE
    assert not NATURE & THINGS
    for group in (*WIDER, PAVED, *(each for common in COMMON for each in common)):
        assert group <= EVERY
    for common in COMMON:
        assert sum(map(len, common)) == len(frozenset().union(*common))  # no concept twice
        assert all(len(group) == 1 or group in WIDER for group in common)
