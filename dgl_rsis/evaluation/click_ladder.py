"""Measuring refinement: how good masks get with how many simulated clicks.

Every object is clicked from nothing; again from the best proposal for it, which is what somebody
who corrects pre-labels would pick; and, where the objects are of one class, from its part of what
the model segments as that class. Nobody corrects a part that hardly touches the object: those are
deleted, and the object is clicked from nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import pipeline
from dgl_rsis.clip.model import load_clip
from dgl_rsis.evaluation import clicks, plots, tables
from dgl_rsis.evaluation.clicks import ALWAYS, ClickRun, ClickScores
from dgl_rsis.evaluation.datasets.catalogue import ObjectData
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances
from dgl_rsis.evaluation.harness import Case, Progress, Worst, silent
from dgl_rsis.evaluation.ladders import Options, Report
from dgl_rsis.evaluation.scores import overlap, proposal_overlaps
from dgl_rsis.regions import proposals, refinement
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import RegionTree, build_tree
from dgl_rsis.types import RGB, Json, Label, Mask, Prompt, Proposals

FindParts = Callable[[RGB], list[Mask]]  # image → the parts of the class in it
WORTH = 0.25  # IoU; a part of a segmentation that has less is deleted rather than corrected


@dataclass(frozen=True)
class _Clicked:
    """One object.

    Attributes:
        from_nothing, from_prior: the clicks.
        from_segmentation: the clicks; None where its part was not worth them.
        mask: from nothing, after `ALWAYS` clicks or fewer if none was needed.
        seconds: of each single click.
    """

    from_nothing: ClickRun
    from_prior: ClickRun
    from_segmentation: ClickRun | None
    mask: Mask
    seconds: list[float]


def evaluate_clicks(data: ObjectData, options: Options, progress: Progress = silent) -> Report:
    """Clicks by the standard protocol, on the region tree.

    Raises:
        DatasetError: what is missing or damaged.
        ModelError: the model cannot be loaded.
    """
    scores = measure(
        islice(data.images, options.limit),
        segment=segmenting(data.label, options) if data.label else None,
        min_area=options.min_area,
        worst=options.worst,
        progress=progress,
    )
    numbers: Json = {"task": "clicks", "title": data.title, "dataset": options.dataset}
    numbers |= {"limit": options.limit} | tables.click_json(scores)
    text = f"{data.title}\n\n{tables.click_text(scores)}"
    return Report(text, numbers, lambda folder: plots.plot_clicks(scores, folder))


def segmenting(label: str, options: Options) -> FindParts:
    """What pre-labels the objects of a class: the parts of it that the model finds.

    Raises:
        ModelError: the model cannot be loaded.
    """
    clip = load_clip(options.model, options.device)

    def segment(image: RGB) -> list[Mask]:
        return [s.mask for s in pipeline.segment_classes(image, [Label(label)], clip).objects]

    return segment


def measure(
    images: Iterable[Instances],
    parameters: RefinementParameters | None = None,
    regions: RegionParameters | None = None,
    *,
    segment: FindParts | None = None,
    min_area: int = 100,
    worst: int = 5,
    progress: Progress = silent,
) -> ClickScores:
    """Click on all objects.

    Args:
        images: images with their objects.
        parameters: of the refinement; None for the default ones.
        regions: of the tree and of the proposals that pre-label; None for the default ones.
        segment: see `segmenting`; None to leave that start out.
        min_area: pixels; smaller objects are left out.
        worst: objects kept.
        progress: called after each image.

    Raises:
        DatasetError: no object is large enough.
    """
    refining, cutting = parameters or RefinementParameters(), regions or RegionParameters()
    clicked: list[_Clicked] = []
    building: list[float] = []
    kept = Worst(worst)
    for entry in images:
        start = time.perf_counter()
        tree = build_tree(entry.image, cutting)
        building.append(time.perf_counter() - start)
        priors = proposals.cut(tree, cutting)
        truths = list(_objects(entry.numbers, min_area))
        parts = segment(entry.image) if segment is not None and truths else []
        for number, truth in enumerate(truths, start=1):
            one = _clicked(entry, truth, tree, (best_proposal(priors, truth), parts), refining)
            score = one.from_nothing.after(ALWAYS)
            if kept.wants(score):
                kept.add(_case(entry, number, truth, one.mask, score))
            clicked.append(one)
        progress(entry.name)
    if not clicked:
        raise DatasetError(f"the data set has no object of {min_area} pixels or more")
    segmented = [c.from_segmentation or c.from_nothing for c in clicked] if segment else []
    return ClickScores(
        tuple(c.from_nothing for c in clicked),
        tuple(c.from_prior for c in clicked),
        len(building),
        min_area,
        float(np.mean(building)),
        tuple(second for c in clicked for second in c.seconds),
        tuple(segmented),
        sum(c.from_segmentation is not None for c in clicked),
        kept.cases,
    )


def _objects(numbers: NDArray[np.int32], min_area: int) -> Iterator[Mask]:
    for number, area in enumerate(np.bincount(numbers.reshape(-1))[1:], start=1):
        if area >= min_area:
            yield numbers == number


def _clicked(
    entry: Instances,
    truth: Mask,
    tree: RegionTree,
    priors: tuple[Mask, list[Mask]],
    parameters: RefinementParameters,
) -> _Clicked:
    seconds: list[float] = []
    answers: list[Mask] = []

    def answer(prompt: Prompt) -> Mask:
        start = time.perf_counter()
        mask = refinement.refine(entry.image, tree, prompt, parameters).mask
        seconds.append(time.perf_counter() - start)
        answers.append(mask)
        return mask

    from_nothing = clicks.simulate(truth, answer)
    mask = answers[:ALWAYS][-1]
    proposal, parts = priors
    part = best_part(parts, truth)
    return _Clicked(
        from_nothing,
        clicks.simulate(truth, answer, prior=proposal),
        None if part is None else clicks.simulate(truth, answer, prior=part),
        mask,
        seconds,
    )


def best_proposal(proposed: Proposals, truth: Mask) -> Mask:
    """(H, W) the proposal with the highest IoU."""
    overlaps = proposal_overlaps(proposed, truth)
    best = int(np.argmax([o.iou for o in overlaps]))
    mask: Mask = proposed.at_full_size(proposed.masks[best])
    return mask


def best_part(parts: list[Mask], truth: Mask) -> Mask | None:
    """The part with the highest IoU, (H, W); None where it is not worth a correction."""
    ious = [overlap(part, truth).iou for part in parts]
    return parts[int(np.argmax(ious))] if max(ious, default=0.0) >= WORTH else None


def _case(entry: Instances, number: int, truth: Mask, mask: Mask, score: float) -> Case:
    name = f"{entry.name}, object {number}"
    maps = truth.astype(np.uint16), mask.astype(np.uint16)
    return Case(name, score, entry.image, ("object",), *maps)
