"""What a look loses on its way through the queue."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions.exemplars import ExemplarParameters
from workers.engine import looks
from workers.messages import MOST_EXAMPLES


@given(st.integers(1, MOST_EXAMPLES), st.integers(2, 1024), st.integers(0, 2**32 - 1))
def test_a_look_arrives_as_it_left_but_for_the_last_digits(
    count: int, length: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    directions = F.normalize(torch.from_numpy(random.normal(size=(count, length))).float(), dim=-1)
    areas, elongations = random.uniform(1, 1e6, (2, count)).astype(np.float32)
    colours = random.normal(size=(count, 3)).astype(np.float32)
    look = exemplars.Look(directions, areas, elongations, colours, 0.3)
    arrived = looks.from_message(looks.to_message(look))
    assert (arrived.directions * directions).sum(dim=-1).min() > 0.9999
    for name in ("areas", "elongations", "colours"):
        np.testing.assert_array_equal(getattr(arrived, name), getattr(look, name))
    assert arrived.metres == look.metres


def test_all_examples_that_a_look_takes_along_can_be_sent() -> None:
    assert ExemplarParameters().carried <= MOST_EXAMPLES
