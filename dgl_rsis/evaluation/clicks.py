"""Somebody who clicks until a mask is right, simulated: the standard protocol.

The first click goes to the centre of the target, each next one to the centre of the largest error:
a positive one where something is missing, a negative one where there is too much. The centre of a
region is its pixel farthest from all that is outside it, and the largest region is the one whose
centre is farthest from it (as in RITM, Sofiiuk et al. 2022, arXiv 2102.06583, section 5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dgl_rsis import masks
from dgl_rsis.evaluation import scores
from dgl_rsis.evaluation.harness import Case
from dgl_rsis.types import Mask, Prompt

MOST = 20  # clicks; who needs more is counted with these
ALWAYS = 5  # clicks that are made however good the mask is: they are reported
TARGETS = (0.80, 0.85)
STARTS = ("nothing", "pre-label", "segmentation")


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


# ---- of many objects -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ClickScores:
    """How many clicks objects need.

    Attributes:
        from_nothing: of each object.
        from_prior: of each object, from the best proposal for it, in the same order.
        images: how many.
        min_area: pixels; smaller objects were left out.
        tree_seconds: mean, of building a region tree.
        click_seconds: of each click.
        from_segmentation: of each object, from its part of a segmentation where that is worth a
            correction, else from nothing; empty where nothing was segmented.
        corrected: how many objects had such a part.
        worst: from nothing, after `ALWAYS` clicks.
    """

    from_nothing: tuple[ClickRun, ...]
    from_prior: tuple[ClickRun, ...]
    images: int
    min_area: int
    tree_seconds: float
    click_seconds: tuple[float, ...]
    from_segmentation: tuple[ClickRun, ...] = ()
    corrected: int = 0
    worst: tuple[Case, ...] = field(default=(), repr=False)

    @property
    def starts(self) -> dict[str, Sequence[ClickRun]]:
        """Where the clicks began → what they led to."""
        every = (self.from_nothing, self.from_prior, self.from_segmentation)
        return {start: runs for start, runs in zip(STARTS, every, strict=True) if runs}

    def saved(self, target: float, start: str = "pre-label") -> float:
        """Mean clicks that a start saves on the way to an IoU."""
        return clicks_needed(self.from_nothing, target) - clicks_needed(self.starts[start], target)

    def click_quantile(self, share: float) -> float:
        """Seconds that this share of all clicks stays below; NaN where nobody clicked."""
        return float(np.quantile(self.click_seconds, share)) if self.click_seconds else np.nan


def mean_iou_after(runs: Sequence[ClickRun], clicks: int) -> float:
    """Mean IoU after so many clicks."""
    return float(np.mean([run.after(clicks) for run in runs]))


def clicks_needed(runs: Sequence[ClickRun], target: float) -> float:
    """NoC@target: mean clicks until the IoU reaches it, at most `MOST`."""
    return float(np.mean([run.needed(target) for run in runs]))


def failures(runs: Sequence[ClickRun], target: float) -> int:
    """Objects that never reached it."""
    return sum(max(run.ious) < target for run in runs)
