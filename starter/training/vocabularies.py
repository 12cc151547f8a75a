"""Which words mean which pixels: the targets that images are contrasted with.

The two sources of training pixels name different things: Dubai has "vegetation", the generated
scenes have "forest" and "farmland". A pixel is therefore contrasted within vocabularies, each of
which is a set of classes that exclude each other; a class that a source cannot decide is no target
for its pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_rsis.classes import knowledge
from starter.scenes.types import CLASSES

DUBAI = ("building", "land", "road", "vegetation", "water")
SOURCES = tuple(f"dubai {name}" for name in DUBAI) + tuple(f"scene {name}" for name in CLASSES)

# The classes of Dubai, and what of a generated scene they contain.
COARSE: Mapping[str, Sequence[str]] = {
    "building": ("dubai building", "scene building", "scene greenhouse"),
    "land": ("dubai land", "scene bare land", "scene beach"),
    "road": ("dubai road", "scene road", "scene roundabout", "scene bridge", "scene runway"),
    "vegetation": (
        "dubai vegetation", "scene forest", "scene tree", "scene grassland", "scene farmland",
    ),
    "water": ("dubai water", "scene water"),
}  # fmt: skip

# More wordings than inference asks for, so that the words are learnt and not the sentences.
EXTRA_TEMPLATES = ("{c}", "a photo of {c}.", "{c} in a remote sensing image.", "{c} from the air.")


@dataclass(frozen=True)
class TargetClasses:
    """Classes that exclude each other.

    Attributes:
        names: of the classes.
        words: what each class is called.
        targets: (1 + sources,) int64; pixel number (0 = unlabelled) → class index, −1 = none.
    """

    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    targets: Tensor


def coarse() -> TargetClasses:
    """Dubai's five classes, for both sources."""
    return _vocabulary({name: (knowledge.words(name), COARSE[name]) for name in COARSE})


def fine() -> TargetClasses:
    """The classes of the generated scenes; those that share their words are one class."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in CLASSES:
        groups.setdefault(knowledge.words(name), []).append(name)
    return _vocabulary(
        {names[0]: (words, [f"scene {n}" for n in names]) for words, names in groups.items()}
    )


def sentences(vocabulary: TargetClasses, generator: torch.Generator) -> list[str]:
    """One sentence a class: a random one of its words in a random template."""
    templates = (*knowledge.templates(), *EXTRA_TEMPLATES)
    return [
        _pick(templates, generator).format(c=_pick(words, generator)) for words in vocabulary.words
    ]


def _vocabulary(
    classes: Mapping[str, tuple[tuple[str, ...], Sequence[str]]],
) -> TargetClasses:
    targets = torch.full((1 + len(SOURCES),), -1, dtype=torch.int64)
    for index, (_, members) in enumerate(classes.values()):
        for member in members:
            targets[1 + SOURCES.index(member)] = index
    return TargetClasses(tuple(classes), tuple(words for words, _ in classes.values()), targets)


def _pick(choices: Sequence[str], generator: torch.Generator) -> str:
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]
