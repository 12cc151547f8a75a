"""Whoever may annotate draws masks: decoding them takes the place and time of a few large ones."""

import base64
import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.regions import bitmask, reading
from backend.regions.allowance import Allowance, Budget, SpentError, cost_of
from backend.regions.geometry import RegionError

SIZE = (3000, 3000)
PEAK = """
import json, resource, sys
from backend.project import label_config
from backend.project.tasks import TaskError
from backend.prompts import context
from backend.prompts.memory import Memory
xml, drawn, task = json.load(sys.stdin)
config = label_config.parse(xml)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    prompt = context.read({"result": drawn}, config, task, Memory())
    print("read", prompt.correction is not None)
except TaskError as error:
    print("refused", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
XML = """<View><Image name="image" value="$image"/>
<BitmaskLabels name="m" toName="image"><Label value="a"/></BitmaskLabels>
<KeyPointLabels name="k" toName="image" smart="true"><Label value="a"/></KeyPointLabels></View>"""


def png(mask: np.ndarray, mode: str = "LA") -> str:
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    image = Image.fromarray(np.dstack([alpha, alpha]), "LA").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return bitmask.PNG + base64.b64encode(buffer.getvalue()).decode()


def region(form: str, value: dict[str, Any], size: tuple[int, int] = SIZE) -> dict[str, Any]:
    labelled = {**value, f"{form}labels": ["a"]}
    return {"id": "r", "type": f"{form}labels", "from_name": "m", "to_name": "image",
            "original_height": size[0], "original_width": size[1], "value": labelled}  # fmt: skip


def noise() -> str:
    """A chessboard: as runs it takes a hundred times its file."""
    return png(np.indices(SIZE).sum(axis=0) % 2 == 0)


def point() -> dict[str, Any]:
    value = {"x": 50, "y": 50, "width": 1}
    return region("keypoint", value) | {"from_name": "k", "is_positive": True}


def ask(drawn: list[Any], *stored: dict[str, Any]) -> tuple[str, int]:
    """What becomes of a prompt, and how many MiB it took."""
    regions = [{**each, "id": f"r{number}"} for number, each in enumerate(stored)]
    task = {"id": 1, "data": {"image": "x"}, "predictions": [{"id": 1, "result": regions}]}
    ran = subprocess.run(
        [sys.executable, "-c", PEAK], input=json.dumps([XML, drawn, task]),
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    *said, grown = ran.stdout.splitlines()
    return said[0], int(grown)


def test_a_click_into_many_bitmasks_takes_the_memory_of_one() -> None:
    full = region("bitmask", {"imageDataURL": png(np.ones(SIZE, dtype=bool))})
    other = region("bitmask", {"imageDataURL": png(np.zeros(SIZE, dtype=bool))})
    said, grown = ask([point()], *[other] * 300)
    assert said == "read False"
    assert grown < 250
    assert ask([point()], full)[0] == "read True"


def test_noise_is_refused_before_it_becomes_runs() -> None:
    said, grown = ask([region("bitmask", {"imageDataURL": noise()})], point())
    assert said.startswith("refused")
    assert "smooth it" in said
    assert grown < 250
    assert ask([point()], region("bitmask", {"imageDataURL": noise()}))[0] == "read False"


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_bitmask_says_by_its_alpha_where_it_is(mode: str) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:9, 7:20] = True
    assert bitmask.decode(png(mask, mode), 40, 60).counts[1] == 13


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_bitmask_without_alpha_is_opaque(mode: str) -> None:
    assert bitmask.decode(png(np.eye(40, dtype=bool), mode), 40, 40).counts == (0, 1600)


def test_a_header_of_another_size_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(RegionError, match="another size"):
        reading.mask(region("bitmask", {"imageDataURL": noise()}, (10, 10)), (10, 10))
    with pytest.raises(RegionError, match="tiles"):
        reading.mask(region("bitmask", {"imageDataURL": noise()}, (50_000, 50_000)), (50_000,) * 2)


def test_all_masks_of_a_request_have_one_budget_and_each_is_decoded_once() -> None:
    size = (100, 100)
    every = [region("bitmask", {"imageDataURL": png(np.eye(100, dtype=bool))}, size)
             for _ in range(10)]  # fmt: skip
    cost = cost_of(every[0], size)
    allowance = Allowance(Budget(items=3 * cost + 5))
    for _ in range(3):
        for each in every[:3]:
            assert sum(allowance.mask(each, size).counts[1::2]) == 100
    with pytest.raises(SpentError, match="fewer or smaller"):
        allowance.mask(every[3], size)


def test_runs_count_when_they_are_more_than_the_file() -> None:
    size = (100, 100)
    chess = png(np.indices(size).sum(axis=0) % 2 == 0)
    first, second = (region("bitmask", {"imageDataURL": chess}, size) for _ in range(2))
    allowance = Allowance(Budget(items=9_000))
    allowance.mask(first, size)
    with pytest.raises(SpentError):
        allowance.mask(second, size)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("brush", {"rle": [0] * 3_000_000}),
        ("bitmask", {"imageDataURL": bitmask.PNG + "A" * 3_000_000}),
        ("polygon", {"points": [[0, 0]] * 3_000_000}),
        ("vector", {"vertices": [{}] * 3_000_000}),
        ("brush", {"touches": [{}]}),
    ],
)
def test_what_is_too_large_is_not_looked_at(form: str, value: dict[str, Any]) -> None:
    large = (20_000, 20_000) if "touches" in value else SIZE
    with pytest.raises(SpentError):
        Allowance().mask(region(form, value, large), large)
