import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.queue.shares import Share, examples, pack, unpack

SHARE = Share(("été", "b"), (0, 1, 1), b"\nkeys\n")


def test_a_share_survives() -> None:
    assert unpack(pack(SHARE)) == SHARE


@given(st.binary(max_size=60))
def test_junk_is_no_share(junk: bytes) -> None:
    assert unpack(junk) is None


@pytest.mark.parametrize("owners", [(2,), (-1, 0)])
def test_an_owner_that_is_no_label_is_refused(owners: tuple[int, ...]) -> None:
    assert unpack(pack(Share(SHARE.labels, owners))) is None


def test_examples_are_counted_over_all_annotations_that_can_be_read() -> None:
    other = Share(("b", "road"), (0,))
    counts = examples({"1": pack(SHARE), "2": pack(other), "3": b"junk"})
    assert list(counts.items()) == [("b", 3), ("été", 1)]
