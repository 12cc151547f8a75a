"""Somebody who clicks until a mask is right, simulated: the standard protocol.

The first click goes to the centre of the target, each next one to the centre of the largest error:
a positive one where something is missing, a negative one where there is too much. The centre of a
region is its pixel farthest from all that is outside it, and the largest region is the one whose
centre is farthest from it (as in RITM, Sofiiuk et al. 2022, arXiv 2102.06583, section 5).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dgl_rsis import masks
from dgl_rsis.evaluation import scores
from dgl_rsis.types import Mask, Prompt

MOST = 20  # clicks; who needs more is counted with these
ALWAYS = 5  # clicks that are made however good the mask is: they are reported
TARGETS = (0.80, 0.85)


class Click(NamedTuple):
    """A pixel, and whether it belongs to the target."""

    x: int
    y: int
    positive: bool


@dataclass(frozen=True)
class ClickRun:
    """What the clicks on one object led to.

    Attributes:
        ious: after 0, 1, 2 … clicks; the last one stays for all further clicks.
    """

    ious: tuple[float, ...]

    def after(self, clicks: int) -> float:
        """IoU after so many clicks."""
        return self.ious[min(clicks, len(self.ious) - 1)]

    def needed(self, target: float, most: int = MOST) -> int:
        """Clicks until the IoU reaches a target (NoC@target), at most so many."""
        for clicks, iou in enumerate(self.ious[: most + 1]):
            if iou >= target:
                return clicks
        return most


def simulate(
    truth: Mask,
    answer: Callable[[Prompt], Mask],
    *,
    prior: Mask | None = None,
    target: float = max(TARGETS),
    always: int = ALWAYS,
    most: int = MOST,
) -> ClickRun:
    """Click on one object until the target is reached.

    Args:
        truth: (H, W) bool, not empty.
        answer: the mask of a prompt, (H, W) bool; every prompt holds all clicks so far.
        prior: (H, W) bool, a mask that is there already and goes into every prompt; None to start
            from nothing.
        target: IoU at which nobody clicks any more.
        always: clicks that are made even so, as long as anything is wrong.
        most: clicks that are made even if the target is never reached.
    """
    mask = np.zeros_like(truth) if prior is None else prior
    prompt = Prompt(prior=prior)
    ious = [scores.overlap(mask, truth).iou]
    for clicks in range(most):
        click = next_click(mask, truth)
        if click is None or (clicks >= always and ious[-1] >= target):
            break
        prompt = _with(prompt, click)
        mask = answer(prompt)
        ious.append(scores.overlap(mask, truth).iou)
    return ClickRun(tuple(ious))


def next_click(mask: Mask, truth: Mask) -> Click | None:
    """Where the protocol clicks next; None where nothing is wrong.

    Args:
        mask: (H, W) bool; an empty one asks for the first click.
        truth: (H, W) bool.
    """
    missing, surplus = truth & ~mask, mask & ~truth
    if not missing.any() and not surplus.any():
        return None
    depth, other = masks.depth(missing), masks.depth(surplus)
    positive = bool(depth.max() >= other.max())
    y, x = np.unravel_index(int((depth if positive else other).argmax()), truth.shape)
    return Click(int(x), int(y), positive)


def _with(prompt: Prompt, click: Click) -> Prompt:
    centre = np.array([[click.x + 0.5, click.y + 0.5]], dtype=np.float32)
    if click.positive:
        return replace(prompt, positive=np.concatenate([prompt.positive, centre]))
    return replace(prompt, negative=np.concatenate([prompt.negative, centre]))
