"""What an exemplar looks like, as the algorithm has it ⇄ as it crosses the queue."""

import base64

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dgl_rsis.expressions import exemplars
from dgl_rsis.types import InputError
from workers.messages import ExampleLook, Look

NUMBER = np.dtype("<f2")  # of a direction: a cosine is off by a thousandth at most
UNREADABLE = "the look of the exemplar cannot be read: ask for all like it again"


def to_message(look: exemplars.Look) -> Look:
    """To be sent; directions lose what 16 bits do not hold."""
    examples = [
        ExampleLook(float(area), float(elongation), (one, two, three), _written(direction))
        for area, elongation, (one, two, three), direction in zip(
            look.areas.tolist(),
            look.elongations.tolist(),
            look.colours.tolist(),
            look.directions.cpu().numpy(),
            strict=True,
        )
    ]
    return Look(tuple(examples), look.metres)


def from_message(look: Look) -> exemplars.Look:
    """As it arrived, on the CPU.

    Raises:
        InputError: its directions are no numbers, or not equally many.
    """
    read = [_read(each.direction) for each in look.examples]
    if len({len(direction) for direction in read}) > 1:
        raise InputError(UNREADABLE)
    return exemplars.Look(
        F.normalize(torch.from_numpy(np.stack(read)), dim=-1),
        _column([each.area for each in look.examples]),
        _column([each.elongation for each in look.examples]),
        _column([each.colour for each in look.examples]),
        look.metres,
    )


def _written(direction: NDArray[np.float32]) -> str:
    return base64.b64encode(direction.astype(NUMBER).tobytes()).decode()


def _read(direction: str) -> NDArray[np.float32]:
    try:
        numbers = np.frombuffer(base64.b64decode(direction, validate=True), NUMBER)
    except ValueError:
        raise InputError(UNREADABLE) from None
    if not np.isfinite(numbers).all():
        raise InputError(UNREADABLE)
    return numbers.astype(np.float32)


def _column(values: list[float] | list[tuple[float, float, float]]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)
