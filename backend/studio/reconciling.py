"""One complete set of predictions for a task and a version: what misses is stored, once.

Label Studio stores each prediction that it is sent, also when it says so too late or not at all,
and also when two send it. So after writing it is asked again what it holds, and what is there more
than once is deleted: of every copy the one that was stored first stays. Two who do that at once
decide the same.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from backend.studio.client import StudioClient, StudioError
from dgl_rsis.types import Json

MOST_ROUNDS = 5  # of looking and mending: two are the rule


@dataclass(frozen=True)
class Plan:
    """What makes a set complete.

    Attributes:
        missing: places in the set, in the order in which they are to be stored.
        surplus: ids of stored predictions that are there more than once.
    """

    missing: tuple[int, ...]
    surplus: tuple[int, ...]


def plan(stored: Sequence[Json], expected: Sequence[Json], kept: Collection[int] = ()) -> Plan:
    """Compare what is stored with what should be.

    Label Studio opens the prediction that was stored last, so the order counts as well: what
    follows a missing one is stored anew behind it. Where a version has predictions but none of
    these, it was made under another label config, and is left alone.

    Args:
        stored: predictions of the task and the version, oldest first.
        expected: the set, in the order in which it is to be stored.
        kept: ids of predictions that must not be deleted; they count, wherever they stand.
    """
    copies: dict[frozenset[str], list[int]] = {}
    for each in stored:
        copies.setdefault(_regions(each), []).append(int(each["id"]))
    if stored and not any(_regions(each) in copies for each in expected):
        return Plan((), ())
    chosen: set[int] = set()
    missing: list[int] = []
    last = 0
    for place, each in enumerate(expected):
        held = [number for number in copies.get(_regions(each), ()) if number not in chosen]
        fixed = [number for number in held if number in kept]
        ahead = [number for number in held if number > last and not missing]
        if fixed or ahead:
            chosen.update(fixed or ahead[:1])
            last = max(last, *(fixed or ahead[:1]))
        else:
            missing.append(place)
    wanted = {_regions(each) for each in expected}
    ours = [number for name, numbers in copies.items() if name in wanted for number in numbers]
    return Plan(tuple(missing), tuple(sorted(set(ours) - chosen)))


def reconcile(
    task: int,
    expected: Sequence[Json],
    studio: StudioClient,
    still_ours: Callable[[], None],
) -> bool:
    """See to it that a task has one complete set of its version's predictions.

    Args:
        task: Label Studio's id.
        expected: the set, of one version, in the order in which it is to be stored.
        studio: Label Studio.
        still_ours: called before each change; raises when another one answers the task by now.

    Returns:
        Whether anything had to be stored.

    Raises:
        StudioError: unreachable or refused.
    """
    version = str(expected[0]["model_version"])
    pushed = False
    for _ in range(MOST_ROUNDS):
        stored = studio.predictions(task, version)
        needed = plan(stored, expected)
        if needed.surplus:
            needed = plan(stored, expected, referred_to(studio, task))
        if needed.missing:
            if pushed:
                break
            for place in needed.missing:
                still_ours()
                studio.push(task, expected[place])
            pushed = True
        elif needed.surplus:  # only now: a set that is being replaced stays until it has been
            for number in needed.surplus:
                still_ours()
                studio.delete_prediction(number)
        else:
            return pushed
    raise StudioError(
        f"Label Studio took the predictions of task {task} and does not list them: it is asked "
        "again later",
        retry=True,
    )


def referred_to(studio: StudioClient, task: int) -> set[int]:
    """Ids of predictions that somebody's annotation of a task began with.

    Raises:
        StudioError: unreachable or refused.
    """
    parents = [annotation.get("parent_prediction") for annotation in studio.annotations(task)]
    return {int(parent) for parent in parents if parent is not None}


def _regions(prediction: Json) -> frozenset[str]:
    """What a prediction is known by: the ids of its regions, which say its version and place."""
    return frozenset(str(region.get("id", "")) for region in prediction["result"])
