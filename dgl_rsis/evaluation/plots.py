"""Pictures of an evaluation, as PNG files."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from dgl_rsis import overlays
from dgl_rsis.evaluation.calibration import Reliability
from dgl_rsis.evaluation.clicks import MOST, TARGETS, ClickScores, mean_iou_after
from dgl_rsis.evaluation.concepts import ConceptScores
from dgl_rsis.evaluation.detection import Claims
from dgl_rsis.evaluation.harness import Case, ClassMap, ClassScores, ExpressionScores
from dgl_rsis.evaluation.parts import ProposalScores
from dgl_rsis.evaluation.scores import Confusion, mean_iou, overlap
from dgl_rsis.types import RGB, Segment

DPI = 120
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#9A9A9A"  # told apart without colour vision
TITLE_HEIGHT = 26  # pixels
LONGEST_SIDE = 900  # pixels of each picture of a comparison


def plot_classes(scores: ClassScores, folder: Path) -> list[Path]:
    """`ladder.png`, `classes.png`, `confusion.png` and `worst-N-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    ladder = {rung: confusion.miou for rung, confusion in scores.rungs.items()}
    return [
        _save(_ladder(ladder, "mIoU"), folder / "ladder.png"),
        _save(_class_bars(scores), folder / "classes.png"),
        _save(_confusion(scores.last), folder / "confusion.png"),
        *_worst(scores.worst, folder),
    ]


def plot_expressions(scores: ExpressionScores, folder: Path) -> list[Path]:
    """`ladder.png`, `strata.png` where there are strata, and `worst-N-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    ladder = {rung: mean_iou(scores.first(rung)) for rung in scores.rungs}
    best = {rung: mean_iou(scores.best(rung)) for rung in scores.rungs}
    figures = {"ladder.png": _ladder(ladder, "mIoU", best, f"best of {scores.top_k}")}
    if scores.strata:
        figures["strata.png"] = _strata(scores)
    saved = [_save(figure, folder / name) for name, figure in figures.items()]
    return [*saved, *_worst(scores.worst, folder)]


def plot_proposals(scores: ProposalScores, folder: Path) -> list[Path]:
    """`best.png`, how many objects reach which IoU, and `worst-N-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(_reached(scores), folder / "best.png"), *_worst(scores.worst, folder)]


def plot_clicks(scores: ClickScores, folder: Path) -> list[Path]:
    """`clicks.png`, mean IoU over clicks from every start, and `worst-N-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(_curves(scores), folder / "clicks.png"), *_worst(scores.worst, folder)]


def plot_concepts(scores: ConceptScores, folder: Path) -> list[Path]:
    """`reliability.png`, and `worst-N-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    reliability = {"pixels, share that is right": scores.pixels, "masks, mean IoU": scores.masks}
    return [
        _save(_reliability(reliability), folder / "reliability.png"),
        *_worst(scores.worst, folder),
    ]


def plot_claims(claims: Sequence[Claims], folder: Path) -> list[Path]:
    """`NAME.png` of each image: a numbered box around each object that is claimed."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_claimed(each, folder) for each in claims]


def _claimed(claims: Claims, folder: Path) -> Path:
    picture = Image.fromarray(claims.image)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    for (name, objects), colour in zip(claims.objects.items(), overlays.PALETTE, strict=False):
        for number, each in enumerate(objects, start=1):
            left, top, right, bottom = each.box
            draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=colour, width=2)
            draw.text((left, max(0, top - 17)), f"{name} {number}", fill=colour, font=font)
    path = folder / f"{_file_name(claims.name)}.png"
    picture.save(path)
    return path


def _reliability(each: Mapping[str, Reliability]) -> Figure:
    """Outcome over confidence; what is calibrated lies on the diagonal."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for (name, reliability), colour in zip(each.items(), (BLUE, ORANGE), strict=False):
        points = [(sure, good) for _, _, sure, good in reliability.rows]
        label = f"{name}: ECE {reliability.ece:.3f}"
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", label=label)
    axes.set_xlabel("confidence")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left")
    return figure


def _ladder(
    values: Mapping[str, float],
    measure: str,
    more: Mapping[str, float] | None = None,
    more_name: str = "",
) -> Figure:
    """A bar a rung, the lowest at the top; behind it a paler one."""
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(values)), layout="constrained")
    axes = figure.subplots()
    names = list(values)
    if more is not None:
        axes.barh(names, [more[name] for name in names], color=GREY, alpha=0.5, label=more_name)
    axes.barh(names, list(values.values()), height=0.5, color=BLUE, label=measure)
    for i, value in enumerate(values.values()):
        axes.text(value + 0.005, i, f"{value:.3f}", va="center", fontsize=9)
    axes.invert_yaxis()
    highest = max([*values.values(), *(more or {}).values()])
    axes.set_xlim(0, min(1.0, 1.15 * highest + 0.02))
    axes.set_xlabel(measure)
    if more is not None:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def _class_bars(scores: ClassScores) -> Figure:
    """Two bars a class: the first measured rung and the last."""
    rungs = list(scores.rungs)
    shown = dict.fromkeys([rungs[min(1, len(rungs) - 1)], rungs[-1]])
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(scores.names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(scores.names))
    height = 0.8 / len(shown)
    for i, (rung, colour) in enumerate(zip(shown, (ORANGE, BLUE)[-len(shown) :], strict=True)):
        values = np.nan_to_num(scores.rungs[rung].iou)
        axes.barh(places + (i - (len(shown) - 1) / 2) * height, values, height, color=colour)
        axes.plot([], [], color=colour, linewidth=6, label=rung)
    axes.set_yticks(places, scores.names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _confusion(confusion: Confusion) -> Figure:
    """Shares of each true class; the first column is what was left unlabelled."""
    counts = confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    columns = ("unlabelled", *confusion.names)
    size = 2.5 + 0.55 * len(columns)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(confusion.names)), confusion.names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, size=8)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def _strata(scores: ExpressionScores) -> Figure:
    """A group a stratum, a bar a rung."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(scores.rungs)
    for i, rung in enumerate(scores.rungs):
        values = [mean_iou(scores.first(rung, stratum)) for stratum in scores.strata]
        places = np.arange(len(values)) + (i - (len(scores.rungs) - 1) / 2) * width
        axes.bar(places, values, width, color=overlays.PALETTE[i % 16], label=rung)
    axes.set_xticks(range(len(scores.strata)), scores.strata)
    axes.set_ylabel("mIoU")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=len(scores.rungs), fontsize=9)
    return figure


def _reached(scores: ProposalScores) -> Figure:
    """For each budget the share of objects whose best IoU is at least x."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    levels = np.linspace(0, 1, 101)
    for i, (budget, best) in enumerate(scores.best.items()):
        name = "all" if budget is None else f"{budget}"
        label = f"{name}: mean {best.mean():.3f}"
        shares = (best[None, :] >= levels[:, None]).mean(axis=1)
        axes.plot(levels, shares, color=overlays.PALETTE[i % 16], label=label)
    axes.set_xlabel("IoU")
    axes.set_ylabel("share of objects")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(title="proposals an image")
    return figure


def _curves(scores: ClickScores) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    clicks = range(MOST + 1)
    for (start, runs), colour in zip(scores.starts.items(), (BLUE, ORANGE, GREY), strict=False):
        means = [mean_iou_after(runs, count) for count in clicks]
        axes.plot(clicks, means, color=colour, marker=".", label=start)
    for target in TARGETS:
        axes.axhline(target, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("clicks")
    axes.set_ylabel("mean IoU")
    axes.set_xlim(0, MOST)
    axes.set_ylim(0, 1)
    axes.set_xticks(range(0, MOST + 1, 2))
    axes.legend(title="from", loc="lower right")
    return figure


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure).print_figure(path, dpi=DPI)
    return path


# ---- the worst cases -----------------------------------------------------------------------------


def _worst(cases: Sequence[Case], folder: Path) -> list[Path]:
    paths = []
    for i, case in enumerate(cases, start=1):
        path = folder / f"worst-{i}-{_file_name(case.name)}.png"
        Image.fromarray(comparison(case)).save(path)
        paths.append(path)
    return paths


def _file_name(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_")[:60]


def comparison(case: Case) -> RGB:
    """The image, the truth and the prediction beside each other, under their names.

    Returns:
        (H', W', 3) uint8.
    """
    step = math.ceil(max(case.image.shape[:2]) / LONGEST_SIDE)  # every step-th pixel is enough
    image = np.ascontiguousarray(case.image[::step, ::step])
    colours = overlays.in_turn(case.names)
    pictures = {
        f"{case.name}": image,
        "truth": overlays.overlay(image, _segments(case.truth, case, step), colours),
        f"prediction, IoU {case.score:.2f}": overlays.overlay(
            image, _segments(case.predicted, case, step), colours
        ),
    }
    gap = 8
    width = sum(picture.shape[1] for picture in pictures.values()) + gap * (len(pictures) - 1)
    height = max(picture.shape[0] for picture in pictures.values()) + TITLE_HEIGHT
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=15)
    left = 0
    for title, picture in pictures.items():
        page.paste(Image.fromarray(picture), (left, TITLE_HEIGHT))
        draw.text((left + 2, 4), _fitting(title, picture.shape[1], font), fill="black", font=font)
        left += picture.shape[1] + gap
    return np.asarray(page)


def _segments(numbers: ClassMap, case: Case, step: int) -> list[Segment]:
    """The classes of a map; as their score the IoU with the truth."""
    small, truth = numbers[::step, ::step], case.truth[::step, ::step]
    segments = []
    for i, name in enumerate(case.names, start=1):
        mask = small == i
        if mask.any():
            segments.append(Segment(name, overlap(mask, truth == i).iou, mask))
    return segments


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, shortened until it is no wider than some pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
