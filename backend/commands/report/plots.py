"""Pictures of the report, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from backend.commands.file_names import FileNames
from backend.commands.report.changes import Report, Tally, Version

DPI = 120
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"  # safe without colours
BARS = 40  # classes at most; the least frequent are left out
LONGEST_NAME = 36


def plot(report: Report, folder: Path) -> list[Path]:
    """`VERSION-iou.png` and `VERSION-regions.png` of each, and of several `versions.png`.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    names = FileNames()
    for name, version in sorted(report.versions.items()):
        stem = names.give(name, "version")
        if version.labels:
            saved.append(_save(_ious(name, version), folder / f"{stem}-iou.png"))
            saved.append(_save(_regions(name, version), folder / f"{stem}-regions.png"))
    if len(report.versions) > 1:
        saved.append(_save(_versions(report), folder / "versions.png"))
    return saved


def _ious(name: str, version: Version) -> Figure:
    """How much of a class stayed: over all pixels, and in each image."""
    labels = _frequent(version)
    figure, axes = _bars(f"{name}: IoU of pre-label and correction", len(labels))
    for row, (_, tally) in enumerate(labels):
        axes.barh(row, tally.total_iou or 0, color=BLUE, height=0.6)
        # Each image by a dot, a little up and down so that they do not hide each other.
        scatter = np.linspace(-0.22, 0.22, max(len(tally.ious), 2))[: len(tally.ious)]
        axes.plot(
            tally.ious, row + scatter, "o", color=ORANGE, markersize=3, alpha=0.8, clip_on=False
        )
        value = f"{tally.total_iou:.2f}" if tally.total_iou is not None else "–"
        axes.annotate(value, (1.02, row), va="center", fontsize=8, annotation_clip=False)
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU: bar = all pixels, dot = one image")
    _name_rows(axes, [label for label, _ in labels])
    return figure


def _regions(name: str, version: Version) -> Figure:
    """What became of the regions of a class."""
    labels = _frequent(version)
    figure, axes = _bars(f"{name}: what became of the regions", len(labels))
    left = np.zeros(len(labels))
    parts = {"accepted": BLUE, "changed": SKY, "removed": ORANGE, "added": VERMILION}
    for part, colour in parts.items():
        values = np.array([getattr(tally, part) for _, tally in labels], dtype=float)
        shown = "unchanged" if part == "accepted" else part
        axes.barh(range(len(labels)), values, left=left, color=colour, height=0.6, label=shown)
        left += values
    axes.set_xlim(0, max(float(left.max()), 1) * 1.02)
    axes.set_xlabel("regions")
    axes.legend(ncols=4, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=10, pad=22, parse_math=False)
    _name_rows(axes, [label for label, _ in labels])
    return figure


def _versions(report: Report) -> Figure:
    """The versions beside each other: pixels that stayed, and regions that were left alone."""
    versions = sorted(report.versions.items())
    figure, axes = _bars("Versions", len(versions))
    for row, (_, version) in enumerate(versions):
        total = version.total
        axes.barh(row - 0.17, total.total_iou or 0, color=BLUE, height=0.3)
        axes.barh(row + 0.17, total.accepted_share or 0, color=SKY, height=0.3)
        axes.annotate(
            f"{version.pairs} images", (1.02, row), va="center", fontsize=8, annotation_clip=False
        )
    axes.set_xlim(0, 1)
    axes.set_xlabel("dark: IoU over all pixels, light: share of regions that were left unchanged")
    _name_rows(axes, [name for name, _ in versions])
    return figure


def _bars(title: str, count: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 1.6 + 0.34 * count), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_short(title, 80), loc="left", fontsize=10, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    shown = [_short(name, LONGEST_NAME) for name in names]
    axes.set_yticks(range(len(names)), shown, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _frequent(version: Version) -> list[tuple[str, Tally]]:
    """The classes with the most regions, in the order of their names."""

    def regions(pair: tuple[str, Tally]) -> int:
        return -(pair[1].predicted + pair[1].added)

    return sorted(sorted(version.labels.items(), key=regions)[:BARS])


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
    return path
