"""Measuring refinement: how good masks get with how many simulated clicks.

Every object is clicked from nothing, and again from a pre-label: the best proposal for it, which is
what somebody who corrects pre-labels would pick.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dgl_rsis import clicks, evaluation_clicks_text, metrics, proposals, refinement, region_tree
from dgl_rsis.clicks import ClickRun
from dgl_rsis.dataset_catalogue import ObjectData
from dgl_rsis.datasets import DatasetError, Instances
from dgl_rsis.evaluation import Progress, silent
from dgl_rsis.evaluation_clicks_text import ClickScores
from dgl_rsis.evaluation_runs import Options, Report
from dgl_rsis.proposals import RegionParameters
from dgl_rsis.refinement import RefinementParameters
from dgl_rsis.region_tree import RegionTree
from dgl_rsis.types import Json, Mask, Prompt, Proposals


@dataclass(frozen=True)
class _Clicked:
    """One object.

    Attributes:
        from_nothing, from_prior: the clicks.
        seconds: of each single click.
    """

    from_nothing: ClickRun
    from_prior: ClickRun
    seconds: list[float]


def evaluate_clicks(data: ObjectData, options: Options, progress: Progress = silent) -> Report:
    """Clicks by the standard protocol, on the region tree.

    Raises:
        DatasetError: what is missing or damaged.
    """
    scores = measure(
        islice(data.images, options.limit), min_area=options.min_area, progress=progress
    )
    found: Json = {"task": "clicks", "title": data.title, "dataset": options.dataset}
    found |= {"limit": options.limit} | evaluation_clicks_text.click_json(scores)
    text = f"{data.title}\n\n{evaluation_clicks_text.click_text(scores)}"
    return Report(text, found, lambda folder: [])


def measure(
    images: Iterable[Instances],
    parameters: RefinementParameters | None = None,
    regions: RegionParameters | None = None,
    *,
    min_area: int = 100,
    progress: Progress = silent,
) -> ClickScores:
    """Click on all objects.

    Args:
        images: images with their objects.
        parameters: of the refinement; None for the default ones.
        regions: of the tree and of the proposals that pre-label; None for the default ones.
        min_area: pixels; smaller objects are left out.
        progress: called after each image.

    Raises:
        DatasetError: no object is large enough.
    """
    refining, cutting = parameters or RefinementParameters(), regions or RegionParameters()
    clicked: list[_Clicked] = []
    building: list[float] = []
    for entry in images:
        start = time.perf_counter()
        tree = region_tree.build(entry.image, cutting)
        building.append(time.perf_counter() - start)
        proposed = proposals.cut(tree, cutting)
        clicked += [
            _clicked(entry, truth, tree, proposed, refining)
            for truth in _objects(entry.numbers, min_area)
        ]
        progress(entry.name)
    if not clicked:
        raise DatasetError(f"the data set has no object of {min_area} pixels or more")
    return ClickScores(
        tuple(c.from_nothing for c in clicked),
        tuple(c.from_prior for c in clicked),
        len(building),
        min_area,
        float(np.mean(building)),
        tuple(second for c in clicked for second in c.seconds),
    )


def _objects(numbers: NDArray[np.int32], min_area: int) -> Iterator[Mask]:
    for number, area in enumerate(np.bincount(numbers.reshape(-1))[1:], start=1):
        if area >= min_area:
            yield numbers == number


def _clicked(
    entry: Instances,
    truth: Mask,
    tree: RegionTree,
    proposed: Proposals,
    parameters: RefinementParameters,
) -> _Clicked:
    seconds: list[float] = []

    def answer(prompt: Prompt) -> Mask:
        start = time.perf_counter()
        mask = refinement.refine(entry.image, tree, prompt, parameters).mask
        seconds.append(time.perf_counter() - start)
        return mask

    return _Clicked(
        clicks.simulate(truth, answer),
        clicks.simulate(truth, answer, prior=best_proposal(proposed, truth)),
        seconds,
    )


def best_proposal(proposed: Proposals, truth: Mask) -> Mask:
    """(H, W) the proposal with the highest IoU."""
    overlaps = metrics.proposal_overlaps(proposed, truth)
    best = int(np.argmax([o.iou for o in overlaps]))
    mask: Mask = proposed.at_full_size(proposed.masks[best])
    return mask
