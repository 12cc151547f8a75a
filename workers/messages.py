"""What crosses the queue: requests and replies as JSON.

Both sides import this file and nothing of each other; of the algorithm it needs only the nouns and
run lengths. No token, login or password has a field here.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Self

from dgl_rsis.runs import Runs
from dgl_rsis.types import Label

SEGMENT_QUEUE = "segment"
INTERACTIVE_QUEUE = "interactive"  # for people who wait, where a worker is reserved for them
DELIVERY_QUEUE = "delivery"
SEGMENT_FUNCTION = "workers.processes.jobs.segment"
LEARN_FUNCTION = "workers.processes.jobs.learn"
WINDOW_FUNCTION = "workers.processes.windows.judge"
DELIVERY_FUNCTION = "backend.studio.delivery.deliver"
CHECK_FUNCTION = "backend.studio.delivery.check"
FOLLOW_FUNCTION = "backend.studio.following.follow"
EVENT_FUNCTION = "backend.studio.events.handle"
OURS = "dgl-rsis-"  # what every model version of this project begins with
MOST_EXAMPLES = 4  # of a look, which goes with a job for each image of a project
LONGEST_DIRECTION = 6000  # characters of base64: 2,250 numbers of 16 bits
LIKE = " like "  # before the label, in the model version of what is like an exemplar elsewhere
LONGEST_LIKE = 40  # characters of that label: several versions have to fit in a list


Point = tuple[float, float]
Marked = tuple[tuple[str, Runs], ...]  # label and mask of regions of one image


@dataclass(frozen=True)
class VisualPrompt:
    """What somebody points at, in shares of the image's width and height, [0, 1].

    Attributes:
        positive: x and y of points on the object.
        negative: x and y of points that are not.
        box: left, top, right, bottom around the object; None for none.
        strokes: painted roughly along it; None for none.
        outline: the inside of a rough outline; None for none.
        prior: the mask to correct; None to start anew.
    """

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    strokes: Runs | None = None
    outline: Runs | None = None
    prior: Runs | None = None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        return {
            "positive": [list(point) for point in self.positive],
            "negative": [list(point) for point in self.negative],
            "box": None if self.box is None else list(self.box),
            "strokes": None if self.strokes is None else self.strokes.to_json(),
            "outline": None if self.outline is None else self.outline.to_json(),
            "prior": None if self.prior is None else self.prior.to_json(),
        }

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed.
        """
        positive, negative = (
            tuple((float(x), float(y)) for x, y in payload[name])
            for name in ("positive", "negative")
        )
        strokes, outline, prior = (
            None if payload[name] is None else Runs.from_json(payload[name])
            for name in ("strokes", "outline", "prior")
        )
        box = payload["box"]
        corners = None if box is None else (box[0], box[1], box[2], box[3])
        return cls(positive, negative, corners, strokes, outline, prior)


@dataclass(frozen=True)
class Exemplar:
    """A mask that stands for all things like it; both at the size of the image.

    Attributes:
        mask: of one such thing, or of several apart.
        marked: where nothing is sought: what has the same label already, the mask with it.
    """

    mask: Runs
    marked: Runs

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        return {"mask": self.mask.to_json(), "marked": self.marked.to_json()}

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed.
        """
        return cls(Runs.from_json(payload["mask"]), Runs.from_json(payload["marked"]))


@dataclass(frozen=True)
class ExampleLook:
    """What one example looks like, wherever it is.

    Attributes:
        area: pixels of its image.
        elongation: ln(length / width).
        colour: mean colour, in the model's units.
        direction: of its feature, as the model that made it has it: base64 of float16, little
            endian.

    Raises:
        ValueError: the area is not above 0, or the direction is empty or too long.
    """

    area: float
    elongation: float
    colour: tuple[float, float, float]
    direction: str

    def __post_init__(self) -> None:
        if not 0 < self.area < math.inf:
            raise ValueError(f"the area of an example is {self.area}: it has to be above 0")
        if not 0 < len(self.direction) <= LONGEST_DIRECTION:
            raise ValueError(
                f"the direction of an example has {len(self.direction)} characters; "
                f"1 to {LONGEST_DIRECTION} can be sent"
            )


@dataclass(frozen=True)
class Look:
    """What an exemplar looks like, to be sought in other images than its own.

    Attributes:
        examples: 1 to `MOST_EXAMPLES`.
        metres: of the ground that a pixel of their image shows; None where nobody says.

    Raises:
        ValueError: none, or too many examples.
    """

    examples: tuple[ExampleLook, ...]
    metres: float | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.examples) <= MOST_EXAMPLES:
            raise ValueError(
                f"a look has {len(self.examples)} examples; 1 to {MOST_EXAMPLES} can be sent"
            )

    @cached_property
    def digest(self) -> str:
        """32 hex digits, the same for the same look."""
        canonical = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        examples = [
            [each.area, each.elongation, list(each.colour), each.direction]
            for each in self.examples
        ]
        return {"examples": examples, "metres": self.metres}

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed.
        """
        examples = tuple(
            ExampleLook(float(area), float(long), (float(one), float(two), float(three)), str(to))
            for area, long, (one, two, three), to in payload["examples"]
        )
        metres = payload["metres"]
        return cls(examples, None if metres is None else float(metres))


@dataclass(frozen=True)
class SegmentRequest:
    """Segmentation of one image: into classes, by a referring expression, or by pointing.

    Attributes:
        image: image reference as in the task's data: `/data/upload/…`, `/data/local-files/?d=…`,
            `http(s)://…`, `data:…`; of a file in a cloud storage, Label Studio's link to it for
            this task.
        labels: the vocabulary; at least one.
        classes: return one segment per class.
        objects: return one segment per connected object as well.
        expression: a sentence ("the white tank left of the road"): return what it refers to, the
            best candidates instead of classes and objects; empty for none.
        pointed: points, box, strokes, outline and mask to correct: return the one object that is
            meant, instead of classes and objects; with an expression, the object among its
            candidates. None for none.
        label: the label that such an answer gets; empty for the one that fits best.
        exemplar: return everything else that is like it, instead of all the above, each a candidate
            with `label`; None for none.
        look: the same for what is like an exemplar of another image: everything like it; None for
            none.
        prototypes: which visual prototypes of the project to use, `project@revision`; empty for
            none.
        model_version: the version that the web side reports in /setup; part of `key`.
        task_id: for the log only; not part of `key`.
        metres: of the ground that a pixel of the image shows, as the task or whoever asks says;
            None where nobody does, and then no part of `key`.
        more: references of further images of the same task, each asked the same; mostly none.
    """

    image: str
    labels: tuple[Label, ...]
    model_version: str
    classes: bool = True
    objects: bool = False
    expression: str = ""
    pointed: VisualPrompt | None = None
    label: str = ""
    prototypes: str = ""
    task_id: str = ""
    metres: float | None = None
    exemplar: Exemplar | None = None
    more: tuple[str, ...] = ()
    look: Look | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """References of all images of the task, that of `image` first."""
        return self.image, *self.more

    @cached_property
    def key(self) -> str:
        """32 hex digits, the same for every request that must give the same answer."""
        content = self.to_json()
        del content["task_id"]
        # What is not asked for is no part of the question.
        for name in ("metres", "exemplar", "more", "look"):
            if not content[name]:
                del content[name]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @cached_property
    def subject(self) -> str:
        """32 hex digits: what a task asks by itself, whichever model answers.

        The same as of the task in Label Studio, unless somebody asked in its name for something
        else: of another image, with other labels or another sentence.
        """
        content = self.to_json()
        for name in ("task_id", "model_version", "prototypes", "look"):
            del content[name]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @property
    def awaited(self) -> bool:
        """Whether somebody shows something, and waits: the answer is of use only soon."""
        return self.pointed is not None or self.exemplar is not None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        # `asdict` copies deeply: of 300 labels and 1,000 tasks that takes seconds.
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["labels"] = [dict(vars(label)) for label in self.labels]
        content["pointed"] = None if self.pointed is None else self.pointed.to_json()
        content["exemplar"] = None if self.exemplar is None else self.exemplar.to_json()
        content["more"] = list(self.more)
        content["look"] = None if self.look is None else self.look.to_json()
        return content

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        labels = tuple(
            Label(**{**label, "synonyms": tuple(label["synonyms"])}) for label in payload["labels"]
        )
        pointed, exemplar = payload["pointed"], payload.get("exemplar")
        look = payload.get("look")
        return cls(
            **{
                **payload,
                "labels": labels,
                "pointed": None if pointed is None else VisualPrompt.from_json(pointed),
                "exemplar": None if exemplar is None else Exemplar.from_json(exemplar),
                "more": tuple(payload.get("more", ())),
                "look": None if look is None else Look.from_json(look),
            }
        )


@dataclass(frozen=True)
class SegmentResult:
    """One mask of a reply.

    Attributes:
        label: name of a label of the request.
        score: mean probability of the label inside the mask, [0, 1].
        level: "class" (all pixels of the class), "object" (one connected object) or "candidate"
            (one answer to an expression, to pointing or to an exemplar, best first).
        runs: the mask at the size of the image as a browser shows it.
    """

    label: str
    score: float
    level: str
    runs: Runs


@dataclass(frozen=True)
class SegmentReply:
    """The answer to a `SegmentRequest`.

    Attributes:
        height: rows of the image as a browser shows it (EXIF orientation applied), pixels.
        width: columns, pixels.
        model_version: of what it was computed with. Another than the request's when the project
            has learnt or unlearnt since.
        segments: masks; empty when nothing was found.
        seconds: wall-clock seconds of each stage, in order.
        reason: why nothing was found for a prompt; empty otherwise.
        margin: how sure the classes are: mean over the pixels of the difference between the
            probabilities of the two best classes, [0, 1]; None for answers that are no classes.
        more: the answers for the further images of the request, in their order.
        look: of the exemplar that was asked about; None for answers to anything else.
        stored_at: when it was stored, seconds since the epoch by the worker's clock; 0 before.
        subject: `SegmentRequest.subject` of what it answers; empty where that was not kept.
    """

    height: int
    width: int
    model_version: str
    segments: tuple[SegmentResult, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    margin: float | None = None
    more: tuple["SegmentReply", ...] = ()
    look: Look | None = None
    stored_at: float = field(default=0.0, compare=False)
    subject: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it. Masks share the reply's size."""
        return {
            "height": self.height,
            "width": self.width,
            "model_version": self.model_version,
            "segments": [[s.label, s.score, s.level, list(s.runs.counts)] for s in self.segments],
            "seconds": self.seconds,
            "reason": self.reason,
            "margin": self.margin,
            "more": [each.to_json() for each in self.more],
            "look": None if self.look is None else self.look.to_json(),
            "stored_at": self.stored_at,
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        height, width = payload["height"], payload["width"]
        segments = tuple(
            SegmentResult(label, score, level, Runs(height, width, tuple(counts)))
            for label, score, level, counts in payload["segments"]
        )
        version, seconds = payload["model_version"], payload["seconds"]
        reason, margin, look = (payload.get(name) for name in ("reason", "margin", "look"))
        more = tuple(cls.from_json(each) for each in payload.get("more", ()))
        seen = None if look is None else Look.from_json(look)
        at, subject = float(payload.get("stored_at", 0.0)), payload.get("subject", "")
        told = (reason or "", margin, more, seen, at, subject)
        return cls(height, width, version, segments, seconds, *told)


@dataclass(frozen=True)
class DeliveryRequest:
    """One prediction to push to Label Studio once its segmentation is ready.

    Attributes:
        task_id: Label Studio's id of the task.
        key: `SegmentRequest.key` of the segmentation.
        config: digest under which the project's label config is stored.
        project: Label Studio's id, digits; empty when unknown.
        like: label of an exemplar: the masks are what is like it, which stand beside what the model
            says of the task by itself; empty for that.
        look: `Look.digest` of that exemplar; empty for none.
    """

    task_id: int
    key: str
    config: str
    project: str = ""
    like: str = ""
    look: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**payload)


@dataclass(frozen=True)
class LearnRequest:
    """One annotation whose masks are to become visual prototypes of its project.

    Attributes:
        project: Label Studio's id, digits.
        annotation: Label Studio's id, digits.
        stamp: when it was last changed, microseconds since the epoch; what is older is dropped.
        image: image reference, as that of `SegmentRequest`.
        regions: label and mask of each region, all of one size.
        task_id: Label Studio's id.
        more: further images of the same task, with the regions of each; mostly none.
    """

    project: str
    annotation: str
    stamp: int
    image: str
    regions: Marked
    task_id: str = ""
    more: tuple[tuple[str, Marked], ...] = ()

    @property
    def marked(self) -> tuple[tuple[str, Marked], ...]:
        """The images on which something is marked, with their regions."""
        every = ((self.image, self.regions), *self.more)
        return tuple((image, regions) for image, regions in every if regions)

    @cached_property
    def key(self) -> str:
        """32 hex digits, the same for every request that must have the same effect."""
        canonical = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        content = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        content["regions"] = _marked_json(self.regions)
        content["more"] = [[image, _marked_json(regions)] for image, regions in self.more]
        return content

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing, unknown or malformed.
        """
        more = tuple((str(image), _marked_from(held)) for image, held in payload.get("more", ()))
        return cls(**{**payload, "regions": _marked_from(payload["regions"]), "more": more})


@dataclass(frozen=True)
class StudioEvent:
    """Something that became of annotations, to be looked up in Label Studio: ids and no content.

    Attributes:
        project: Label Studio's id, digits.
        deleted: they were deleted; else submitted or changed.
        annotations: ids, digits.
        tasks: ids of tasks that were deleted with all their annotations.
        complete: these are all; else there were more, which nobody wrote down.
        proven: it came with the secret of the project's webhook; else anybody may have sent it.
    """

    project: str
    deleted: bool
    annotations: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    complete: bool = True
    proven: bool = True

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        ids = {"annotations": list(self.annotations), "tasks": list(self.tasks)}
        return {**asdict(self), **ids}

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        ids = {name: tuple(payload[name]) for name in ("annotations", "tasks")}
        return cls(**{**payload, **ids})


def _marked_json(regions: Marked) -> list[Any]:
    return [[label, runs.to_json()] for label, runs in regions]


def _marked_from(held: Any) -> Marked:
    return tuple((str(label), Runs.from_json(runs)) for label, runs in held)


def learn_job_id(request: LearnRequest) -> str:
    """Id of the job that learns from a request: the same for the same content."""
    return f"learn-{request.key}"


def names(project: str, revision: str) -> str:
    """What `SegmentRequest.prototypes` says; empty for a project without prototypes."""
    return f"{project}@{revision}" if revision else ""


def versioned(base: str, prototypes: str) -> str:
    """The model version under which a project's predictions stand.

    Args:
        base: of the model alone.
        prototypes: as `SegmentRequest.prototypes`; empty for none.
    """
    return f"{base}+p{prototypes.rpartition('@')[2]}" if prototypes else base


@dataclass(frozen=True)
class Served:
    """What answers a project's tasks.

    Attributes:
        base: version of the model alone.
        prototypes: as `SegmentRequest.prototypes`.
    """

    base: str
    prototypes: str

    @property
    def version(self) -> str:
        """Under which the predictions stand."""
        return versioned(self.base, self.prototypes)


def version_like(base: str, label: str) -> str:
    """The model version of what is like an exemplar with a label, elsewhere in its project.

    Label Studio lists the versions of a task with commas between them, so it has none.

    Args:
        base: of the model alone.
        label: of the exemplar.
    """
    plain = " ".join(label.replace(",", " ").split())
    if plain == label and len(label) <= LONGEST_LIKE:
        return f"{base}{LIKE}{label}"
    digest = hashlib.sha256(label.encode()).hexdigest()[:6]  # two such labels stay two
    return f"{base}{LIKE}{plain[:LONGEST_LIKE]} {digest}"


def base_of(version: str) -> str:
    """The version of the model alone; `versioned` adds to it what a project learnt."""
    return version.partition("+p")[0]


def is_ours(version: Any) -> bool:
    """Whether a model version, or the title of a backend, is one that this project makes."""
    return isinstance(version, str) and version.startswith(OURS)
