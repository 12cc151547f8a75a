"""What becomes of a label config: label by label, and by what a person can ask.

The config is read by `label_config.parse`, as when it is served; what that leaves out without a
word, such as labels with `model_skip`, is read here once more, so that every label has its line.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element

from backend.commands import attributes, words
from backend.project import label_config, markup
from backend.project.controls import KINDS, PREDICTED, SHAPES, SMART, USABLE, form_named
from backend.project.label_config import EXPRESSION, Control, LabelConfig
from dgl_rsis.classes import knowledge
from dgl_rsis.names import names_background
from dgl_rsis.weights.identity import STARTER, is_closed

HEADER = ("LABEL", "CONTROL", "FORM", "WHAT IT GETS", "SURER THAN", "SMART TOOLS", "KNOWN", "ASKED")
PER = {"semantic": "one region a class", "instance": "one region an object"}


@dataclass(frozen=True)
class Fate:
    """What one label of one control gets.

    Attributes:
        label, control: their names.
        form: "brush", "bitmask", "polygon" or "box".
        gets: "predicted", "background" (never painted), "skipped" (model_skip), "prompt" (of a
            control with model_skip: its smart tool asks for masks) or "ignored" (see problems: its
            control cannot be used, or its words say nothing to the model).
        mode: "semantic" or "instance"; empty where nothing is predicted.
        synonyms: from `predicted_values`.
        threshold: smallest probability; None for the model's own.
        smart: names of the controls whose smart tools ask for a mask of this label.
        known: whether the project's knowledge of remote sensing has a word of it, or of its head
            noun.
        asked: the words that the text encoder is asked for; empty where nothing is predicted.
    """

    label: str
    control: str
    form: str
    gets: str
    mode: str = ""
    synonyms: tuple[str, ...] = ()
    threshold: float | None = None
    smart: tuple[str, ...] = ()
    known: bool = False
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What this backend does with a label config.

    Attributes:
        usable: whether anything is predicted at all.
        image: key of the image in the task's data, or of the list of them; empty when not usable.
        several: a task has a list of images, and each gets masks.
        expression: key of a sentence in the task's data.
        shown: whether a `<Text name="expression">` shows that sentence.
        prompts: names of the TextAreas that take a sentence.
        rest: the words for what no label covers, which stays unlabelled; empty for none.
        labels: one entry a label and control.
        problems: what is wrong, and the way out.
        hints: what works, but could do more.
    """

    usable: bool
    image: str
    expression: str
    shown: bool
    prompts: tuple[str, ...]
    rest: tuple[str, ...]
    labels: tuple[Fate, ...]
    problems: tuple[str, ...]
    hints: tuple[str, ...]
    several: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types."""
        return asdict(self)


def check(xml: str, model: str = STARTER) -> Checked:
    """Say what becomes of a config; never raises: whatever is wrong stands in `problems`.

    Args:
        xml: the config.
        model: as the setting MODEL; which words are known depends on it.
    """
    config = label_config.parse(xml)
    try:
        root = markup.parse(xml)
    except ValueError:  # said among the problems
        return Checked(False, "", "", False, (), (), (), config.problems, ())
    informed, rest = _informed(list(_fates(root, config)), config, model)
    texts = [e for e in root.iter() if markup.tag(e) == "text" and e.get("name") == EXPRESSION]
    return Checked(
        usable=bool(config.controls),
        image=(config.pictures.listed or config.image_key) if config.controls else "",
        expression=config.expression_key,
        shown=bool(texts),
        prompts=_prompts(root),
        rest=rest,
        labels=tuple(informed),
        problems=(
            *config.problems,
            *_deaf(root, config),
            *words.left_out(config.labels, model),
            *attributes.misspelt(root),
        ),
        hints=(
            *words.as_written(config.labels, model),
            *(words.competing(config.labels) if config.labels else ()),
            *(_hints(root, config) if config.controls else ()),
        ),
        several=bool(config.pictures.listed),
    )


def table(checked: Checked) -> str:
    """For people: one line a label, then what else there is."""
    rows = [HEADER, *(_row(fate) for fate in checked.labels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if not checked.labels:
        lines = []
    if checked.usable:
        prompts = ", ".join(checked.prompts) or "none"
        lines += [
            "",
            f"image: task data '{checked.image}'" + (", each of a list" if checked.several else ""),
            f"prompt field: {prompts}",
            f"sentence of a task: task data '{checked.expression}'"
            + ("" if checked.shown else " (if there)"),
            f"unlabelled: {', '.join(checked.rest) or 'only what no label is sure of'}",
        ]
    lines += [f"problem: {problem}" for problem in checked.problems]
    lines += [f"hint: {hint}" for hint in checked.hints]
    if not checked.usable:
        lines.append("This config cannot be served.")
    return "\n".join(lines).lstrip("\n") + "\n"


def _row(fate: Fate) -> tuple[str, ...]:
    what = {
        "predicted": PER.get(fate.mode, ""),
        "background": "nothing: background",
        "skipped": "nothing: model_skip",
        "prompt": "prompts only",
        "ignored": "nothing: see problems",
    }
    predicted = fate.gets == "predicted"
    surer = "" if not predicted else "default" if fate.threshold is None else f"{fate.threshold:g}"
    known = "yes" if fate.known else "no"
    smart, asked = ", ".join(fate.smart), ", ".join(fate.asked)
    return (
        fate.label, fate.control, fate.form, what[fate.gets], surer, smart or "-", known, asked
    )  # fmt: skip


def _fates(root: Element, config: LabelConfig) -> Iterator[Fate]:
    """One a label of each control that could take predictions, in the order of the config."""
    shared = markup.shared_labels(root)
    for element in root.iter():
        tag, holder = markup.tag(element), markup.labelling(element, shared)
        if (tag not in PREDICTED and tag not in SHAPES) or holder is None:
            continue
        control = _served(element, config)
        for name, label in markup.labels(holder):
            name_of = element.get("name", "")
            plain = Fate(name, name_of, _form(element), _gets(element, label, control))
            yield _predicted(plain, control, config, root) if control else plain


def _form(control: Element) -> str:
    form = form_named(markup.tag(control))
    return "box" if form == "rectangle" else form


def _served(element: Element, config: LabelConfig) -> Control | None:
    wanted = (markup.tag(element), element.get("name", ""))
    return next((c for c in config.controls if (c.kind, c.name) == wanted), None)


def _gets(element: Element, label: Element, control: Control | None) -> str:
    if markup.is_true(element.get("model_skip")):
        return "prompt" if _points(element) else "skipped"
    if markup.is_true(label.get("model_skip")):
        return "skipped"
    if names_background(label.get("value") or ""):
        return "background"
    return "ignored" if control is None else "predicted"


def _predicted(plain: Fate, control: Control, config: LabelConfig, root: Element) -> Fate:
    label = next((each for each in config.labels if each.name == plain.label), None)
    if label is None or plain.gets == "skipped":
        return plain
    fate = replace(plain, synonyms=label.synonyms, threshold=label.threshold)
    if plain.gets != "predicted":
        return fate
    return replace(fate, mode=control.mode, smart=_smart(root, label.name, control.to_name))


def _smart(root: Element, name: str, image: str) -> tuple[str, ...]:
    """Controls whose smart tools ask for a mask of this label on this image."""
    return tuple(
        element.get("name", "")
        for element in root.iter()
        if _points(element)
        and image in markup.names(element)
        and name in _names(element, markup.shared_labels(root))
    )


def _names(control: Element, shared: Mapping[str, Element]) -> list[str]:
    """The labels of a control, wherever they stand."""
    holder = markup.labelling(control, shared)
    return [] if holder is None else [name for name, _ in markup.labels(holder)]


def _points(element: Element) -> bool:
    """Whether a control has a smart tool: Label Studio gives it one unless it says no."""
    smart, tag = element.get("smart"), markup.tag(element)
    return (tag in SMART or f"{tag}labels" in SMART) and (smart is None or markup.is_true(smart))


def _informed(
    fates: Sequence[Fate], config: LabelConfig, model: str
) -> tuple[list[Fate], tuple[str, ...]]:
    """What the algorithm's knowledge adds, and the words for what no label covers."""
    asked: Mapping[str, tuple[str, ...]] = {}
    rest: tuple[str, ...] = ()
    if config.labels:
        entries = knowledge.phrases(config.labels)
        asked = {x.label.name: x.phrases for x in entries[: len(config.labels)]}
        rest = next((x.phrases for x in entries if x.label.background), ())
    silent = {x.name for x in config.labels if knowledge.unasked(x, closed=is_closed(model))}
    return [_worded(fate, asked, silent) for fate in fates], rest


def _worded(fate: Fate, asked: Mapping[str, tuple[str, ...]], silent: Collection[str]) -> Fate:
    gets = "ignored" if fate.gets == "predicted" and fate.label in silent else fate.gets
    known = any(map(knowledge.is_known, (fate.label, *fate.synonyms)))
    return replace(
        fate,
        gets=gets,
        mode=fate.mode if gets == fate.gets else "",
        known=known or names_background(fate.label),
        asked=asked.get(fate.label, ()) if gets == "predicted" else (),
    )


def _deaf(root: Element, config: LabelConfig) -> Iterator[str]:
    """Prompts that get no mask, since no control can take it."""
    answerable = {name for control in config.controls for name in control.labels}
    shared = markup.shared_labels(root)
    for element in root.iter():
        if not config.controls or not _points(element):
            continue
        names = _names(element, shared)
        lost = [name for name in names if name not in answerable]
        skipped = markup.is_true(element.get("model_skip"))
        only_prompts = skipped or markup.tag(element) not in PREDICTED
        if lost and only_prompts:
            yield (
                f"A smart tool of '{element.get('name', '')}' gets no mask for "
                f"{', '.join(repr(name) for name in lost)}: give the label to a {USABLE} control, "
                "without model_skip, or take it out here."
            )


def _hints(root: Element, config: LabelConfig) -> Iterator[str]:
    tags = {markup.tag(element) for element in root.iter() if _points(element)}
    if tags.isdisjoint({"keypointlabels", "keypoint"}):
        yield (
            "No smart KeyPointLabels, so nobody can click for a mask: add one with "
            'smart="true" smartOnly="true" and the same labels.'
        )
    for element in root.iter():
        kind = KINDS.get(markup.tag(element))
        if kind and not kind.smart and markup.is_true(element.get("smart")):
            yield (
                f"The smart tool of '{element.get('name', '')}' draws, but Label Studio sends "
                f"nothing of a smart {kind.tag}: take smart out, draw, and then Ctrl + click on "
                "what is drawn with a smart KeyPointLabels."
            )
    if not _prompts(root):
        yield 'No prompt field: add <TextArea name="prompt" toName="…"/> to find things by words.'
    kinds = {control.kind for control in config.controls}
    if "rectanglelabels" in kinds and len(kinds) > 1:
        yield (
            "RectangleLabels get a box an object beside the masks; if they are only there to draw "
            'a box for the smart tool, add model_skip="true".'
        )


def _prompts(root: Element) -> tuple[str, ...]:
    """TextAreas that take a line, but for those that describe one region."""
    fields = (e for e in root.iter() if markup.tag(e) == "textarea")
    return tuple(
        field.get("name", "")
        for field in fields
        if not markup.is_true(field.get("perRegion")) and field.get("maxSubmissions") != "0"
    )
