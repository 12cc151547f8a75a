import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle
from numpy.typing import NDArray
from PIL import Image

from backend.regions import brush
from dgl_rsis.runs import Runs, from_runs, to_runs
from dgl_rsis.types import Mask
from tests.paths import SHARED

DUBAI = SHARED / "dubai"
DUBAI_CLASSES = (0x3C1098, 0x8429F6, 0x6EC1E4, 0xFEDD3A, 0xE2A929)
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def sdk(mask: Mask) -> list[int]:
    """What the SDK writes: the oracle."""
    rle: list[int] = mask2rle(mask.astype(np.uint8) * 255)
    return rle


@given(MASKS)
def test_bytes_are_the_sdks(mask: Mask) -> None:
    assert brush.encode(to_runs(mask)) == sdk(mask)


@given(MASKS, st.integers(1, 9), st.integers(1, 9))
def test_bytes_are_the_sdks_for_longer_runs(mask: Mask, rows: int, columns: int) -> None:
    large = np.repeat(np.repeat(mask, rows, axis=0), columns, axis=1)
    assert brush.encode(to_runs(large)) == sdk(large)


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 4, 5, 64])
@pytest.mark.parametrize("first", [False, True])
def test_bytes_are_the_sdks_where_runs_are_cut(first: bool, extra: int) -> None:
    # 2^16 values are 2^14 pixels; a rest of less than 17 values keeps the 16-bit class.
    flat = np.zeros(3 * 2**14 + 100, dtype=np.bool_)
    flat[: 2**14 + extra] = True
    mask = (flat ^ (not first)).reshape(1, -1)
    assert brush.encode(to_runs(mask)) == sdk(mask)


def test_200_random_masks_have_the_sdks_bytes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = rng.integers(1, 200, 2)
        cell = rng.integers(1, 20)
        mask = np.kron(rng.random(shape // cell + 1) < rng.random(), np.ones((cell, cell))) > 0
        assert brush.encode(to_runs(mask)) == sdk(mask)


def test_20_real_masks_have_the_sdks_bytes_and_come_back() -> None:
    truths = sorted(DUBAI.glob("tile[12]_*.png"))[:4]
    if not truths:
        pytest.skip(f"the Dubai tiles are not at {DUBAI}")
    for path in truths:
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.uint32)
        classes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        for colour in DUBAI_CLASSES:
            runs = to_runs(classes == colour)
            rle = brush.encode(runs)
            assert rle == sdk(classes == colour), f"{path.name} {colour:06X}"
            assert brush.decode(rle, runs.height, runs.width) == runs


@given(MASKS)
def test_decode_inverts_the_sdk(mask: Mask) -> None:
    assert brush.decode(sdk(mask), *mask.shape) == to_runs(mask)


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4))))
def test_decode_reads_alpha_of_any_colours(rgba: NDArray[np.uint8]) -> None:
    rle = encode_rle(rgba.ravel())
    runs = brush.decode(rle, rgba.shape[0], rgba.shape[1])
    alpha = decode_rle(rle).reshape(rgba.shape)[..., 3]
    assert np.array_equal(from_runs(runs), alpha >= 128)


def literals(values: list[int], block: int, sizes: tuple[int, ...]) -> list[int]:
    """The values as the browser may write them: blocks without runs, other run sizes."""
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for start in range(0, len(values), block):
        part = values[start : start + block]
        bits += "0" + "10" + f"{len(part) - 1:0{sizes[2]}b}" + "".join(f"{v:08b}" for v in part)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@given(MASKS, st.integers(1, 32), st.integers(5, 12))
def test_decode_reads_literals_and_other_run_sizes(mask: Mask, block: int, size: int) -> None:
    values = np.repeat(mask.ravel() * np.uint8(255), 4).tolist()
    rle = literals(values, block, (2, 3, size, 16))
    assert decode_rle(rle).tolist() == values  # the SDK agrees on what was written
    assert brush.decode(rle, *mask.shape) == to_runs(mask)


def test_the_largest_image_of_the_format_is_encoded() -> None:
    runs = Runs(1, brush.MAX_PIXELS, (brush.MAX_PIXELS,))
    rle = brush.encode(runs)
    assert int.from_bytes(bytes(rle[:4])) == 4 * brush.MAX_PIXELS
    assert brush.decode(rle, 1, brush.MAX_PIXELS) == runs


def test_a_larger_image_is_refused() -> None:
    side = 32768
    with pytest.raises(ValueError, match=r"32768 × 32768 = 1073741824: cut the image into tiles"):
        brush.encode(Runs(side, side, (side * side,)))
    with pytest.raises(ValueError, match="cut the image into tiles"):
        brush.decode([0], side, side)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0 × 4 = 0"):
        brush.encode(Runs(4, 0, ()))


def test_a_mask_of_another_size_is_refused() -> None:
    rle = brush.encode(Runs(4, 4, (16,)))
    with pytest.raises(ValueError, match="another image size"):
        brush.decode(rle, 4, 5)


@given(MASKS, st.data())
def test_a_mask_that_is_cut_short_is_refused(mask: Mask, data: st.DataObject) -> None:
    rle = brush.encode(to_runs(mask))
    kept = data.draw(st.integers(7, max(7, len(rle) - 2)))
    with pytest.raises(ValueError, match="cut short"):
        brush.decode(rle[: min(kept, len(rle) - 2)], *mask.shape)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_any_bytes_are_read_or_refused(rle: list[int]) -> None:
    header = list((4 * 16).to_bytes(4))
    try:
        runs = brush.decode(header + rle, 4, 4)
    except ValueError:
        return
    assert from_runs(runs).shape == (4, 4)


@pytest.mark.parametrize("rle", [[256], [-1], ["a"], None])
def test_other_than_bytes_is_refused(rle: list[int]) -> None:
    with pytest.raises(ValueError, match="integers 0-255"):
        brush.decode(rle, 1, 1)
