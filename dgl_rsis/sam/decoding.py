"""Many points at once through a mask decoder, in as large batches as memory takes. [ours]."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Made = TypeVar("Made")


@dataclass
class Batches:
    """Work done in batches that halve when memory runs out.

    Attributes:
        size: of the next batch; stays halved.
    """

    size: int

    def over(
        self, points: NDArray[np.float64], work: Callable[[NDArray[np.float64]], Made]
    ) -> list[Made]:
        """What `work` makes of all points, batch by batch, in their order.

        Raises:
            torch.OutOfMemoryError: not even one point fits.
        """
        done: list[Made] = []
        start = 0
        while start < len(points):
            tried = self._tried(points[start : start + self.size], work)
            if tried is None:
                # Only now has the frame that held the tensors gone.
                torch.cuda.empty_cache()
                continue
            done.append(tried[0])
            start += len(tried[1])
        return done

    def _tried(
        self, part: NDArray[np.float64], work: Callable[[NDArray[np.float64]], Made]
    ) -> tuple[Made, NDArray[np.float64]] | None:
        try:
            return work(part), part
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            self.size = math.ceil(len(part) / 2)
            log.warning("out of memory with %d points: trying %d", len(part), self.size)
            return None
