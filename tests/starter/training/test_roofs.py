import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from starter.training import roofs

RNG = np.random.default_rng(0)
IMAGE = cv2.GaussianBlur(RNG.integers(60, 200, (64, 64, 3)).astype(np.uint8), (0, 0), 1)
TOWN = np.zeros((64, 64), bool)
for top in (4, 24, 44):
    for left in (4, 24, 44):
        TOWN[top : top + 14, left : left + 14] = True


@given(st.integers(0, 10_000))
def test_only_roofs_and_their_edges_change(seed: int):
    painted = roofs.repainted(IMAGE, TOWN, np.random.default_rng(seed))
    reach = round(8 * roofs.SOFT) + 1
    near = cv2.dilate(TOWN.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    assert painted.shape == IMAGE.shape
    assert painted.dtype == np.uint8
    # Out to CIELAB and back in float32 costs no more than rounding.
    assert np.abs(painted.astype(int) - IMAGE)[~near].max() <= 1


def test_some_roofs_are_painted_others_stay_and_texture_remains():
    seen = [roofs.repainted(IMAGE, TOWN, np.random.default_rng(seed)) for seed in range(20)]
    moved = [
        [
            np.abs(painted[top + 3 : top + 11, left + 3 : left + 11].astype(int)
                   - IMAGE[top + 3 : top + 11, left + 3 : left + 11]).mean() > 2
            for top in (4, 24, 44) for left in (4, 24, 44)
        ]
        for painted in seen
    ]  # fmt: skip
    assert 0.3 < np.mean(moved) < 0.7
    blue = np.concatenate([p[TOWN] for p in seen]).astype(int)
    assert (blue[:, 2] - blue[:, 0] > 40).mean() > 0.05  # among them are blue ones
    assert min(p[8:16, 8:16].std() for p in seen) > 1  # and none is flat


def test_an_image_without_roofs_is_itself():
    nothing = np.zeros((64, 64), bool)
    assert roofs.repainted(IMAGE, nothing, np.random.default_rng(0)) is IMAGE
    speck = nothing.copy()
    speck[5, 5] = True
    assert roofs.repainted(IMAGE, speck, np.random.default_rng(0)) is IMAGE
