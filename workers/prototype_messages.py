"""What crosses the queue about corrections: masks that somebody submitted, to learn from.

Standard library only; both sides import this file, as they do `messages`.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from workers.messages import Runs

LEARN_FUNCTION = "workers.jobs.learn"


@dataclass(frozen=True)
class LearnRequest:
    """One annotation whose masks are to become visual prototypes of its project.

    Attributes:
        project: Label Studio's id, digits.
        annotation: Label Studio's id, digits.
        stamp: when it was last changed, microseconds since the epoch; what is older is dropped.
        image: image reference exactly as in the task's data.
        regions: label and mask of each region, all of one size.
        task_id: Label Studio's id.
    """

    project: str
    annotation: str
    stamp: int
    image: str
    regions: tuple[tuple[str, Runs], ...]
    task_id: str = ""

    @cached_property
    def key(self) -> str:
        """32 hex digits, the same for every request that must have the same effect."""
        canonical = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        content = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        content["regions"] = [[label, runs.to_json()] for label, runs in self.regions]
        return content

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing, unknown or malformed.
        """
        regions = tuple((str(label), Runs.from_json(runs)) for label, runs in payload["regions"])
        return cls(**{**payload, "regions": regions})


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
