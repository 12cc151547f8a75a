"""The card of a training set: what somebody who finds the folder wants to know (README.md)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from backend.commands.export.counts import SplitCounts
from backend.commands.export.dataset import DatasetVocabulary, Split

MOST_LISTED = 50
NUMBERS = "statistics.json"


@dataclass(frozen=True)
class Card:
    """What the card says.

    Attributes:
        source: where the annotations come from.
        date: ISO 8601 day on which it was made.
        formats: of the folders beside the card.
        vocabulary: the labels.
        splits: counts of each.
        ratios, seed: how the split was asked for.
        choice: which annotations count, as a sentence.
        agreements: between people, of the images that several marked.
        annotators: how many images each marked.
        versions: images by the model version whose pre-label they started from.
        left_out: a sentence for each image that is not in it as asked for.
        problems: a sentence for each image or region that could not be used.
        skipped: how many of what was passed over.
    """

    source: str
    date: str
    formats: Sequence[str]
    vocabulary: DatasetVocabulary
    splits: Mapping[Split, SplitCounts]
    ratios: Sequence[float]
    seed: int
    choice: str
    agreements: Sequence[float]
    annotators: Mapping[str, int]
    versions: Mapping[str, int]
    left_out: Sequence[str]
    problems: Sequence[str]
    skipped: Mapping[str, int]


def write(card: Card, out: Path) -> None:
    """Write `README.md` and `statistics.json`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(to_markdown(card), "utf-8")
    numbers = json.dumps(to_json(card), ensure_ascii=False, indent=1)
    (out / NUMBERS).write_text(numbers + "\n", "utf-8")


def to_json(card: Card) -> dict[str, Any]:
    """All numbers, as JSON types."""
    colours = {
        name: "#{:02x}{:02x}{:02x}".format(*colour)
        for name, colour in zip(card.vocabulary.labels, card.vocabulary.colours, strict=True)
    }
    return {
        "source": card.source, "date": card.date, "formats": list(card.formats),
        "labels": colours,
        "splits": {name: counts.to_json() for name, counts in card.splits.items()},
        "ratios": list(card.ratios), "seed": card.seed, "choice": card.choice,
        "agreement": {"images": len(card.agreements), "mean": _mean(card.agreements)},
        "annotators": dict(card.annotators), "model_versions": dict(card.versions),
        "left_out": list(card.left_out), "problems": list(card.problems),
        "skipped": dict(card.skipped),
    }  # fmt: skip


def to_markdown(card: Card) -> str:
    """The card for people."""
    images = sum(counts.images for counts in card.splits.values())
    lines = [
        "# Training set",
        "",
        f"{images} images with masks of {len(card.vocabulary.labels)} labels, written by "
        f"`dgl-rsis export` on {card.date} from {_code(card.source)}.",
        "",
        "- Licence: *to be filled in (of the images, and of the masks)*",
        f"- Formats: {', '.join(card.formats)}",
        f"- Truth: {card.choice}",
        f"- Agreement: {_agreement(card.agreements)}",
        f"- Annotators: {_listed(card.annotators)}",
        f"- Pre-labels by model version: {_listed(card.versions)}",
        "",
        "## Splits",
        "",
        "By scene: all images of a scene are in one split. Asked for were "
        f"{', '.join(f'{ratio:g}' for ratio in card.ratios)} (train, val, test), seed {card.seed}.",
        "",
        "| split | images | of them empty | scenes |",
        "|---|---:|---:|---:|",
        *(f"| {n} | {c.images} | {c.empty} | {len(c.scenes)} |" for n, c in card.splits.items()),
        "",
        "## Labels",
        "",
        *_labels(card),
        "",
        "## Scenes",
        "",
        *_scenes(card.splits),
        *_section("Left out as asked for", card.left_out),
        *_section("Left out because of errors", card.problems),
        *_section("Passed over", [f"{number} {what}" for what, number in card.skipped.items()]),
    ]
    return "\n".join(lines) + "\n"


def _labels(card: Card) -> Iterator[str]:
    yield "| label | split | images | regions | connected parts | pixels | of all pixels |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for label in card.vocabulary.labels:
        for name, counts in card.splits.items():
            of_label = counts.labels[label]
            share = of_label.pixels / counts.pixels
            yield (
                f"| {_cell(label)} | {name} | {of_label.images} | {of_label.regions} | "
                f"{of_label.objects} | {of_label.pixels} | {share:.2%} |"
            )


def _scenes(splits: Mapping[Split, SplitCounts]) -> Iterator[str]:
    for name, counts in splits.items():
        shown = [f"{_code(s)} ({n})" for s, n in counts.scenes.most_common(MOST_LISTED)]
        more = len(counts.scenes) - len(shown)
        yield f"- {name}: {', '.join(shown)}" + (f" and {more} more" if more else "")


def _section(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield from ("", f"## {title}", "")
        yield from (f"- {_plain(sentence)}" for sentence in sentences[:MOST_LISTED])
        if len(sentences) > MOST_LISTED:
            yield f"- and {len(sentences) - MOST_LISTED} more: see `statistics.json`"


def _agreement(agreements: Sequence[float]) -> str:
    mean = _mean(agreements)
    if mean is None:
        return "unknown, since no image was marked by several people"
    return (
        f"{mean:.3f} (mean IoU over labels and pairs of people, of the {len(agreements)} images "
        "that several people marked)"
    )


def _listed(numbers: Mapping[str, int]) -> str:
    ranked = sorted(numbers.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{_code(name)} ({number} images)" for name, number in ranked) or "none"


def _mean(numbers: Sequence[float]) -> float | None:
    return round(fmean(numbers), 4) if numbers else None


def _code(text: str) -> str:
    return f"`{_plain(text).replace('`', '')}`"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """On one line, whatever somebody wrote into a name."""
    return " ".join(text.split())
