import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.classes.prototypes import KEY_LENGTH, Prototypes
from workers.engine.learnt import pack, unpack
from workers.queue.shares import KEYS_VERSION


def examples(count: int = 3) -> Prototypes:
    keys = np.random.default_rng(0).normal(0, 3, (count, KEY_LENGTH)).astype(np.float32)
    owners = np.arange(count) % 2
    return Prototypes(("été", "b"), keys, owners, np.zeros_like(owners))


def test_a_share_survives_packing_but_for_the_last_digits() -> None:
    before = examples()
    after = unpack(pack(before))
    assert after is not None
    assert after.labels == before.labels
    assert after.owners.tolist() == before.owners.tolist()
    assert after.keys == pytest.approx(before.keys, rel=1e-3, abs=1e-3)
    assert pack(examples(0)) == b""


@given(st.binary(max_size=60))
def test_a_damaged_share_is_none(junk: bytes) -> None:
    whole = pack(examples())
    assert unpack(junk) is None
    assert unpack(whole[:-1]) is None
    assert unpack(whole + junk) is None or not junk


def test_a_share_of_other_keys_is_none() -> None:
    other = pack(examples()).replace(b'"keys": %d' % KEYS_VERSION, b'"keys": 999')
    assert unpack(other) is None
