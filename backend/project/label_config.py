"""The project's label config (XML) → the vocabulary and where its masks go.

Conventions are upstream's (label-studio-ml's YOLO example): `predicted_values` on a label,
`model_score_threshold` and `model_skip` on a label or its control. `model_mode` is ours:
"semantic" (one region a class) or "instance" (one region an object).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from backend.project import markup
from backend.project.controls import PREDICTED, REASON, SHAPES, USABLE, Mode
from backend.project.markup import listed, short, title
from backend.project.pictures import INDEX_FLAG, Pictures
from backend.project.tasks import TaskError, expression_of, metres_of, task_id_of
from backend.project.vocabulary import HeldLabels, LabelTag, merge, synonyms
from dgl_rsis.names import names_background
from dgl_rsis.types import Label
from workers.messages import SegmentRequest

EXPRESSION = "expression"
MOST_LABELS = 1000  # each task carries them through the queue
MOST_WORDS, MOST_CHARACTERS = 5000, 200_000  # all names and synonyms, for the same reason
LONGEST_NAME = 500  # characters of a label or a synonym
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
        self.held: dict[Element, HeldLabels] = {}
        self.repeaters = markup.inside(root, "repeater")

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
        words = [word for label in labels for word in (label.name, *label.synonyms)]
        characters = sum(map(len, words))
        if len(words) > MOST_WORDS or characters > MOST_CHARACTERS:
            return self._useless(
                f"The label config has {len(words)} labels and predicted_values of {characters} "
                f"characters; at most {MOST_WORDS} of {MOST_CHARACTERS} are predicted: shorten "
                "the lists in predicted_values."
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
                    f"{title(element)} is left alone: predictions are made for {USABLE}.{way_out}"
                )

    def _control(self, element: Element) -> tuple[Control, list[LabelTag]] | None:
        """One control and its labels; None, with a problem, when it cannot be used."""
        name, named = element.get("name", ""), title(element)
        if markup.is_true(element.get("model_skip")):
            return None
        to_name = self._to_name(element)
        if not name or to_name is None:
            if not name:
                self._note(f"{named} has no name; it is ignored.")
            return None
        holder = self._holder(element)
        assert holder is not None  # `_candidates` sees to it
        held = self._held(holder)
        if not held.names:
            self._note(
                f'{named} has no labels to predict; add <Label value="…"/> inside it. Backgrounds '
                "and labels with model_skip do not count."
            )
            return None
        by = "" if holder is element else holder.get("name", "")
        kind, mode = markup.tag(element), self._mode(element)
        return Control(kind, name, to_name, held.names, mode, by, held.stored), held.tags

    def _held(self, holder: Element) -> HeldLabels:
        """The labels of a holder, read once for all shapes that share it."""
        if holder not in self.held:
            tags = list(self._tags(holder))
            names = frozenset(tag.label.name for tag in tags if not tag.label.background)
            stored = {tag.label.name: tag.stored for tag in tags if tag.stored != tag.label.name}
            self.held[holder] = HeldLabels(tags, names, stored)
        return self.held[holder]

    def _holder(self, control: Element) -> Element | None:
        return markup.labelling(control, self.shared)

    def _one_shape_each(
        self, pairs: list[tuple[Control, list[LabelTag]]]
    ) -> list[tuple[Control, list[LabelTag]]]:
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
                    f"'{short(control.name)}' and '{short(best.name)}' share the labels of "
                    f"'{short(control.labelled_by)}': '{short(best.name)}' gets the masks, "
                    f"'{short(control.name)}' is for people. To have it otherwise, add "
                    f"model_skip=\"true\" to '{short(best.name)}'."
                )
        return kept

    def _vocabulary(self, tags: Sequence[LabelTag]) -> list[LabelTag]:
        """One tag a name; says which have several thresholds."""
        by_name: dict[str, list[LabelTag]] = {}
        for tag in tags:
            by_name.setdefault(tag.label.name, []).append(tag)
        merged = [merge(each) for each in by_name.values()]
        differ = [
            f"'{short(tag.label.name)}' {tag.label.threshold}"
            for tag in merged
            if len({each.label.threshold for each in by_name[tag.label.name]} - {None}) > 1
        ]
        if differ:
            self._note(
                "Labels with a different model_score_threshold in several controls take the "
                f"smallest in all of them: {listed(differ)}."
            )
        return merged

    def _to_name(self, element: Element) -> str | None:
        """Name of the control's image; a `toName` of several objects counts its images."""
        images = [name for name in markup.names(element) if name in self.images]
        if len(images) == 1:
            return images[0]
        names = listed([f"'{short(name)}'" for name in self.images])
        cause = "several images" if images else "no image of the config"
        self._note(
            f"{title(element)} has toName='{short(element.get('toName', ''))}', which names "
            f"{cause} (images: {names}); it is ignored."
        )
        return None

    def _tags(self, control: Element) -> Iterator[LabelTag]:
        default = self._threshold(control)
        for element in markup.label_tags(control):
            if markup.is_true(element.get("model_skip")):
                continue
            name = (element.get("value") or "").strip()
            words = synonyms(element.get("predicted_values", ""))
            if not name:
                self._note(f"{title(control)} has a label without value.")
                continue
            if len(longest := max((name, *words), key=len)) > LONGEST_NAME:
                self._note(
                    f"{title(control)} has a label whose value or predicted_values hold "
                    f"'{short(longest)}' of {len(longest)} characters; at most {LONGEST_NAME} are "
                    "predicted, so the label is left alone."
                )
                continue
            threshold = self._threshold(element)
            label = Label(
                name=name,
                synonyms=words,
                threshold=default if threshold is None else threshold,
                background=names_background(name),
            )
            yield LabelTag(label, element.get("background"), markup.stored_as(element))

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
            f"{title(element)} has model_score_threshold='{short(text)}'; it must be a number "
            "from 0 to 1, so the model's own is used."
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
            f"{title(element)} has model_mode='{short(text)}'; it must be 'semantic' or "
            f"'instance', so '{default}' is used."
        )
        return default

    def _on_one_image(
        self, pairs: list[tuple[Control, list[LabelTag]]]
    ) -> list[tuple[Control, list[LabelTag]]]:
        """One image a task is segmented: the first control's; says which controls lose."""
        for control, _ in pairs:
            first = pairs[0][0]
            if control.to_name != first.to_name:
                self._note(
                    f"Control '{short(control.name)}' is on image '{short(control.to_name)}', but "
                    f"one image a task is pre-labelled and control '{short(first.name)}' comes "
                    f"first, on '{short(first.to_name)}'; '{short(control.name)}' gets no "
                    'predictions. Put the controls on one image, or add model_skip="true" to the '
                    "others."
                )
        return [pair for pair in pairs if pair[0].to_name == pairs[0][0].to_name]

    def _pictures(self, name: str) -> Pictures | None:
        """Where the task's data holds what an <Image> shows; None, with a problem."""
        image = self.images[name]
        key = _key(image.get("value") or "")
        others = frozenset(self.images) - {name}
        if (repeater := self.repeaters.get(image)) is not None:
            listed, flag = _key(repeater.get("on") or ""), repeater.get("indexFlag") or INDEX_FLAG
            if key and listed and flag in key and flag in name:
                return Pictures(key, listed, flag, repeated=True, image=name)
            mark = short(flag)
            self._note(
                f"<Image name='{short(name)}'> stands in a <Repeater>, which needs "
                f'on="$images", and "{mark}" in name and value of the image, as in '
                f'name="image_{mark}" value="$images[{mark}]".'
            )
            return None
        if key:
            return Pictures(key, image=name, others=others)
        if listed := _key(image.get("valueList") or ""):
            return Pictures(f"{listed}[{INDEX_FLAG}]", listed, image=name, others=others)
        value = image.get("value") or image.get("valueList") or ""
        self._note(
            f"<Image name='{short(name)}'> shows '{short(value)}'; only value=\"$key\", one image "
            'from the task\'s data, or valueList="$key", a list of them, is supported.'
        )
        return None


def _key(value: str) -> str:
    """The key behind "$key"; empty when it is none."""
    return value[1:] if re.fullmatch(r"\$\S+", value) else ""
