"""Tasks, regions and events made of bytes: of the shape of Label Studio's, with rubbish inside."""

import math
from typing import Any
from xml.sax.saxutils import quoteattr

KINDS = ["brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels", "ellipselabels",
         "vectorlabels", "keypointlabels", "labels", "brush", "polygon", "textarea", "choices",
         "relation", "magicwand", ""]  # fmt: skip
KEYS = ["rle", "imageDataURL", "points", "x", "y", "width", "height", "rotation", "radiusX",
        "radiusY", "vertices", "closed", "touches", "text", "labels", "brushlabels",
        "polygonlabels", "keypointlabels", "rectanglelabels"]  # fmt: skip
WORDS = ["ship", "s", "sea", "", "\ud800", "\0", "all like this", "all like this in the project",
         "the red ship left of the pier", "not the 2nd largest of three ships", "x" * 600, "🚢",
         "data:image/png;base64,iVBORw0KGgo=", "s3://bucket/key", "/data/upload/1/a.png",
         "/data/local-files/?d=..%2f..%2fa.png", "http://127.0.0.1:9/a.png", "a.png",
         "2026-01-02T03:04:05Z", "prediction", "reason", "prompt", "image", "r1",
         "dgl:0000"]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 50, 100, 10**13, -(10**13), 2**31, 2**63, 10**400, 0.5, -0.0, 1e308,
           math.nan, math.inf, -math.inf, 8, 8, 64, True, False]  # fmt: skip
TAGS = [
    "View",
    "Image",
    "BrushLabels",
    "Label",
    "Labels",
    "Brush",
    "Polygon",
    "RectangleLabels",
    "KeyPointLabels",
    "TextArea",
    "Text",
    "Repeater",
    "Choices",
    "Style",
    "VectorLabels",
]
ATTRIBUTES = ["name", "toName", "value", "valueList", "predicted_values", "model_score_threshold",
              "model_skip", "model_mode", "alias", "background", "on", "indexFlag",
              "maxSubmissions", "perRegion"]  # fmt: skip
VALUES = ["image", "$image", "$images", "$images[{{idx}}]", "image_{{idx}}", "a", "ship", "sea",
          "background", "", " ", "true", "0", "0.5", "nan", "1e999", "instance", "semantic",
          "a, b,,c", "image,other", "expression", "reason", "{{idx}}", "#f00", "$", "x" * 600,
          "\u202e", "<&>\"'"]  # fmt: skip
ACTIONS = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED", "X"]
DEEPEST = 4


class Maker:
    """Makes values of bytes, the same of the same.

    Args:
        data: where there is no more of it, everything is 0.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def mostly(self) -> bool:
        """Yes, fifteen times of sixteen."""
        return self.byte() % 16 != 15

    def some(self, most: int = 6) -> range:
        """How often to repeat something."""
        return range(self.byte() % (most + 1))

    def pick(self, values: list[Any]) -> Any:
        """One of some values."""
        return values[self.byte() % len(values)]

    def anything(self, depth: int = 0) -> Any:
        """Any value of JSON."""
        kind = self.byte() % 8
        if kind < 2:
            return self.pick(NUMBERS)
        if kind < 4:
            return self.pick(WORDS)
        if kind == 4 or depth == DEEPEST:
            return None
        if kind == 5:
            return [self.anything(depth + 1) for _ in self.some()]
        if kind == 6:
            return {self.pick(KEYS): self.anything(depth + 1) for _ in self.some()}
        return [self.byte() for _ in self.some(64)]

    def number(self) -> Any:
        """Percent, mostly."""
        return self.byte() / 2 if self.mostly() else self.anything()

    def pairs(self) -> Any:
        """Corners, mostly."""
        if not self.mostly():
            return self.anything()
        return [[self.number(), self.number()] for _ in self.some(12)]

    def value(self, kind: str) -> Any:
        """The geometry of a region."""
        if not self.mostly():
            return self.anything()
        value: dict[str, Any] = {kind: [self.pick(WORDS[:4])]} if kind.endswith("labels") else {}
        for name in ("x", "y", "width", "height", "radiusX", "radiusY", "rotation"):
            if self.byte() % 2:
                value[name] = self.number()
        if kind.startswith(("polygon", "labels")):
            value["points"] = self.pairs()
        if kind.startswith("vector"):
            value["vertices"] = [self.vertex() for _ in self.some()]
            value["closed"] = bool(self.byte() % 2)
        if kind.startswith(("brush", "magic")):
            value["rle"] = self.rle()
        if kind.startswith("brush") and self.byte() % 2:
            value["touches"] = [self.touch() for _ in self.some()]
        if kind == "textarea":
            value["text"] = [self.pick(WORDS)] if self.mostly() else self.anything()
        if not self.mostly():
            value[self.pick(KEYS)] = self.anything()
        return value

    def vertex(self) -> Any:
        """One of a vector."""
        if not self.mostly():
            return self.anything()
        vertex = {"id": self.pick(WORDS), "x": self.number(), "y": self.number(),
                  "prevPointId": self.pick(WORDS), "isBezier": bool(self.byte() % 2)}  # fmt: skip
        for name in ("controlPoint1", "controlPoint2"):
            if self.byte() % 2:
                vertex[name] = {"x": self.number(), "y": self.number()}
        return vertex

    def touch(self) -> Any:
        """A line of a brush."""
        if not self.mostly():
            return self.anything()
        points = [self.number() for _ in self.some(8)]
        kind = self.pick(["brush", "eraser"])
        return {"type": kind, "relativePoints": points, "relativeStrokeWidth": self.number()}

    def rle(self) -> Any:
        """Run lengths that begin as those of 8 × 8 pixels, mostly."""
        head = [0, 0, 1, 0, 57, 27, 120] if self.mostly() else []
        return [*head, *(self.byte() for _ in self.some(60))] if self.mostly() else self.anything()

    def region(self) -> Any:
        """One result."""
        if not self.mostly():
            return self.anything()
        kind = self.pick(KINDS)
        side = 8 if self.mostly() else self.anything()
        region = {"type": kind, "id": self.pick(WORDS), "from_name": self.pick(["brush", "prompt"]),
                  "to_name": "image" if self.mostly() else self.anything(), "original_height": 8,
                  "original_width": side, "value": self.value(kind)}  # fmt: skip
        for name in ("is_positive", "item_index", "origin", "score", "meta"):
            if self.byte() % 4 == 0:
                region[name] = self.anything()
        return region

    def regions(self) -> Any:
        """A result."""
        return [self.region() for _ in self.some()]

    def held(self) -> Any:
        """A draft, an annotation or a prediction."""
        held = {"id": self.byte() % 4, "result": self.regions(), "updated_at": self.pick(WORDS)}
        for name in ("annotation", "parent_prediction", "created_at", "was_cancelled"):
            if self.byte() % 4 == 0:
                held[name] = self.anything()
        return held

    def task(self) -> Any:
        """A task."""
        if not self.mostly():
            return self.anything()
        images = [self.pick(WORDS) for _ in self.some(3)] if self.mostly() else self.anything()
        task: dict[str, Any] = {"id": 1, "data": {"images": images, "other": self.anything()}}
        for name in ("metres_per_pixel", "gsd", "expression"):
            if self.byte() % 4 == 0:
                task["data"][name] = self.anything()
        for name in ("drafts", "annotations", "predictions"):
            task[name] = [self.held() for _ in self.some(2)] if self.mostly() else self.anything()
        return task

    def element(self, depth: int = 0) -> str:
        """A tag of a label config, with those inside it."""
        tag = self.pick(TAGS)
        names = [f"{self.pick(ATTRIBUTES)}={quoteattr(self.pick(VALUES))}" for _ in self.some(5)]
        inside = "".join(self.element(depth + 1) for _ in self.some(4)) if depth < DEEPEST else ""
        return f"<{' '.join([tag, *dict.fromkeys(names)])}>{inside}</{tag}>"

    def config(self) -> str:
        """A label config."""
        image = '<Image name="image" value="$image"/>' if self.mostly() else ""
        return f"<View>{image}{''.join(self.element() for _ in self.some())}</View>"

    def event(self) -> Any:
        """What a webhook gets."""
        if not self.mostly():
            return self.anything()
        xml = ('<View><Image name="image" valueList="$images"/><BrushLabels name="brush" '
               'toName="image"><Label value="ship"/></BrushLabels></View>')  # fmt: skip
        annotation = self.held()
        annotation["prediction"] = self.held() if self.mostly() else self.anything()
        return {"action": self.pick(ACTIONS), "annotation": annotation, "task": self.task(),
                "project": {"id": 1, "label_config": xml} if self.mostly() else self.anything(),
                "annotations": self.anything(), "tasks": self.anything()}  # fmt: skip
