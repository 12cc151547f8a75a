"""A person who knows the true map, and does first what gains most pixels a second.

The same person draws from nothing and corrects what is there; correcting adds what an editor with
masks and a backend offers: another label for a region by one key, and clicks that are answered.
What a click will gain nobody knows before; it is expected to put right that share of a patch which
clicks did so far.
"""

from dataclasses import dataclass, field
from typing import Protocol

from tests.e2e.correcting.canvas import Canvas, Shape
from tests.e2e.correcting.drawing import Drawing, Drawings
from tests.e2e.correcting.pace import Pace
from tests.e2e.correcting.patches import Patch, wrong_patches

LEAST_GAIN = 400  # pixels, of something that is worth doing
MOST_ACTIONS = 400
LONGEST = 1200.0  # seconds at one image
LABELS = 5


@dataclass(frozen=True)
class Moment:
    """How far a map was, and when.

    Attributes:
        human: seconds of the person until then.
        machine: seconds of waiting until then.
        accuracy: share of right pixels.
    """

    human: float
    machine: float
    accuracy: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.human + self.machine


@dataclass
class Course:
    """How one map came to be.

    Attributes:
        moments: the first before anything was done.
        actions: how often what was done.
        unprepared: seconds of opening the task when its masks were not made before; not counted in
            `moments`.
    """

    moments: list[Moment]
    actions: dict[str, int] = field(default_factory=dict)
    unprepared: float = 0.0


class Editor(Protocol):
    """Where clicks are answered; the two that end an answer come after each `ask`."""

    def ask(self, label: int, pixel: tuple[int, int]) -> tuple[list[tuple[str, Shape]], float]:
        """Click on a pixel (row, column): the regions of the answer, and the seconds of waiting."""

    def keep(self) -> float:
        """Make regions of the answer; seconds of waiting."""

    def drop(self) -> float:
        """Forget the answer; seconds of waiting."""


@dataclass
class Clicks:
    """What clicks did so far.

    Attributes:
        share: of a patch that a click puts right, on average.
        waiting: seconds, on average.
    """

    share: float = 0.15
    waiting: float = 1.5

    def learn(self, share: float, waiting: float) -> None:
        """Of one click; the last ones count most."""
        self.share += 0.1 * (share - self.share)
        self.waiting += 0.2 * (waiting - self.waiting)


def annotate(
    canvas: Canvas,
    drawings: Drawings,
    pace: Pace,
    *,
    editor: Editor | None = None,
    clicks: Clicks | None = None,
    waited: float = 0.0,
) -> Course:
    """Work at a map until nothing is worth doing.

    Args:
        canvas: with what is there; changed.
        drawings: of its truth.
        pace: of the person.
        editor: answers clicks; None for one who draws only.
        clicks: what the person knows of clicks; learns.
        waited: seconds until there was something to work at.
    """
    clicks = clicks or Clicks()
    # Whoever is given masks looks at those of each class before anything else.
    human = pace.decision * len({shape.label for shape in canvas.regions.values()})
    machine, given_up = waited, set[tuple[int, int, int]]()
    course = Course([Moment(human, machine, canvas.accuracy)])
    for number in range(MOST_ACTIONS):
        patches = wrong_patches(canvas)
        choice = _best(canvas, drawings, patches, pace, editor, clicks, given_up)
        if choice is None or human + machine > LONGEST:
            break
        if isinstance(choice, Drawing):
            human += choice.seconds
            canvas.put([(f"drawn {number}", choice.shape)])
            what = "drawing"
        elif isinstance(choice, Patch):
            assert editor is not None
            given_up.add((choice.label, *choice.deepest[:2]))
            seconds, kept = _click(canvas, choice, editor, clicks)
            human += pace.click(2 * choice.deepest[2]) + pace.verdict()
            machine += seconds
            what = "click kept" if kept else "click dropped"
        else:
            name, label = choice
            human += pace.renaming(_width(canvas.regions[name]))
            canvas.rename(name, label)
            what = "renaming"
        course.actions[what] = course.actions.get(what, 0) + 1
        course.moments.append(Moment(human, machine, canvas.accuracy))
    return course


def _best(
    canvas: Canvas,
    drawings: Drawings,
    patches: list[Patch],
    pace: Pace,
    editor: Editor | None,
    clicks: Clicks,
    given_up: set[tuple[int, int, int]],
) -> Drawing | Patch | tuple[str, int] | None:
    """What gains most pixels a second: to draw, to click into, or to rename; None for nothing."""
    options: list[tuple[float, float, Drawing | Patch | tuple[str, int]]] = []
    drawn = drawings.best(canvas, patches)
    if drawn is not None:
        gain, drawing = drawn
        options.append((gain / drawing.seconds, gain, drawing))
    for gain, name, label in canvas.renamings(LABELS):
        seconds = pace.renaming(_width(canvas.regions[name]))
        options.append((gain / seconds, gain, (name, label)))
    if editor is not None:
        for patch in patches:
            if (patch.label, *patch.deepest[:2]) not in given_up:
                seconds = pace.click(2 * patch.deepest[2]) + clicks.waiting + pace.verdict()
                expected = clicks.share * patch.area
                options.append((expected / seconds, expected, patch))
    worth = [option for option in options if option[1] >= LEAST_GAIN]
    return max(worth, key=lambda option: option[0])[2] if worth else None


def _click(canvas: Canvas, patch: Patch, editor: Editor, clicks: Clicks) -> tuple[float, bool]:
    """Seconds of waiting, and whether the answer was kept."""
    answer, waiting = editor.ask(patch.label, patch.deepest[:2])
    after = canvas.copy()
    after.put(answer)
    gain = round((after.accuracy - canvas.accuracy) * canvas.labelled)
    clicks.learn(max(0, gain) / patch.area, waiting)
    if gain > 0:
        canvas.put(answer)
        return waiting + editor.keep(), True
    return waiting + editor.drop(), False


def _width(shape: Shape) -> float:
    """Roughly how far apart a click on it may land."""
    return float(max(4.0, 0.5 * shape.area**0.5))


def reached(course: Course, level: float) -> Moment | None:
    """When a map was that accurate first; None for never."""
    return next((moment for moment in course.moments if moment.accuracy >= level), None)
