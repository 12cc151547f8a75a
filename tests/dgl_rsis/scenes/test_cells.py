import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.scenes.cells import ONE, SEARCHED, Cells


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    rows=st.integers(1, 300),
    classes=st.integers(1, 9),
)
def test_what_is_unpacked_is_what_was_packed(seed, height, width, rows, classes) -> None:
    rng = np.random.default_rng(seed)
    table = rng.random((rows, classes)).astype(np.float32)
    cell, valid = rng.integers(rows, size=(height, width)), rng.random((height, width)) < 0.8
    expected = table[cell]
    expected[~valid] = 0
    cells = Cells.of(table, cell, valid)
    if height * width >= SEARCHED * rows:
        assert len(cells.rows) == len(np.unique(cell[valid])) + 1  # what no pixel has stays behind
    np.testing.assert_allclose(cells.scores, expected, rtol=0, atol=0.51 / ONE)
    assert not cells.scores[~valid].any()
    assert np.array_equal(Cells.unpack(cells.pack()).scores, cells.scores)
    assert (cells.scores[valid] == 1).sum() == (cells.rows[cells.cell[valid]] == ONE).sum()


def test_more_rows_than_two_bytes_count() -> None:
    table = (np.arange(300 * 300, dtype=np.float32)[:, None] % ONE) / ONE
    cells = Cells.of(table, np.arange(300 * 300).reshape(300, 300), np.ones((300, 300), bool))
    assert cells.cell.dtype == np.uint32
    unpacked = Cells.unpack(cells.pack())
    np.testing.assert_allclose(unpacked.scores[..., 0].ravel(), table[:, 0], rtol=0, atol=1e-6)


def packed() -> bytes:
    cell = np.arange(6).reshape(2, 3)
    return Cells.of(np.ones((6, 2), np.float32), cell, np.ones((2, 3), bool)).pack()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no line",
        b"{}\n",
        b"[" * 5000 + b"\n",
        packed()[:-3],
        packed().replace(b'"cell": [2', b'"cell": [3'),
        packed().replace(b'"cell": [2', b'"cell": [-2'),
        packed().replace(b'"cell": [2, 3', b'"cell": [99999, 99999'),
        packed().replace(b'"rows": [7', b'"rows": [7.5'),
        packed().partition(b"\n")[0] + b"\n" + bytes(28) + zlib.compress(bytes(10**6)),
        b'{"cell": [1, 1, 2], "rows": [1, 1]}\n' + bytes(2) + zlib.compress(b"\5\0"),
    ],
)
def test_what_is_damaged_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="window"):
        Cells.unpack(damaged)
