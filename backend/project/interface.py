"""Writes a label config that is ready to use: masks, clicks, boxes, a prompt, and where they stand.

The tools stand in a column left of the image, so that all of them are in view however high the
screen is; the image takes the rest. What an annotator does with each is in docs/LABELS.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from backend.project import colours
from backend.project.controls import REASON
from dgl_rsis.names import names_background

PLACEHOLDER = "the large building on the left"
HEADINGS = {
    "prompt": "Find by words, then Enter",
    "mask": "Masks: brush, eraser",
    "click": "Click (K) with Ctrl; not this: + Alt",
    "box": "Box (R) with Ctrl",
}
# The n-th label has the n-th digit for its masks, the key below it for clicks, and that with Shift
# for boxes. Left out are the keys that Label Studio's own tools have (b, e, h, k, m, o, p, r, u, v,
# w) and Shift with digits, which zooms.
MASK_KEYS = "1234567890"
CLICK_KEYS = "asdfgzxcqt"
# Without any, Label Studio gives a label a letter, in the end those of its own tools: K would take
# the keypoint and choose a label of the brush. A blank is a key that nobody can press.
NO_KEY = " "
# The list of what was asked grows downwards by a line a prompt, and would push the labels away: it
# becomes one line that scrolls, the newest first. Masks are drawn at 0.6, which no attribute
# changes, and hide the small things under them.
STYLE = """
    .dgl { display: flex; align-items: flex-start; gap: 12px; }
    .dgl-tools { flex: 0 0 184px; max-height: calc(100vh - 160px); overflow-y: auto; }
    .dgl-image { flex: 1 1 0; min-width: 0; }
    .dgl-image canvas[style*="opacity: 0.6"] { opacity: 0.45 !important; }
    .dgl-tools [data-testid=textarea-regions] { display: flex; flex-direction: column-reverse;
      justify-content: flex-end; max-height: 46px; overflow-y: auto;
      margin-bottom: 4px !important; }
    .dgl-tools [data-testid=htx-textbox-content] { padding: 3px 8px; min-height: 0; }
    .dgl-tools .dgl-reason [data-testid=textarea-regions] { max-height: none; }
    .dgl-reason [data-testid=htx-textbox-content] { border-left: 4px solid #d55e00; }
    .dgl-tools form, .dgl-tools .ant-form-item { margin-bottom: 4px; }
    .dgl-tools .lsf-labels { margin: 0; }
    .dgl-tools .lsf-label { margin: 0 6px 4px 0; }
  """
HEADING_STYLE = "font-size: 12px; font-weight: 600; line-height: 16px; margin: 8px 0 2px"


@dataclass(frozen=True)
class Wanted:
    """What a label config should have.

    Attributes:
        names: labels, each once.
        polygons: outlines instead of brush masks.
        instances: one region an object instead of one a class.
        expression: tasks carry a sentence that says what to find.
        synonyms: label → further words for it.
    """

    names: Sequence[str]
    polygons: bool = False
    instances: bool = False
    expression: bool = False
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write(wanted: Wanted) -> str:
    """The label config: a prompt field, masks, smart keypoint and box with the same labels."""
    asked = [name for name in wanted.names if not names_background(name)]
    mode = ' model_mode="instance"' if wanted.instances else ""
    # Smart brushes and polygons would draw and send nothing.
    tag = "PolygonLabels" if wanted.polygons else "BrushLabels"
    masks = f'{tag} name="mask"{mode} smart="false"'
    clicks = 'KeyPointLabels name="click" smart="true" smartOnly="true" strokeWidth="4"'
    # Without model_skip it would be filled with a box around each object.
    boxes = 'RectangleLabels name="box" smart="true" smartOnly="true" model_skip="true"'
    lines = [
        '<View className="dgl">',
        f"  <Style>{STYLE}</Style>",
        '  <View className="dgl-tools">',
        *_heading("prompt"),
        '    <TextArea name="prompt" toName="image" editable="true" rows="1"',
        f"              placeholder={quoteattr(PLACEHOLDER)}/>",
        # No input field at all: what the backend says of a prompt that got no mask.
        '    <View className="dgl-reason">',
        f'      <TextArea name="{REASON}" toName="image" editable="false" maxSubmissions="0"/>',
        "    </View>",
        *_heading("mask"),
        *_control(masks, _labels(wanted, wanted.names, MASK_KEYS, wanted.synonyms)),
        *_heading("click"),
        *_control(clicks, _labels(wanted, asked, CLICK_KEYS)),
        *_heading("box"),
        *_control(boxes, _labels(wanted, asked, [f"shift+{key}" for key in CLICK_KEYS])),
        "  </View>",
        '  <View className="dgl-image">',
        *(['    <Text name="expression" value="$expression"/>'] if wanted.expression else []),
        '    <Image name="image" value="$image" zoom="true" zoomControl="true"/>',
        "  </View>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def _heading(control: str) -> Iterator[str]:
    yield f'    <Header value={quoteattr(HEADINGS[control])} size="5" style="{HEADING_STYLE}"/>'


def _control(start: str, labels: Iterable[str]) -> Iterator[str]:
    yield f'    <{start} toName="image">'
    yield from labels
    yield f"    </{start.split()[0]}>"


def _labels(
    wanted: Wanted,
    names: Sequence[str],
    keys: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[str]:
    """The labels of a control; a label has the key of its place among all, background or not."""
    palette = colours.colours(wanted.names)
    key_of = dict(zip(wanted.names, keys, strict=False))
    for name in names:
        attributes = {
            "value": name,
            "background": palette[name],
            "hotkey": key_of.get(name, NO_KEY),
        }
        if words := (synonyms or {}).get(name):
            attributes["predicted_values"] = ", ".join(words)
        written = " ".join(f"{key}={quoteattr(text)}" for key, text in attributes.items())
        yield f"      <Label {written}/>"
