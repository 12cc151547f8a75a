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
from backend.project.controls import PREDICTED, REASON, SHAPES, USABLE, Mode
from backend.project.pictures import INDEX_FLAG, Pictures
from backend.project.tasks import TaskError, expression_of, metres_of, task_id_of
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
        kind: type of its regions, such as "brushlabels"; "brush" where a <Labels> has the labels.
        name: the tag's name, `from_name` of its regions.
        to_name: name of its image, `to_name` of its regions.
        labels: names of its labels, background labels left out.
        mode: one region a class ("semantic") or an object ("instance").
        labelled_by: name of the <Labels> that has its labels; empty for itself.
        stored: name of a label → what Label Studio stores for it, where that differs: an alias, or
            blanks around the name.
    """

    kind: str
    name: str
    to_name: str
    labels: frozenset[str]
    mode: Mode
    labelled_by: str = ""
    stored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelConfig:
    """What the backend needs of a label config.

    Attributes:
        controls: those that take predictions; empty when the config cannot be served.
        labels: the vocabulary: union of their labels, in the order of the config. Synonyms are from
            `predicted_values`.
        pictures: where a task holds its image, or several.
        expression_key: key of a referring expression in the task's data: what a <Text> called
            "expression" shows, else "expression".
        problems: sentences for the log: what is ignored and why.
        colours: name → CSS colour of the labels whose `background` attribute gives one.
        reason_on: what the <TextArea> for reasons belongs to, its `toName`; empty for none. It is
            called "reason", and nobody can type into it: `maxSubmissions="0"`.
        skipped: names of the controls with model_skip, which are for people and prompts alone.
        names: what Label Studio stores for a label → its name, where that differs (its alias).
        beside: where a task holds what further images show, which get no predictions.
    """

    controls: tuple[Control, ...]
    labels: tuple[Label, ...]
    pictures: Pictures
    problems: tuple[str, ...]
    expression_key: str = EXPRESSION
    colours: Mapping[str, str] = field(default_factory=dict)
    reason_on: str = ""
    skipped: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Pictures, ...] = ()

    @property
    def image_key(self) -> str:
        """Key of the image in the task's data, such as "image" or "images.rgb"."""
        return self.pictures.key

    def to_request(self, task: Mapping[str, Any], model_version: str) -> SegmentRequest:
        """The segmentation that this task asks for.

        Raises:
            TaskError: the config has no usable control, or the task has no usable image, sentence
                or resolution.
        """
        if not self.controls:
            raise TaskError(" ".join(self.problems))
        modes = {control.mode for control in self.controls}
        image, *more = self.pictures.of(task)
        return SegmentRequest(
            image=image,
            labels=self.labels,
            model_version=model_version,
            classes="semantic" in modes,
            objects="instance" in modes,
            expression=expression_of(task, self.expression_key),
            task_id=task_id_of(task),
            metres=metres_of(task),
            more=tuple(more),
        )


@dataclass(frozen=True)
class _LabelTag:
    """One <Label> of a control.

    Attributes:
        label: as it is asked for.
        colour: of its `background` attribute, CSS; None for none.
        stored: what Label Studio stores for it.
    """

    label: Label
    colour: str | None
    stored: str


def parse(xml: str) -> LabelConfig:
    """Read a label config; never raises: whatever is wrong stands in `problems`."""
    try:
        root = markup.parse(xml)
    except ValueError as error:
        return LabelConfig((), (), Pictures(), (f"The label config {error}.",))
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
        self.shared = markup.shared_labels(root)

    def result(self) -> LabelConfig:
        pairs = [pair for each in self._candidates() if (pair := self._control(each)) is not None]
        pairs = self._on_one_image(self._one_shape_each(pairs))
        pictures = self._pictures(pairs[0][0].to_name) if pairs else None
        if pictures is None:
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
            pictures,
            problems,
            expression_key,
            colours,
            self._reason_on(),
            self._skipped(),
            self._names(),
            self._beside(pictures),
        )

    def _beside(self, first: Pictures) -> tuple[Pictures, ...]:
        """The images that people may mark beside the first."""
        every = (self._pictures(name) for name in self.images if name != first.image)
        return tuple(each for each in every if each is not None)

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

    def _names(self) -> dict[str, str]:
        """Of all labels, also of those that nothing is predicted for."""
        every = markup.labels(self.root)
        stored = {markup.stored_as(label).strip(): name for name, label in every}
        return {text: name for text, name in stored.items() if text != name}

    def _useless(self, cause: str) -> LabelConfig:
        reason_on, skipped = self._reason_on(), self._skipped()
        problems = (*self.problems, cause)
        # What people marked can be read all the same.
        shown = next((p for name in self.images if (p := self._pictures(name))), Pictures())
        names = self._names()
        return LabelConfig(
            (), (), shown, problems, reason_on=reason_on, skipped=skipped, names=names,
            beside=self._beside(shown),
        )  # fmt: skip

    def _note(self, problem: str) -> None:
        """Remember a problem, unless there are too many already to read them."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def _candidates(self) -> Iterator[Element]:
        """Controls of a usable kind; notes the others that would hold regions."""
        labelled = {self._holder(e) for e in self.root.iter() if markup.tag(e) in SHAPES}
        for element in self.root.iter():
            tag = markup.tag(element)
            if tag in PREDICTED or (tag in SHAPES and self._holder(element) is not None):
                yield element
            elif tag == "labels" and element in labelled:
                continue
            elif element.get("toName") and markup.tag(element) not in LEFT_ALONE:
                way_out = " Give it a <Labels> on its image." if tag in SHAPES else ""
                self._note(
                    f"{_title(element)} is left alone: predictions are made for {USABLE}.{way_out}"
                )

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
        holder = self._holder(element)
        assert holder is not None  # `_candidates` sees to it
        tags = list(self._tags(holder))
        names = frozenset(tag.label.name for tag in tags if not tag.label.background)
        if not names:
            self._note(
                f'{title} has no labels to predict; add <Label value="…"/> inside it. Backgrounds '
                "and labels with model_skip do not count."
            )
            return None
        stored = {tag.label.name: tag.stored for tag in tags if tag.stored != tag.label.name}
        by = "" if holder is element else holder.get("name", "")
        kind, mode = markup.tag(element), self._mode(element)
        return Control(kind, name, to_name, names, mode, by, stored), tags

    def _holder(self, control: Element) -> Element | None:
        return markup.labelling(control, self.shared)

    def _one_shape_each(
        self, pairs: list[tuple[Control, list[_LabelTag]]]
    ) -> list[tuple[Control, list[_LabelTag]]]:
        """Of shapes that share a <Labels>, the most exact; says which are for people alone."""
        order = list(SHAPES)
        best_of: dict[str, Control] = {}
        for control, _ in pairs:
            if control.labelled_by:
                rival = best_of.setdefault(control.labelled_by, control)
                if order.index(control.kind) < order.index(rival.kind):
                    best_of[control.labelled_by] = control
        kept = []
        for pair in pairs:
            control = pair[0]
            best = best_of.get(control.labelled_by, control)
            if best is control:
                kept.append(pair)
            else:
                self._note(
                    f"'{control.name}' and '{best.name}' share the labels of "
                    f"'{control.labelled_by}': '{best.name}' gets the masks, '{control.name}' is "
                    f"for people. To have it otherwise, add model_skip=\"true\" to '{best.name}'."
                )
        return kept

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
        images = [name for name in markup.names(element) if name in self.images]
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
            yield _LabelTag(label, element.get("background"), markup.stored_as(element))

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
        default = {**PREDICTED, **SHAPES}[markup.tag(element)]
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

    def _pictures(self, name: str) -> Pictures | None:
        """Where the task's data holds what an <Image> shows; None, with a problem."""
        image = self.images[name]
        key = _key(image.get("value") or "")
        others = frozenset(self.images) - {name}
        if (repeater := self._repeater(image)) is not None:
            listed, flag = _key(repeater.get("on") or ""), repeater.get("indexFlag") or INDEX_FLAG
            if key and listed and flag in key and flag in name:
                return Pictures(key, listed, flag, repeated=True, image=name)
            self._note(
                f"<Image name='{name}'> stands in a <Repeater>, which needs on=\"$images\", and "
                f'"{flag}" in name and value of the image, as in name="image_{flag}" '
                f'value="$images[{flag}]".'
            )
            return None
        if key:
            return Pictures(key, image=name, others=others)
        if listed := _key(image.get("valueList") or ""):
            return Pictures(f"{listed}[{INDEX_FLAG}]", listed, image=name, others=others)
        value = image.get("value") or image.get("valueList") or ""
        self._note(
            f"<Image name='{name}'> shows '{value}'; only value=\"$key\", one image from the "
            'task\'s data, or valueList="$key", a list of them, is supported.'
        )
        return None

    def _repeater(self, image: Element) -> Element | None:
        """What repeats an image for each entry of a list."""
        repeaters = (each for each in self.root.iter() if markup.tag(each) == "repeater")
        return next((each for each in repeaters if image in each.iter()), None)


def _key(value: str) -> str:
    """The key behind "$key"; empty when it is none."""
    return value[1:] if re.fullmatch(r"\$\S+", value) else ""


def _merged(first: _LabelTag, second: _LabelTag) -> _LabelTag:
    """One label that stands in several controls: all synonyms, the smallest given threshold."""
    one, other = first.label, second.label
    given = [t for t in (one.threshold, other.threshold) if t is not None]
    label = replace(
        one,
        synonyms=_unique((*one.synonyms, *other.synonyms)),
        threshold=min(given, default=None),
    )
    return _LabelTag(label, first.colour or second.colour, first.stored)


def _synonyms(text: str) -> tuple[str, ...]:
    return _unique(word.strip() for word in text.split(",") if word.strip())


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _title(element: Element) -> str:
    """The element as a message names it."""
    name = element.get("name") or element.get("value")
    return f"<{element.tag} name='{name}'>" if name else f"<{element.tag}>"
