"""The data sets by name: what an evaluation opens.

| name | task | folder | split |
|---|---|---|---|
| dubai | ovss, proposals | of the tiles | tile numbers, "6" |
| fair | ovss, proposals | with `images` and `masks` | – |
| folder | ovss, proposals | with `classes.txt`, `images` and `labels` | – |
| loveda | ovss, proposals | with `Val` | "val" or "train" |
| potsdam, vaihingen | ovss, proposals | of the unpacked archives | "test", "train" or areas |
| isaid | ovss, proposals | with `val` | "val" or "train" |
| openearthmap | ovss, proposals | with `val.txt` and the regions | "val" or "train" |
| rrsisd | res | with `rrsisd` and `images` | "test", "val" or "train" |
| refsegrs, risbench | res | with the lists of phrases | "test", "val" or "train" |
| real | res | with `expressions.jsonl`, `images` and `masks` | – |
| expressions | parser | a file of JSON lines | – |
| oam-banepa-z19, oam-buildings | ovss | with `images` and `masks` | see below |
| naip-urban-trees, naip-prairie | ovss | with `images` and `masks` | see below |
| gsi-road-japan, gsi-solar-japan | ovss | with `images` and `masks` | see below |
| amazon-forest-s2 | ovss | with `images` and `masks` | see below |
| sen2ships | ovss, objects | with `images`, `masks` and `boxes.json` | see below |
| estonia-ortho-objects | objects | with `images` and `boxes.json` | see below |
| naip-aircraft-chips, naip-wind-turbines | objects | with `images` and `boxes.json` | see below |
| ucmerced | presence | with `images` and `tags.csv` | see below |
| absent | absent | of all data sets | – |
| large | claims | of all data sets | – |

The truth of those below the parser's is partial (`datasets.judged`); their names may have "_" for
"-". Their splits are "validation" (the usual one where there are places for it), "train", "all",
and how names begin, as "zanzibar". The readers document the layouts. Generated scenes come from
another package, with the same three functions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dgl_rsis.evaluation.datasets import judged, landcover, lists, referring, samples, things
from dgl_rsis.evaluation.datasets.judged import OPEN_SETS, Concept, Judged
from dgl_rsis.evaluation.datasets.lists import Overview, Question
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances, Referral, Sample
from dgl_rsis.evaluation.datasets.things import BOX_SETS, Boxed, Tagged
from dgl_rsis.names import names_background

Value = TypeVar("Value")


@dataclass(frozen=True)
class ClassData:
    """Labelled images and their vocabulary.

    Attributes:
        title: for people.
        names: C classes.
        samples: lazily read.
        piece: pixels; larger images are cut into pieces of at most this side, as the published
            evaluations do; None leaves them whole.
    """

    title: str
    names: tuple[str, ...]
    samples: Iterable[Sample]
    piece: int | None = None


@dataclass(frozen=True)
class ReferralData:
    """Expressions.

    Attributes:
        title: for people.
        referrals: lazily read; those of an image follow each other.
        side: pixels at which masks are compared; None compares them as they are.
    """

    title: str
    referrals: Iterable[Referral]
    side: int | None = None


@dataclass(frozen=True)
class ObjectData:
    """Images with their objects.

    Attributes:
        title: for people.
        images: lazily read.
        label: what all the objects are; "" where they are of several classes.
    """

    title: str
    images: Iterable[Instances]
    label: str = ""


@dataclass(frozen=True)
class SentenceData:
    """Sentences with their class nouns.

    Attributes:
        title: for people.
        sentences: lazily read.
    """

    title: str
    sentences: Iterable[NamedSentence]


@dataclass(frozen=True)
class JudgedData:
    """Images whose truth is known in part.

    Attributes:
        title: for people.
        concepts: what is judged.
        labels: asked for where the user names none.
        images: lazily read.
    """

    title: str
    concepts: tuple[Concept, ...]
    labels: tuple[str, ...]
    images: Iterable[Judged]


@dataclass(frozen=True)
class BoxData:
    """Images with boxes; attributes as of `JudgedData`."""

    title: str
    concepts: tuple[Concept, ...]
    labels: tuple[str, ...]
    images: Iterable[Boxed]


@dataclass(frozen=True)
class PresenceData:
    """Images with tags; attributes as of `JudgedData`."""

    title: str
    concepts: tuple[Concept, ...]
    labels: tuple[str, ...]
    images: Iterable[Tagged]


@dataclass(frozen=True)
class QuestionData:
    """Sentences for things that are absent.

    Attributes:
        title: for people.
        questions: lazily read; those of an image follow each other.
    """

    title: str
    questions: Iterable[Question]


@dataclass(frozen=True)
class LargeData:
    """Large images; attributes as of `JudgedData`."""

    title: str
    concepts: tuple[Concept, ...]
    labels: tuple[str, ...]
    images: Iterable[Overview]


@dataclass(frozen=True)
class _ClassSet:
    """How a labelled data set is opened."""

    title: str
    names: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str], Iterator[Sample]]
    split: str
    piece: int | None = None


def _tiles(split: str) -> list[int]:
    try:
        return [int(tile) for tile in split.split(",")]
    except ValueError:
        raise DatasetError(f"Dubai has no split {split!r}: give tile numbers, as in 5,6") from None


# Pieces as mmsegmentation's preparation cuts them, which the published numbers rest on.
CLASS_SETS: Mapping[str, _ClassSet] = {
    "dubai": _ClassSet(
        "Dubai",
        lambda folder: samples.DUBAI_CLASSES,
        lambda folder, split: samples.dubai(folder, _tiles(split)),
        "6",
    ),
    "fair": _ClassSet(
        "fAIr buildings",
        lambda folder: samples.FAIR_CLASSES,
        lambda folder, split: samples.fair(folder),
        "",
    ),
    "folder": _ClassSet(
        "folder", samples.plain_classes, lambda folder, split: samples.plain(folder), ""
    ),
    "loveda": _ClassSet("LoveDA", lambda folder: landcover.LOVEDA_CLASSES, landcover.loveda, "val"),
    "potsdam": _ClassSet(
        "ISPRS Potsdam",
        lambda folder: landcover.ISPRS_CLASSES,
        landcover.potsdam,
        "test",
        512,
    ),
    "vaihingen": _ClassSet(
        "ISPRS Vaihingen",
        lambda folder: landcover.ISPRS_CLASSES,
        landcover.vaihingen,
        "test",
        512,
    ),
    "isaid": _ClassSet(
        "iSAID",
        lambda folder: landcover.ISAID_CLASSES,
        landcover.isaid,
        "val",
        896,
    ),
    "openearthmap": _ClassSet(
        "OpenEarthMap",
        lambda folder: landcover.OPEN_EARTH_MAP_CLASSES,
        landcover.open_earth_map,
        "val",
    ),
}
# RMSIN's protocol compares the masks of RRSIS-D at 480 pixels.
REFERRAL_SETS: Mapping[str, tuple[str, Callable[[Path, str], Iterator[Referral]], int | None]] = {
    "rrsisd": ("RRSIS-D", referring.rrsisd, 480),
    "refsegrs": ("RefSegRS", referring.refsegrs, None),
    "risbench": ("RISBench", referring.risbench, None),
    "real": ("real expressions", referring.real, None),
}


def open_classes(name: str, folder: Path | None, split: str | None) -> ClassData:
    """A labelled data set; files are read while it is iterated.

    Args:
        name: see the table above.
        folder: where it lies.
        split: a part of it; None for the usual one.

    Raises:
        DatasetError: no such data set, no folder, or one that does not hold it.
    """
    chosen = _chosen(CLASS_SETS, name, "labelled images")
    place = _place(name, folder)
    part = chosen.split if split is None else split
    title = " ".join(filter(None, [chosen.title, part]))
    return ClassData(title, chosen.names(place), chosen.read(place, part), chosen.piece)


def open_referrals(name: str, folder: Path | None, split: str | None) -> ReferralData:
    """A referring data set; files are read while it is iterated. See `open_classes`."""
    title, read, side = _chosen(REFERRAL_SETS, name, "expressions with masks")
    part = "test" if split is None else split
    return ReferralData(f"{title} {part}", read(_place(name, folder), part), side)


def open_objects(name: str, folder: Path | None, split: str | None, thing: str) -> ObjectData:
    """The connected parts of one class of a labelled data set. See `open_classes`.

    Args:
        name: see the table above.
        folder: where it lies.
        split: a part of it; None for the usual one.
        thing: the class.

    Raises:
        DatasetError: also, it has no such class.
    """
    data = open_classes(name, folder, split)
    if thing not in data.names:
        known = ", ".join(data.names)
        raise DatasetError(f"{data.title} has no class {thing!r}: choose one of {known}")
    images = data.samples if data.piece is None else samples.cut(data.samples, data.piece)
    index = data.names.index(thing)
    return ObjectData(f"{data.title}, {thing}", samples.objects(images, index), thing)


def open_sentences(name: str, folder: Path | None, split: str | None) -> SentenceData:
    """Sentences with their class nouns. See `open_classes`; here `folder` is a file."""
    title = _chosen({"expressions": "expressions"}, name, "sentences")
    return SentenceData(title, referring.sentences(_place(name, folder)))


def is_judged(name: str) -> bool:
    """Whether the truth of a data set of this name is partial."""
    return _spelled(name) in OPEN_SETS


def open_judged(name: str, folder: Path | None, split: str | None) -> JudgedData:
    """A data set whose truth is known in part. See `open_classes`.

    Args:
        name: see the table above.
        folder: where it lies.
        split: a part of it; None for its validation places, or all where it has none.
    """
    chosen = _chosen(OPEN_SETS, _spelled(name), "partial truth")
    part = split or (judged.ALL if chosen.validation is None else judged.VALIDATION)
    images = judged.read(_place(name, folder), chosen, part)
    return JudgedData(f"{chosen.title} {part}", tuple(chosen.concepts), chosen.labels, images)


def as_judged(data: ClassData, piece: int | None) -> JudgedData:
    """A labelled data set as if its truth were partial, so that other labels can be asked for.

    Args:
        data: labelled images; their classes become concepts, but for a background.
        piece: see `Options.piece`.
    """
    side = data.piece if piece is None else piece
    pieces = samples.cut(data.samples, side) if side else data.samples
    concepts = tuple(judged.concept(x) for x in data.names if not names_background(x))
    images = (judged.from_sample(sample, data.names) for sample in pieces)
    return JudgedData(data.title, concepts, data.names, images)


def open_boxes(name: str, folder: Path | None, split: str | None) -> BoxData:
    """Images with boxes around things. See `open_classes`."""
    chosen = _chosen(BOX_SETS, _spelled(name), "boxes")
    part = split or judged.ALL
    images = things.boxes(_place(name, folder), chosen, part)
    return BoxData(f"{chosen.title} {part}", tuple(chosen.concepts), chosen.labels, images)


def open_presence(name: str, folder: Path | None, split: str | None) -> PresenceData:
    """Images with tags of what is in them. See `open_classes`."""
    title = _chosen({"ucmerced": "UC Merced"}, name, "tags")
    part = split or judged.VALIDATION
    concepts, labels = tuple(things.UC_MERCED_TAGS), things.UC_MERCED_LABELS
    images = things.ucmerced(_place(name, folder), part)
    return PresenceData(f"{title} {part}", concepts, labels, images)


def open_questions(name: str, folder: Path | None) -> QuestionData:
    """The questions for absent things. See `open_classes`; `folder` holds all data sets."""
    title = _chosen({"absent": "absent things"}, name, "questions")
    return QuestionData(title, lists.absent(_place(name, folder)))


def open_large(name: str, folder: Path | None) -> LargeData:
    """The large images. See `open_classes`; `folder` holds all data sets."""
    title = _chosen({"large": "large images"}, name, "large images")
    labels = BOX_SETS["estonia-ortho-objects"].labels
    return LargeData(title, tuple(lists.COUNTED), labels, lists.large(_place(name, folder)))


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _chosen(known: Mapping[str, Value], name: str, what: str) -> Value:
    if name not in known:
        names = ", ".join([*known, "scenes"])
        raise DatasetError(f"no data set of {what} is called {name!r}: choose one of {names}")
    return known[name]


def _place(name: str, folder: Path | None) -> Path:
    if folder is None:
        raise DatasetError(f"where is it? Give the data set as {name}:FOLDER")
    if not folder.exists():
        raise DatasetError(f"{folder} does not exist")
    return folder
