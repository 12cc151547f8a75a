"""Requests of windows of a scene that nobody has."""

from dataclasses import replace
from typing import Any

from dgl_rsis.types import Label
from workers.queue.windows import WindowRequest

REQUEST = WindowRequest(
    scene="2026/a.tif",
    identity="0" * 64,
    bands=(4, 3, 2),
    nir=None,
    swir=5,
    nodata=-9999.0,
    labels=(Label("building", ("house",), 0.25), Label("land", background=True)),
    side=208,
    overlap=None,
    context=0.3,
    surroundings=64,
    costs=(0.1, 1 / 3),
    resolution=(0.3, 0.05, "transform"),
    model_version="v1",
    row=1,
    column=2,
)


def request(**changes: Any) -> WindowRequest:
    return replace(REQUEST, **changes)
