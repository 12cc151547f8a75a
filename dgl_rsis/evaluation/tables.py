"""Scores as text for people and as JSON for programs."""

import math
from collections.abc import Mapping, Sequence

from dgl_rsis.evaluation.calibration import Reliability
from dgl_rsis.evaluation.clicks import (
    ALWAYS,
    MOST,
    STARTS,
    TARGETS,
    ClickRun,
    ClickScores,
    clicks_needed,
    failures,
    mean_iou_after,
)
from dgl_rsis.evaluation.harness import MAJORITY, ORACLE, ClassScores, ExpressionScores
from dgl_rsis.evaluation.parts import ParserScores, ProposalScores
from dgl_rsis.evaluation.scores import Confusion, Overlap, mean_iou, overall_iou, precision
from dgl_rsis.types import Json

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
REPORTED = (0, 1, 3, ALWAYS)  # clicks


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float, digits: int = 3) -> str:
    """Fixed digits; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def gain(value: float, before: float | None) -> str:
    """The difference to the rung below, in points."""
    return "" if before is None or math.isnan(value - before) else f"{100 * (value - before):+.1f}"


# ---- semantic segmentation -----------------------------------------------------------------------


def class_text(scores: ClassScores) -> str:
    """Ladder, per-class table, and calibration."""
    tables = [_class_ladder(scores), _per_class(scores)]
    return "\n\n".join([*tables, calibration_text(scores.pixels, scores.masks)])


def calibration_text(pixels: Reliability, masks: Reliability) -> str:
    """The expected calibration errors, in a line."""
    return (
        f"expected calibration error: {number(pixels.ece)} of pixels, {number(masks.ece)} of masks"
    )


def calibration_json(pixels: Reliability, masks: Reliability) -> Json:
    """Errors and reliability tables."""
    return {
        name: {
            "ECE": plain(each.ece),
            "bins": [
                {"from": low, "count": count, "confidence": sure, outcome: good}
                for low, count, sure, good in each.rows
            ],
        }
        for name, each, outcome in (("pixels", pixels, "right"), ("masks", masks, "IoU"))
    }


def _class_ladder(scores: ClassScores) -> str:
    rows, before = [], None
    for rung, confusion in scores.rungs.items():
        rows.append(
            [
                rung,
                number(confusion.miou),
                gain(confusion.miou, before),
                number(confusion.mean_accuracy),
                number(confusion.pixel_accuracy),
                number(scores.seconds.get(rung, math.nan), 2),
            ]
        )
        before = confusion.miou
    return table(["rung", "mIoU", "points", "mAcc", "aAcc", "s/image"], rows)


def _per_class(scores: ClassScores) -> str:
    """The last rung, and the one above the majority class to compare."""
    first, last = _first(scores), scores.last
    total = max(1, int(last.counts.sum()))
    rows = [
        [
            name,
            number(last.counts[i].sum() / total),
            number(first.iou[i]),
            number(last.iou[i]),
            number(last.recall[i]),
        ]
        for i, name in enumerate(scores.names)
    ]
    return table(["class", "pixels", "IoU, first rung", "IoU", "accuracy"], rows)


def _first(scores: ClassScores) -> Confusion:
    return next(c for rung, c in scores.rungs.items() if rung != MAJORITY)


def class_json(scores: ClassScores) -> Json:
    """Every number of a ladder; a class that never occurs has null."""
    return {
        "images": scores.images,
        "classes": list(scores.names),
        "rungs": {
            rung: {
                "mIoU": plain(c.miou),
                "mAcc": plain(c.mean_accuracy),
                "aAcc": plain(c.pixel_accuracy),
                "IoU": dict(zip(scores.names, map(plain, c.iou.tolist()), strict=True)),
                "confusion": c.counts.tolist(),
                "seconds": plain(scores.seconds.get(rung, math.nan)),
            }
            for rung, c in scores.rungs.items()
        },
        "calibration": calibration_json(scores.pixels, scores.masks),
        "worst": [{"name": case.name, "mIoU": case.score} for case in scores.worst],
    }


# ---- referring expressions -----------------------------------------------------------------------


def expression_text(scores: ExpressionScores) -> str:
    """Ladder, and mIoU by stratum where there are strata."""
    parts = [_expression_ladder(scores)]
    if scores.strata:
        parts.append(_by_stratum(scores))
    return "\n\n".join(parts)


def _expression_ladder(scores: ExpressionScores) -> str:
    rows, before = [], None
    for rung in scores.rungs:
        first = scores.first(rung)
        miou = mean_iou(first)
        # The oracle has one answer, so that its best of k says nothing.
        best = math.nan if rung == ORACLE else mean_iou(scores.best(rung))
        rows.append(
            [
                rung,
                number(miou),
                gain(miou, before),
                number(overall_iou(first)),
                *(number(precision(first, threshold)) for threshold in PRECISIONS),
                number(best),
                number(scores.seconds.get(rung, math.nan), 2),
            ]
        )
        before = miou
    head = ["rung", "mIoU", "points", "oIoU", *(f"Pr@{t}" for t in PRECISIONS)]
    return table([*head, f"best of {scores.top_k}", "s/expression"], rows)


def _by_stratum(scores: ExpressionScores) -> str:
    sizes = {s: len(scores.first(ORACLE, s)) for s in scores.strata}
    rows = [
        [rung, *(number(mean_iou(scores.first(rung, s))) for s in scores.strata)]
        for rung in scores.rungs
    ]
    return table(["mIoU by stratum", *(f"{s} ({n})" for s, n in sizes.items())], rows)


def expression_json(scores: ExpressionScores) -> Json:
    """Every number of a ladder, and every expression."""
    return {
        "images": scores.images,
        "expressions": len(scores.asked),
        "top_k": scores.top_k,
        "rungs": {
            rung: {
                **_overlap_json(scores.first(rung)),
                "best_of_top_k": mean_iou(scores.best(rung)),
                "strata": {s: _overlap_json(scores.first(rung, s)) for s in scores.strata},
                "seconds": plain(scores.seconds.get(rung, math.nan)),
            }
            for rung in scores.rungs
        },
        "seconds_encode": plain(scores.seconds.get("encode", math.nan)),
        "asked": [
            {
                "name": a.name,
                "expression": a.expression,
                "category": a.category,
                "stratum": a.stratum,
                "IoU": {rung: round(o.iou, 4) for rung, o in a.first.items()},
            }
            for a in scores.asked
        ],
    }


def _overlap_json(overlaps: Sequence[Overlap]) -> Json:
    precisions = {f"Pr@{t}": precision(overlaps, t) for t in PRECISIONS}
    return {
        "expressions": len(overlaps),
        "mIoU": mean_iou(overlaps),
        "oIoU": overall_iou(overlaps),
        **precisions,
    }


# ---- proposals and parser ------------------------------------------------------------------------


def proposal_text(scores: ProposalScores) -> str:
    """One line a budget."""
    head = (
        f"{scores.objects} objects of {scores.min_area} pixels or more in {scores.images} images, "
        f"{scores.proposals:.0f} proposals an image"
    )
    rows = [
        [
            "all" if budget is None else str(budget),
            number(scores.average_recall(budget)),
            number(float((best >= 0.5).mean())),
            number(scores.mean_best(budget)),
        ]
        for budget, best in scores.best.items()
    ]
    return f"{head}\n\n" + table(["proposals", "AR", "recall@0.5", "mean best IoU"], rows)


def proposal_json(scores: ProposalScores) -> Json:
    """Every number; the budget "all" has no limit."""
    return {
        "images": scores.images,
        "objects": scores.objects,
        "min_area": scores.min_area,
        "proposals": scores.proposals,
        "budgets": {
            "all" if budget is None else str(budget): {
                "AR": scores.average_recall(budget),
                "recall@0.5": float((best >= 0.5).mean()),
                "mean_best_IoU": scores.mean_best(budget),
            }
            for budget, best in scores.best.items()
        },
    }


def parser_text(scores: ParserScores) -> str:
    """Accuracies, and the first wrong nouns."""
    shares: Mapping[str, tuple[int, int, float]] = {
        "all": (scores.sentences, scores.right, scores.accuracy),
        "naming a second category": (
            scores.ambiguous,
            scores.ambiguous_right,
            scores.ambiguous_accuracy,
        ),
    }
    rows = [[name, str(n), str(right), number(s, 4)] for name, (n, right, s) in shares.items()]
    wrong = [f"  {w.noun!r} instead of {w.category!r}: {w.text}" for w in scores.wrong]
    return "\n".join([table(["sentences", "", "right", "share"], rows), *wrong])


def parser_json(scores: ParserScores) -> Json:
    """Every number, and the first wrong nouns."""
    return {
        "sentences": scores.sentences,
        "right": scores.right,
        "accuracy": scores.accuracy,
        "naming_a_second": scores.ambiguous,
        "naming_a_second_right": scores.ambiguous_right,
        "naming_a_second_accuracy": plain(scores.ambiguous_accuracy),
        "wrong": [{"text": w.text, "category": w.category, "noun": w.noun} for w in scores.wrong],
    }


# ---- clicks --------------------------------------------------------------------------------------


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
        row = [start, *(number(mean_iou_after(runs, clicks)) for clicks in REPORTED)]
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
        "mean_IoU": {str(clicks): mean_iou_after(runs, clicks) for clicks in REPORTED},
        **{f"NoC@{100 * t:.0f}": clicks_needed(runs, t) for t in TARGETS},
        **{f"never@{100 * t:.0f}": failures(runs, t) for t in TARGETS},
        "IoU": [[round(iou, 4) for iou in run.ious] for run in runs],
    }


def plain(value: float) -> float | None:
    """JSON knows no NaN: None."""
    return None if math.isnan(value) else value
