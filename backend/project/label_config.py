"""The project's label config (XML) → the vocabulary and where its masks go.

Conventions are upstream's (label-studio-ml's YOLO example): `predicted_values` on a label,
`model_score_threshold` and `model_skip` on a label or its control. `model_mode` is ours:
"semantic" (one region a class) or "instance" (one region an object).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree.ElementTree import Element

from backend.project import markup
from backend.project.controls import PREDICTED, REASON, USABLE, Mode
from backend.project.tasks import TaskError, expression_of, image_of, metres_of, task_id_of
from dgl_rsis.names import names_background
from dgl_rsis.types import Label
from workers.messages import SegmentRequest

EXPRESSION = "expression"
MOST_LABELS = 1000  # each task carries them through the queue
MOST_PROBLEMS = 20
# Controls that other features read or that no mask could fill: silence, not a note.
LEFT_ALONE = frozenset(
    {
        *("choices", "taxonomy", "rating", "number", "datetime", "pairwise", "ranker"),
        *("textarea", "keypointlabels", "keypoint"),
    }
)


@dataclass(frozen=True)
class Control:
    """One control tag that takes predictions.

    Attributes:
        kind: region type: brushlabels, bitmasklabels, polygonlabels or rectanglelabels.
        name: the tag's name, `from_name` of its regions.
        to_name: name of its image, `to_name` of its regions.
        labels: names of its labels, background labels left out.
        mode: one region a class ("semantic") or an object ("instance").
    """

    kind: str
    name: str
    to_name: str
    labels: frozenset[str]
    mode: Mode


@dataclass(frozen=True)
class LabelConfig:
    """What the backend needs of a label config.

    Attributes:
        controls: those that take predictions; empty when the config cannot be served.
        labels: the vocabulary: union of their labels, in the order of the config. Synonyms are from
            `predicted_values`.
        image_key: key of the image in the task's data, such as "image" or "images.rgb".
        expression_key: key of a referring expression in the task's data: what a <Text> called
            "expression" shows, else "expression".
        problems: sentences for the log: what is ignored and why.
        colours: name → CSS colour of the labels whose `background` attribute gives one.
        reason_on: what the <TextArea> for reasons belongs to, its `toName`; empty for none. It is
            called "reason", and nobody can type into it: `maxSubmissions="0"`.
        skipped: names of the controls with model_skip, which are for people and prompts alone.
    """

    controls: tuple[Control, ...]
    labels: tuple[Label, ...]
    image_key: str
    problems: tuple[str, ...]
    expression_key: str = EXPRESSION
    colours: Mapping[str, str] = field(default_factory=dict)
    reason_on: str = ""
    skipped: frozenset[str] = frozenset()

    def to_request(self, task: Mapping[str, Any], model_version: str) -> SegmentRequest:
        """The segmentation that this task asks for.

        Raises:
            TaskError: the config has no usable control, or the task has no usable image, sentence
                or resolution.
        """
        if not self.controls:
            raise TaskError(" ".join(self.problems))
        modes = {control.mode for control in self.controls}
        return SegmentRequest(
            image=image_of(task, self.image_key),
            labels=self.labels,
            model_version=model_version,
            classes="semantic" in modes,
            objects="instance" in modes,
            expression=expression_of(task, self.expression_key),
            task_id=task_id_of(task),
            metres=metres_of(task),
        )


@dataclass(frozen=True)
class _LabelTag:
    """One <Label> of a control, and the CSS colour of its `background` attribute, if it has one."""

    label: Label
    colour: str | None


def parse(xml: str) -> LabelConfig:
    """Read a label config; never raises: whatever is wrong stands in `problems`."""
    try:
        root = markup.parse(xml)
    except ValueError as error:
        return LabelConfig((), (), "", (f"The label config {error}.",))
    return _Reading(root).result()


class _Reading:
    """One pass over a config; collects problems on the way."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self.problems: list[str] = []
        self.images = {
            element.get("name", ""): element
            for element in root.iter()
            if markup.tag(element) == "image" and element.get("name")
        }

    def result(self) -> LabelConfig:
        pairs = [pair for each in self._candidates() if (pair := self._control(each)) is not None]
        pairs = self._on_one_image(pairs)
        key = self._image_key(pairs[0][0].to_name) if pairs else None
        if key is None:
            return self._useless(
                f"The label config has no usable control: add {USABLE} with at least one label "
                'on an <Image value="$…">.'
            )
        tags = self._vocabulary([tag for _, tags in pairs for tag in tags])
        labels = tuple(tag.label for tag in tags)
        if len(labels) > MOST_LABELS:
            return self._useless(
                f"The label config has {len(labels)} labels; at most {MOST_LABELS} are predicted: "
                'add model_skip="true" to some.'
            )
        controls = tuple(control for control, _ in pairs)
        colours = {tag.label.name: tag.colour for tag in tags if tag.colour}
        problems, expression_key = tuple(self.problems), self._expression_key()
        return LabelConfig(
            controls,
            labels,
            key,
            problems,
            expression_key,
            colours,
            self._reason_on(),
            self._skipped(),
        )

    def _expression_key(self) -> str:
        for element in self.root.iter():
            if markup.tag(element) == "text" and element.get("name") == EXPRESSION:
                value = element.get("value") or ""
                if re.fullmatch(r"\$\S+", value):
                    return value[1:]
        return EXPRESSION

    def _reason_on(self) -> str:
        for element in self.root.iter():
            if markup.tag(element) == "textarea" and element.get("name") == REASON:
                # Where somebody can type, the field and what stands in it are that person's.
                closed = element.get("maxSubmissions", "").strip() == "0"
                if closed and not markup.is_true(element.get("perRegion")):
                    return element.get("toName", "")
        return ""

    def _skipped(self) -> frozenset[str]:
        """Controls, not labels, which have no toName."""
        return frozenset(
            element.get("name", "")
            for element in self.root.iter()
            if element.get("toName") and markup.is_true(element.get("model_skip"))
        )

    def _useless(self, cause: str) -> LabelConfig:
        reason_on, skipped = self._reason_on(), self._skipped()
        problems = (*self.problems, cause)
        return LabelConfig((), (), "", problems, reason_on=reason_on, skipped=skipped)

    def _note(self, problem: str) -> None:
        """Remember a problem, unless there are too many already to read them."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def _candidates(self) -> Iterator[Element]:
        """Controls of a usable kind; notes the others that would hold regions."""
        for element in self.root.iter():
            if markup.tag(element) in PREDICTED:
                yield element
            elif element.get("toName") and markup.tag(element) not in LEFT_ALONE:
                self._note(f"{_title(element)} is left alone: predictions are made for {USABLE}.")

    def _control(self, element: Element) -> tuple[Control, list[_LabelTag]] | None:
        """One control and its labels; None, with a problem, when it cannot be used."""
        name, title = element.get("name", ""), _title(element)
        if markup.is_true(element.get("model_skip")):
            return None
        to_name = self._to_name(element)
        if not name or to_name is None:
            if not name:
                self._note(f"{title} has no name; it is ignored.")
            return None
        tags = list(self._tags(element))
        names = frozenset(tag.label.name for tag in tags if not tag.label.background)
        if not names:
            self._note(
                f'{title} has no labels to predict; add <Label value="…"/> inside it. Backgrounds '
                "and labels with model_skip do not count."
            )
            return None
        return Control(markup.tag(element), name, to_name, names, self._mode(element)), tags

    def _vocabulary(self, tags: Sequence[_LabelTag]) -> list[_LabelTag]:
        """One tag a name; says which have several thresholds."""
        by_name: dict[str, _LabelTag] = {}
        given: dict[str, set[float]] = {}
        for tag in tags:
            name, threshold = tag.label.name, tag.label.threshold
            known = by_name.get(name)
            by_name[name] = _merged(known, tag) if known else tag
            if threshold is not None:
                given.setdefault(name, set()).add(threshold)
        differ = [name for name, thresholds in given.items() if len(thresholds) > 1]
        if differ:
            smallest = ", ".join(f"'{name}' {by_name[name].label.threshold}" for name in differ)
            self._note(
                "Labels with a different model_score_threshold in several controls take the "
                f"smallest in all of them: {smallest}."
            )
        return list(by_name.values())

    def _to_name(self, element: Element) -> str | None:
        """Name of the control's image; a `toName` of several objects counts its images."""
        wanted = [part.strip() for part in element.get("toName", "").split(",")]
        images = [name for name in wanted if name in self.images]
        if len(images) == 1:
            return images[0]
        names = ", ".join(f"'{name}'" for name in self.images) or "none"
        cause = "several images" if images else "no image of the config"
        self._note(
            f"{_title(element)} has toName='{element.get('toName', '')}', which names {cause} "
            f"(images: {names}); it is ignored."
        )
        return None

    def _tags(self, control: Element) -> Iterator[_LabelTag]:
        default = self._threshold(control)
        for element in control.iter():
            if markup.tag(element) != "label" or markup.is_true(element.get("model_skip")):
                continue
            name = (element.get("value") or "").strip()
            if not name:
                self._note(f"{_title(control)} has a label without value.")
                continue
            threshold = self._threshold(element)
            label = Label(
                name=name,
                synonyms=_synonyms(element.get("predicted_values", "")),
                threshold=default if threshold is None else threshold,
                background=names_background(name),
            )
            yield _LabelTag(label, element.get("background"))

    def _threshold(self, element: Element) -> float | None:
        text = element.get("model_score_threshold")
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if 0 <= value <= 1:
            return value
        self._note(
            f"{_title(element)} has model_score_threshold='{text}'; it must be a number from "
            "0 to 1, so the model's own is used."
        )
        return None

    def _mode(self, element: Element) -> Mode:
        default = PREDICTED[markup.tag(element)]
        text = element.get("model_mode", default).strip().lower()
        if text == "semantic":
            return "semantic"
        if text == "instance":
            return "instance"
        self._note(
            f"{_title(element)} has model_mode='{text}'; it must be 'semantic' or 'instance', "
            f"so '{default}' is used."
        )
        return default

    def _on_one_image(
        self, pairs: list[tuple[Control, list[_LabelTag]]]
    ) -> list[tuple[Control, list[_LabelTag]]]:
        """One image a task is segmented: the first control's; says which controls lose."""
        for control, _ in pairs:
            first = pairs[0][0]
            if control.to_name != first.to_name:
                self._note(
                    f"Control '{control.name}' is on image '{control.to_name}', but one image a "
                    f"task is pre-labelled and control '{first.name}' comes first, on "
                    f"'{first.to_name}'; '{control.name}' gets no predictions. Put the controls "
                    'on one image, or add model_skip="true" to the others.'
                )
        return [pair for pair in pairs if pair[0].to_name == pairs[0][0].to_name]

    def _image_key(self, name: str) -> str | None:
        """Key of the task's data that an <Image> shows."""
        value = self.images[name].get("value") or self.images[name].get("valueList") or ""
        if self.images[name].get("value") and re.fullmatch(r"\$\S+", value):
            return value[1:]
        self._note(
            f"<Image name='{name}'> shows '{value}'; only value=\"$key\", one image from the "
            "task's data, is supported."
        )
        return None


def _merged(first: _LabelTag, second: _LabelTag) -> _LabelTag:
    """One label that stands in several controls: all synonyms, the smallest given threshold."""
    one, other = first.label, second.label
    given = [t for t in (one.threshold, other.threshold) if t is not None]
    label = replace(
        one,
        synonyms=_unique((*one.synonyms, *other.synonyms)),
        threshold=min(given, default=None),
    )
    return _LabelTag(label, first.colour or second.colour)


def _synonyms(text: str) -> tuple[str, ...]:
    return _unique(word.strip() for word in text.split(",") if word.strip())


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _title(element: Element) -> str:
    """The element as a message names it."""
    name = element.get("name") or element.get("value")
    return f"<{element.tag} name='{name}'>" if name else f"<{element.tag}>"
