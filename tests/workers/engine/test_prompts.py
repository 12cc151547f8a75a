import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import points_in_poly

from dgl_rsis.runs import Runs, to_runs
from dgl_rsis.types import InputError, Mask, Prompt
from workers.engine.prompts import agreement, to_prompt
from workers.messages import VisualPrompt

HEIGHT, WIDTH = 40, 60
SHARES = st.floats(0, 1, width=32)


def _block(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _runs(mask: Mask) -> Runs:
    return to_runs(mask)


def test_shares_become_pixels() -> None:
    shown = VisualPrompt(((0.5, 0.25), (1.0, 1.0)), ((0.0, 0.0),), (0.1, 0.2, 0.9, 0.8))
    prompt = to_prompt(shown, HEIGHT, WIDTH)
    assert prompt.positive.tolist() == [[30, 10], [60, 40]]
    assert prompt.negative.tolist() == [[0, 0]]
    assert prompt.positive.dtype == prompt.negative.dtype == np.float32
    assert prompt.box == pytest.approx((6, 8, 54, 32))
    assert prompt.stroke is prompt.outline is prompt.prior is None


def test_nothing_shown_has_no_points() -> None:
    prompt = to_prompt(VisualPrompt(), HEIGHT, WIDTH)
    assert prompt.positive.shape == prompt.negative.shape == (0, 2)


def test_runs_become_masks() -> None:
    stroke, prior = _block(1, 3, 2, 50), _block(0, 20, 0, 20)
    prompt = to_prompt(VisualPrompt(strokes=_runs(stroke), prior=_runs(prior)), HEIGHT, WIDTH)
    assert prompt.stroke is not None
    assert prompt.prior is not None
    assert (prompt.stroke == stroke).all()
    assert (prompt.prior == prior).all()


@pytest.mark.parametrize("name", ["strokes", "prior"])
def test_a_mask_of_another_size_names_both(name: str) -> None:
    wrong = _runs(np.ones((20, 30), dtype=np.bool_))
    with pytest.raises(InputError, match="30 × 20 pixels, but the image has 60 × 40"):
        to_prompt(VisualPrompt(**{name: wrong}), HEIGHT, WIDTH)


def test_runs_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(
        InputError, match="must be non-negative and sum to 2400, got 2 runs with the sum 7"
    ):
        to_prompt(VisualPrompt(prior=Runs(HEIGHT, WIDTH, (3, 4))), HEIGHT, WIDTH)


def _distance_to(points: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) from points to the segment between two corners."""
    along = other - one
    share = ((points - one) @ along) / max(float(along @ along), 1e-9)
    return np.linalg.norm(points - one - np.clip(share, 0, 1)[:, None] * along, axis=1)


@settings(deadline=None)
@given(corners=st.lists(st.tuples(SHARES, SHARES), min_size=3, max_size=8))
def test_an_outline_is_filled_as_scikit_image_fills_it(corners: list[tuple[float, float]]) -> None:
    prompt = to_prompt(VisualPrompt(outline=tuple(corners)), HEIGHT, WIDTH)
    assert prompt.outline is not None
    edges = np.array(corners, dtype=np.float64) * (WIDTH, HEIGHT)
    centres = np.argwhere(np.ones((HEIGHT, WIDTH)))[:, ::-1] + 0.5
    inside = points_in_poly(centres, edges)
    distance = np.min(
        [_distance_to(centres, one, edges[i - 1]) for i, one in enumerate(edges)], axis=0
    )
    clear = distance > 1.5  # OpenCV counts the border in
    assert (prompt.outline.reshape(-1)[clear] == inside[clear]).all()


def test_an_outline_beyond_the_image_is_cut() -> None:
    far = ((-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9))
    prompt = to_prompt(VisualPrompt(outline=far), HEIGHT, WIDTH)
    assert prompt.outline is not None
    assert prompt.outline.all()


def _points(*where: tuple[float, float]) -> np.ndarray:
    return np.array(where, dtype=np.float32).reshape(-1, 2)


def test_agreement_counts_each_kind() -> None:
    mask = _block(10, 20, 10, 30)
    assert agreement(mask, Prompt()) == 1
    assert agreement(mask, Prompt(_points((15, 15)), _points((40, 15)))) == 1
    assert agreement(mask, Prompt(_points((15, 15), (40, 15)), _points((45, 15), (16, 15)))) == 0.5
    assert agreement(mask, Prompt(box=(10, 10, 30, 20))) == 1
    assert agreement(mask, Prompt(box=(10, 10, 30, 30))) == pytest.approx(0.5)
    assert agreement(mask, Prompt(box=(40, 10, 50, 30))) == 0
    assert agreement(mask, Prompt(outline=_block(10, 20, 20, 40))) == pytest.approx(1 / 3)
    assert agreement(mask, Prompt(stroke=_block(10, 12, 20, 40))) == pytest.approx(0.5)
    both = Prompt(_points((15, 15)), stroke=_block(10, 12, 20, 40))
    assert agreement(mask, both) == pytest.approx(0.75)


def test_agreement_of_points_on_the_edge_and_beyond() -> None:
    mask = _block(30, 40, 50, 60)
    assert agreement(mask, Prompt(_points((60, 40), (1e9, 1e9)))) == 1
    assert agreement(mask, Prompt(_points((-5, -5)))) == 0
