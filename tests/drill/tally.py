"""What became of each task, judged by what Label Studio holds at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """Tasks by what became of them; each list holds their ids.

    Attributes:
        good: one prediction, and it is the right one.
        missing: none.
        twice: more than one of the version.
        wrong: one, but another than the model gives for that image.
        spared: poison images without a prediction, as it must be.
    """

    good: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    spared: list[int] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing is missing, there twice, or wrong."""
        return not (self.missing or self.twice or self.wrong)


def tally(
    expected: Mapping[int, Sequence[Json] | None], stored: Sequence[Json], version: str
) -> Tally:
    """Judge what is stored.

    Args:
        expected: by task the regions that the model gives for its image; None for a poison image,
            which must have no prediction.
        stored: predictions as Label Studio holds them.
        version: of the model that was asked; a prediction of another one is wrong.
    """
    held: dict[int, list[Json]] = {task: [] for task in expected}
    for prediction in stored:
        held.setdefault(int(prediction["task"]), []).append(prediction)
    result = Tally()
    for task, predictions in held.items():
        _judge(result, task, predictions, expected.get(task), version)
    return result


def _judge(
    result: Tally,
    task: int,
    predictions: Sequence[Json],
    regions: Sequence[Json] | None,
    version: str,
) -> None:
    if regions is None:
        (result.wrong if predictions else result.spared).append(task)
    elif not predictions:
        result.missing.append(task)
    elif len(predictions) > 1:
        result.twice.append(task)
    else:
        only = predictions[0]
        right = only["model_version"] == version and only["result"] == list(regions)
        (result.good if right else result.wrong).append(task)
