"""The report as text for people."""

from collections.abc import Sequence

from backend.commands.report.changes import Report, Tally, Version

HEADER = (
    "class", "images", "mean IoU", "total IoU", "predicted", "unchanged", "changed", "removed",
    "added", "px before", "px after",
)  # fmt: skip
MOST_MOVES = 10
ALL = "all"


def text(report: Report) -> str:
    """A paragraph of counts, then a table for each model version."""
    began = sum(version.pairs for version in report.versions.values())
    known = f"{began} began with a pre-label, {report.unaided} without"
    if report.unknown:
        untold = f"what {report.unknown} began with is not known"
        known = f"{untold}, {known}" if began or report.unaided else untold
    lines = [
        f"{report.tasks} tasks, {report.annotations} annotations: {known}; "
        f"{report.waiting} pre-labelled tasks wait for somebody."
    ]
    for name, version in sorted(report.versions.items()):
        lines += ["", *_version(name, version)]
    return "\n".join(lines) + "\n"


def _version(name: str, version: Version) -> list[str]:
    rows = [_row(label, tally) for label, tally in sorted(version.labels.items())]
    rows.append(_row(ALL, version.total))
    moves = [
        f"relabelled: {old} → {new} ({count})"
        for (old, new), count in version.relabelled.most_common(MOST_MOVES)
    ]
    return [
        f"{name}: {version.pairs} images, {version.untouched} accepted as they were "
        f"({share(version.untouched / version.pairs if version.pairs else None)}); "
        f"mean over the classes {number(version.class_iou)} IoU",
        *_table(rows),
        *moves,
    ]


def _row(label: str, tally: Tally) -> tuple[str, ...]:
    return (
        label,
        str(tally.images),
        number(tally.mean_iou),
        number(tally.total_iou),
        str(tally.predicted),
        f"{tally.accepted} ({share(tally.accepted_share)})",
        str(tally.changed),
        str(tally.removed),
        str(tally.added),
        f"{tally.predicted_pixels:,}",
        f"{tally.corrected_pixels:,}",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The first column to the left, the others to the right."""
    lines = [HEADER, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def number(value: float | None) -> str:
    """Three digits; a dash for none."""
    return "–" if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """In per cent; a dash for none."""
    return "–" if value is None else f"{100 * value:.0f} %"
