"""What clicks led to, as numbers, as text for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dgl_rsis.evaluation.clicks import ALWAYS, MOST, TARGETS, ClickRun
from dgl_rsis.evaluation.harness import Case
from dgl_rsis.evaluation.tables import number, table
from dgl_rsis.types import Json

REPORTED = (0, 1, 3, ALWAYS)  # clicks
STARTS = ("nothing", "pre-label", "segmentation")


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


def mean_iou(runs: Sequence[ClickRun], clicks: int) -> float:
    """Mean IoU after so many clicks."""
    return float(np.mean([run.after(clicks) for run in runs]))


def clicks_needed(runs: Sequence[ClickRun], target: float) -> float:
    """NoC@target: mean clicks until the IoU reaches it, at most `MOST`."""
    return float(np.mean([run.needed(target) for run in runs]))


def failures(runs: Sequence[ClickRun], target: float) -> int:
    """Objects that never reached it."""
    return sum(max(run.ious) < target for run in runs)


def click_text(scores: ClickScores) -> str:
    """One line for each start, then what a pre-label saves and what a click costs."""
    head = (
        f"{len(scores.from_nothing)} objects of {scores.min_area} pixels or more in "
        f"{scores.images} images, region tree"
    )
    columns = ["from", *(f"IoU@{clicks}" for clicks in REPORTED)]
    columns += [f"{name}@{100 * t:.0f}" for t in TARGETS for name in ("NoC", "never")]
    rows = []
    for start, runs in scores.starts.items():
        row = [start, *(number(mean_iou(runs, clicks)) for clicks in REPORTED)]
        for target in TARGETS:
            row += [number(clicks_needed(runs, target), 2), str(failures(runs, target))]
        rows.append(row)
    saved = []
    for start in list(scores.starts)[1:]:
        by = ", ".join(f"{scores.saved(t, start):.2f} to {100 * t:.0f} %" for t in TARGETS)
        some = f", which {scores.corrected} objects have" if start == STARTS[2] else ""
        saved.append(f"clicks that the {start} saves: {by}{some}")
    milliseconds = [number(1000 * scores.click_quantile(share), 0) for share in (0.5, 0.95)]
    return "\n\n".join(
        [
            head,
            table(columns, rows),
            "\n".join(saved),
            f"tree {scores.tree_seconds:.2f} s/image, click {milliseconds[0]} ms (median), "
            f"{milliseconds[1]} ms (95 %)",
        ]
    )


def click_json(scores: ClickScores) -> Json:
    """Every number, and every object."""
    milliseconds = {
        f"click_ms_p{100 * share:.0f}": 1000 * scores.click_quantile(share)
        for share in (0.5, 0.95)
        if scores.click_seconds
    }
    return {
        "images": scores.images,
        "objects": len(scores.from_nothing),
        "min_area": scores.min_area,
        "most_clicks": MOST,
        "starts": {start: _start_json(runs) for start, runs in scores.starts.items()},
        "saved": {f"NoC@{100 * t:.0f}": scores.saved(t) for t in TARGETS},
        **_segmentation_json(scores),
        "tree_seconds": scores.tree_seconds,
        **milliseconds,
    }


def _segmentation_json(scores: ClickScores) -> Json:
    if not scores.from_segmentation:
        return {}
    saved = {f"NoC@{100 * t:.0f}": scores.saved(t, STARTS[2]) for t in TARGETS}
    return {"saved_by_segmentation": saved, "segmentations_corrected": scores.corrected}


def _start_json(runs: Sequence[ClickRun]) -> Json:
    return {
        "mean_IoU": {str(clicks): mean_iou(runs, clicks) for clicks in REPORTED},
        **{f"NoC@{100 * t:.0f}": clicks_needed(runs, t) for t in TARGETS},
        **{f"never@{100 * t:.0f}": failures(runs, t) for t in TARGETS},
        "IoU": [[round(iou, 4) for iou in run.ious] for run in runs],
    }
