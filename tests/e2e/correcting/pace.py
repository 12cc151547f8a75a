"""How long a person takes for what is done with mouse and keyboard, by published motor models.

Distances and widths of one movement have one unit, pixels of the image as well as of the screen:
only their ratio counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.int32]  # (N, 2) XY, pixels of the image

AWAY = 300.0  # pixels from wherever the mouse is to where something new begins
TO_BUTTON = 500.0  # pixels from the image to the buttons below it
BUTTON = 24.0  # pixels, width of one


@dataclass(frozen=True)
class Pace:
    """How long a person takes; seconds.

    Attributes:
        decision: to see what is to be done next, or whether an answer is good: M of the
            keystroke-level model (Card, Moran and Newell, CACM 23:396, 1980).
        key: an average typist's, K there.
        press: of a mouse button, B there twice.
        start, bit: of pointing with a mouse, start + bit · log2(D / W + 1) (Fitts' law, numbers of
            MacKenzie, Sellen and Buxton, CHI 1991); at least `shortest`.
        shortest: time of any movement.
        tunnel: of steering along a path, tunnel · length / width (Accot and Zhai, CHI 1997, who
            measured 0.078 with a stylus; rounded up for a mouse).
    """

    decision: float = 1.35
    key: float = 0.28
    press: float = 0.2
    start: float = -0.107
    bit: float = 0.223
    shortest: float = 0.1
    tunnel: float = 0.1

    def pointing(self, distance: float, width: float) -> float:
        """Of moving the mouse by `distance` to a target of `width`, and pressing it there."""
        bits = math.log2(distance / max(width, 1.0) + 1)
        return max(self.shortest, self.start + self.bit * bits) + self.press

    def outline(self, corners: Corners, tolerance: float) -> float:
        """Of a polygon: decision, label, each corner to `tolerance` pixels, the first one again."""
        there = np.vstack([corners, corners[:1]]).astype(np.float64)
        sides = np.linalg.norm(np.diff(there, axis=0), axis=1)
        width = 2 * tolerance
        clicks = self.pointing(AWAY, width) + sum(self.pointing(side, width) for side in sides)
        return self.decision + self.key + clicks

    def strokes(self, lengths: Sequence[float], tolerance: float) -> float:
        """Of painting with the brush: decision, label, size (two keys), then stroke by stroke."""
        width = 2 * tolerance
        one = sum(self.pointing(AWAY, width) + self.tunnel * each / width for each in lengths)
        return self.decision + 3 * self.key + one

    def click(self, width: float) -> float:
        """Of asking with a click: decision, label, the place."""
        return self.decision + self.key + self.pointing(AWAY, width)

    def verdict(self) -> float:
        """Of judging an answer, and pressing the tick or the cross."""
        return self.decision + self.pointing(TO_BUTTON, BUTTON)

    def renaming(self, width: float) -> float:
        """Of selecting a region and giving it another label by its key."""
        return self.decision + self.pointing(AWAY, width) + self.key
