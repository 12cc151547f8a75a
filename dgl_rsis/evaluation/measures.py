"""What `dgl-rsis evaluate` runs where the truth is partial, boxes, tags, or a list.

Where the truth is of pixels, the rungs that encode no crops are measured: with crops the many
images of these sets would take hours, and their worth is known from complete truth. Elsewhere the
whole system alone is.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation import concepts, detection, ladders, measure_tables, plots
from dgl_rsis.evaluation.datasets.catalogue import (
    BoxData,
    JudgedData,
    LargeData,
    PresenceData,
    QuestionData,
)
from dgl_rsis.evaluation.datasets.judged import Concept
from dgl_rsis.evaluation.datasets.lists import Question
from dgl_rsis.evaluation.detection import Answer, FindObjects, Found
from dgl_rsis.evaluation.harness import Progress, silent
from dgl_rsis.evaluation.ladders import Options, Report
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.names import names_background
from dgl_rsis.types import RGB, Json, Label


def evaluate_judged(data: JudgedData, options: Options, progress: Progress = silent) -> Report:
    """Open-vocabulary segmentation on partial truth.

    Raises:
        DatasetError, ModelError: what is missing or damaged, or no label that is judged.
    """
    names, asked = _asked(data.concepts, data.labels, options)
    clip = load_clip(options.model, options.device)
    pixels = clip.pixels is not None
    every = ladders.class_rungs(pixels=pixels)
    rungs = {name: each for name, each in every.items() if each.pixel_share == 1 or not pixels}
    scores = concepts.evaluate_concepts(
        islice(data.images, options.limit),
        asked,
        names,
        {rung: ladders.segmenter(_labels(names), clip, each) for rung, each in rungs.items()},
        worst=options.worst,
        progress=progress,
    )
    return _report(
        "ovss",
        data.title,
        clip,
        f"{scores.images} images",
        measure_tables.concept_text(scores),
        {"labels": list(names)} | measure_tables.concept_json(scores),
        options,
        lambda folder: plots.plot_concepts(scores, folder),
    )


def evaluate_objects(data: BoxData, options: Options, progress: Progress = silent) -> Report:
    """Boxes around the objects of classes.

    Raises:
        DatasetError, ModelError: what is missing or damaged, or no label that is boxed.
    """
    names, asked = _asked(data.concepts, data.labels, options)
    clip = load_clip(options.model, options.device)
    scores = detection.evaluate_boxes(
        islice(data.images, options.limit), asked, _finder(names, asked, clip), progress
    )
    return _report(
        "objects",
        data.title,
        clip,
        f"{scores.images} images, boxes at IoU {detection.BOX_IOU}",
        measure_tables.box_text(scores),
        {"labels": list(names)} | measure_tables.box_json(scores),
        options,
    )


def evaluate_presence(data: PresenceData, options: Options, progress: Progress = silent) -> Report:
    """Whether classes are in an image at all.

    Raises:
        DatasetError, ModelError: what is missing or damaged, or no label that is tagged.
    """
    names, asked = _asked(data.concepts, data.labels, options)
    clip = load_clip(options.model, options.device)
    segment = ladders.segmenter(_labels(names), clip, OvssParameters())

    def areas(image: RGB) -> dict[str, int]:
        counts = np.bincount(segment(image).class_map.ravel(), minlength=1 + len(names))
        return dict(zip(names, counts[1:].tolist(), strict=True))

    scores = detection.evaluate_presence(islice(data.images, options.limit), asked, areas, progress)
    return _report(
        "presence",
        data.title,
        clip,
        f"{scores.images} images, present from {detection.ENOUGH} pixels",
        measure_tables.presence_text(scores),
        {"labels": list(names)} | measure_tables.presence_json(scores),
        options,
    )


def evaluate_absent(data: QuestionData, options: Options, progress: Progress = silent) -> Report:
    """Sentences for things that are not there: how many get a mask all the same.

    Raises:
        DatasetError, ModelError: what is missing or damaged.
    """
    clip = load_clip(options.model, options.device)
    parameters = ResParameters(top_k=options.top_k)
    encoded: dict[str, pipeline.EncodedImage] = {}  # of the last image alone

    def answer(question: Question) -> Answer:
        if question.name not in encoded:
            encoded.clear()
            encoded[question.name] = pipeline.encode_image(
                question.image, clip, parameters.encoding
            )
        found = referring.refer(encoded[question.name], question.sentence, clip, parameters)
        score = found.candidates[0].score if found.candidates else None
        return Answer(question.name, question.sentence, score, found.reason)

    answers = detection.evaluate_absent(islice(data.questions, options.limit), answer, progress)
    return _report(
        "absent",
        data.title,
        clip,
        f"{len(answers)} questions",
        measure_tables.absent_text(answers),
        measure_tables.absent_json(answers),
        options,
    )


def evaluate_claims(data: LargeData, options: Options, progress: Progress = silent) -> Report:
    """Vehicles, ships and airplanes that are claimed in large images, to be counted by eye.

    Raises:
        DatasetError, ModelError: what is missing or damaged, or no label that is counted.
    """
    names, asked = _asked(data.concepts, data.labels, options)
    clip = load_clip(options.model, options.device)
    claims = detection.evaluate_claims(
        islice(data.images, options.limit), asked, _finder(names, asked, clip), progress
    )
    return _report(
        "claims",
        data.title,
        clip,
        f"{len(claims)} images",
        measure_tables.claim_text(claims),
        {"labels": list(names)} | measure_tables.claim_json(claims),
        options,
        lambda folder: plots.plot_claims(claims, folder),
    )


def _asked(
    judged: Iterable[Concept], usual: Sequence[str], options: Options
) -> tuple[tuple[str, ...], tuple[Concept, ...]]:
    """The labels, and the concepts that they count as."""
    names = tuple(usual) if options.labels is None else options.labels
    return names, concepts.asked(judged, names)


def _labels(names: Sequence[str]) -> list[Label]:
    return [Label(name, background=names_background(name)) for name in names]


def _finder(names: Sequence[str], asked: Sequence[Concept], clip: ClipModel) -> FindObjects:
    """Image → its objects of the concepts."""
    labels = _labels(names)

    @cache
    def counts(label: str) -> bool:
        return any(each.counts(label) for each in asked)

    def find(image: RGB) -> list[Found]:
        objects = pipeline.segment_classes(image, labels, clip).objects
        return [detection.found(each) for each in objects if counts(each.label)]

    return find


def _report(
    task: str,
    title: str,
    clip: ClipModel,
    measured: str,
    text: str,
    numbers: Json,
    options: Options,
    plot: Callable[[Path], Sequence[Path]] = lambda folder: [],
) -> Report:
    version = pipeline.model_version(clip, OvssParameters())
    return ladders.report(
        f"{title}: {measured}, {version}",
        text,
        {"task": task, "title": title, "model": version} | numbers,
        options,
        plot,
    )
