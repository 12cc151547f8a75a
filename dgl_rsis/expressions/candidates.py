"""Which masks an expression may mean, and which its anchors may be. [ours].

Proposals know no noun. A map of the noun does: its connected parts are candidates beside the
proposals, and where a pixel tower draws it, instances of the noun are the only ones.
"""

from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from dgl_rsis import masks
from dgl_rsis.classes import matching, pipeline, scales
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.classes.scales import Phrases, Weighting
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import instances
from dgl_rsis.expressions.instances import InstanceParameters
from dgl_rsis.regions import proposals
from dgl_rsis.types import Floats, Proposals

# What is unlike any region is seldom an object: 400 sentences on generated scenes had 0.595 mIoU
# with 0, 0.607 with 1 and 0.614 with this.
WHOLE_EXPONENT = 1.5


@dataclass(frozen=True)
class CandidateParameters:
    """Where candidates come from, beside the proposals.

    Attributes:
        parts: connected parts of the noun's map at most, where the model has no pixel tower.
        instances: the candidates where it has one.
    """

    parts: int = 100
    instances: InstanceParameters = field(default_factory=InstanceParameters)


@dataclass(frozen=True)
class Query:
    """What an expression speaks of.

    Attributes:
        phrases: of the noun, which is class 0, of the anchors and of everything else.
        anchors: whether there are anchors of another noun.
    """

    phrases: Phrases
    anchors: bool


@dataclass(frozen=True)
class Candidates:
    """The masks of an image that an expression may speak of.

    Attributes:
        masks: N that may be meant.
        classes: (N, C) float32, probabilities of each, rows sum to 1.
        whole: (N,) float32 in [0, 1], how like a part of the noun's map each is; None where the
            candidates are no instances of it.
        others: what anchors of another noun may be.
        of_others: their classes.
    """

    masks: Proposals
    classes: Floats
    whole: Floats | None
    others: Proposals
    of_others: Floats

    @property
    def confidence(self) -> Floats:
        """(N,) float32 in [0, 1], that each is a whole instance of the noun: class · whole^1.5.

        A speck of a wrong class would be "the smallest", and often "the leftmost".
        """
        if self.whole is None:
            return self.classes[:, 0]
        confidence: Floats = self.classes[:, 0] * self.whole**WHOLE_EXPONENT
        return confidence


def find(
    encoded: EncodedImage,
    clip: ClipModel,
    query: Query,
    encoding: OvssParameters,
    parameters: CandidateParameters,
) -> Candidates:
    """Candidates for an expression.

    Proposals are none where there are instances: 200 sentences on generated scenes had 0.474 mIoU
    with both, 0.523 with the instances alone (docs/LOG.md).

    Args:
        encoded: the image.
        clip: the model.
        query: what to look for.
        encoding: how proposals are encoded.
        parameters: see there.
    """
    weighting = pipeline.weigh(encoded, clip, query.phrases, encoding)
    of_noun = _instances(encoded, clip, query, weighting, encoding, parameters.instances)
    if of_noun is not None and not query.anchors:
        return of_noun
    cosines = pipeline.match_regions(encoded, clip, query.phrases, weighting, encoding)  # (N, P)
    temperature = pipeline.temperature_of(clip, encoding)
    classes = matching.best_phrase(cosines, query.phrases.owners, temperature)
    proposed = encoded.proposed
    if of_noun is not None:
        return Candidates(of_noun.masks, of_noun.classes, of_noun.whole, proposed, classes)
    if encoded.dense.pixels is None:
        proposed, classes = _with_parts(
            encoded, clip, query, weighting, encoding, cosines, classes, parameters.parts
        )
    return Candidates(proposed, classes, None, proposed, classes)


def _instances(
    encoded: EncodedImage,
    clip: ClipModel,
    query: Query,
    weighting: Weighting,
    encoding: OvssParameters,
    parameters: InstanceParameters,
) -> Candidates | None:
    """The instances of the noun; None where there are none, or the model has no map of pixels."""
    proposed = encoded.proposed
    if encoded.dense.pixels is None:
        return None
    least = encoded.limits(query.phrases)[0].least
    parameters = replace(parameters, smallest=max(parameters.smallest, round(least)))
    shown = instances.of_noun(
        clip,
        encoded.image,
        encoded.dense,
        query.phrases,
        weighting,
        pipeline.temperature_of(clip, encoding),
        (proposed.masks.shape[1], proposed.masks.shape[2]),
        parameters,
    )
    if not shown.masks:
        return None
    own = proposals.of_masks(shown.masks, proposed.height, proposed.width)
    return Candidates(own, shown.classes, shown.ious, own, shown.classes)


def _with_parts(
    encoded: EncodedImage,
    clip: ClipModel,
    query: Query,
    weighting: Weighting,
    encoding: OvssParameters,
    cosines: Floats,
    classes: Floats,
    most: int,
) -> tuple[Proposals, Floats]:
    """The proposals and the connected parts of the noun's map, with their classes.

    An object that no node of the hierarchy holds whole is often whole in the map.
    """
    proposed, texts, owners = encoded.proposed, query.phrases.texts, query.phrases.owners
    best, _ = matching.semantic_map(
        proposed.masks,
        cosines,
        features.patch_features(clip, encoded.dense) @ texts.T,
        owners,
        pipeline.map_parameters(proposed, clip, encoding),
    )
    parts = list(islice(masks.components(best == 0, encoding.min_object), most))
    if not parts:
        return proposed, classes
    union = proposals.joined(proposed, parts)
    added = union.masks[len(proposed) :]
    pooled = features.pyramid_features(clip, encoded.dense, added)  # (K, n, D)
    own = matching.best_phrase(
        scales.cosines(pooled, texts, weighting),
        owners,
        pipeline.temperature_of(clip, encoding),
    )
    return union, np.concatenate([classes, own])
