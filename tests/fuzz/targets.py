"""What is fuzzed: each target takes any bytes and raises nothing but what its docstring promises.

A target turns bytes into what a stranger may send, hands it to the code that reads it, and lets the
documented exceptions of that pass. Whatever else comes out, a long wait or much memory is a fault.
"""

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from unittest import mock

from backend.project import label_config
from backend.project.tasks import TaskError, as_task
from backend.prompts import context
from backend.prompts.memory import Memory
from backend.regions import bitmask, brush, reading
from backend.regions.findings import Findings
from backend.regions.geometry import MOST_PIXELS, RegionError
from backend.studio.corrections import to_learn
from backend.web import webhook
from backend.web.webhook import EventError
from dgl_rsis.decoupling.decouple import decouple
from dgl_rsis.runs import lengths
from dgl_rsis.types import InputError
from tests.fuzz.making import Maker
from workers.images.cache import cache_key
from workers.images.download import Downloader, FetchError
from workers.images.fetch import Fetcher
from workers.messages import SegmentRequest

LONGEST_PROBLEM = 2_000  # characters
STUDIO = "http://studio.example:8080/label"
CONFIG = label_config.parse(
    """<View><Image name="image" valueList="$images"/><Image name="other" value="$other"/>
    <BrushLabels name="brush" toName="image"><Label value="ship" alias="s"/><Label value="sea"/>
    </BrushLabels><BitmaskLabels name="bitmask" toName="image"><Label value="ship"/></BitmaskLabels>
    <KeyPointLabels name="point" toName="image" smart="true"><Label value="ship"/></KeyPointLabels>
    <RectangleLabels name="box" toName="image" model_skip="true"><Label value="ship"/>
    </RectangleLabels><TextArea name="prompt" toName="image"/></View>"""
)


def read_label_config(data: bytes) -> None:
    """Any text as a label config, and one that is made of tags."""
    _read_config(_text(data))
    _read_config(Maker(data).config())


def _read_config(xml: str) -> None:
    parsed = label_config.parse(xml)
    assert all(len(problem) <= LONGEST_PROBLEM for problem in parsed.problems)
    assert parsed.controls or parsed.problems
    try:
        request = parsed.to_request({"id": 1, "data": {"image": "a.png"}}, "fuzz")
    except TaskError:
        return
    assert SegmentRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def read_brush(data: bytes) -> None:
    """Any bytes as the run lengths of a brush, and as a PNG."""
    height, width = 1 + data[0] % 64 if data else 1, 1 + data[1] % 64 if len(data) > 1 else 1
    held = data[2:]
    if data[:1] > b"\x80":  # whatever the bytes say, the size is theirs
        height, width = 1, max(1, int.from_bytes(held[:4]) // 4)
    try:
        runs = brush.decode(list(held), height, width)
    except ValueError:
        pass
    else:
        assert (runs.height, runs.width) == (height, width)
        assert lengths(runs).sum() == height * width
        if height * width < MOST_PIXELS:
            assert brush.decode(brush.encode(runs), height, width) == runs
    with suppress(*bitmask.UNREADABLE):
        bitmask.decode(bitmask.PNG + base64.b64encode(held).decode(), height, width)


def read_prompt(data: bytes) -> None:
    """A task, with what is stored of it, and what somebody draws or writes."""
    make = Maker(data)
    task = make.task()
    drawn = {"result": make.regions()} if make.mostly() else make.anything()
    memory = Memory()
    for _ in range(2):
        try:
            prompt = context.read(drawn, CONFIG, as_task(task), memory)
            plain = CONFIG.to_request(as_task(task), "fuzz")
            asked = context.to_request(plain, prompt)
        except TaskError:
            return
        assert SegmentRequest.from_json(json.loads(json.dumps(asked.to_json()))).key == asked.key
        if prompt.text:
            _read_sentence(prompt.text)
        memory.suggestions.remember("1", make.regions(), prompt.asked_by)


def _read_sentence(text: str) -> None:
    with suppress(InputError):
        decouple(text)


def read_regions(data: bytes) -> None:
    """An annotation of any form."""
    make = Maker(data)
    result = make.regions() if make.mostly() else make.anything()
    size = reading.image_size(result) or (8, 8)
    if size[0] * size[1] > 2**16:
        size = (8, 8)
    for region in reading.read_regions(result, size, "fuzz", Findings()):
        assert lengths(region.runs).sum() == size[0] * size[1]
    for each in result if isinstance(result, list) else []:
        if isinstance(each, dict):
            with suppress(RegionError):
                reading.mask(each, size)


def read_reference(data: bytes) -> None:
    """Any text as the address of an image, in a task and for the worker."""
    text = _text(data)
    make = Maker(data)
    for task in (make.task(), {"id": 1, "data": {"images": [text]}}):
        try:
            request = CONFIG.to_request(as_task(task), "fuzz")
        except TaskError:
            continue
        assert len(request.key) == 32
    cache_key(text)
    for studio in (None, STUDIO):
        fetcher = Fetcher(Downloader(studio, None, frozenset({"allowed.example"}), 10_000, 1.0))
        network = mock.patch.object(Downloader, "_send", side_effect=_unreachable)
        with network, suppress(FetchError):
            assert len(fetcher.fetch(text)) <= 10_000


def _unreachable(*_: object) -> None:
    raise FetchError("there is no network here")


def read_event(data: bytes) -> None:
    """Any body as an event of Label Studio's webhook."""
    event = Maker(data).event()
    for body in (data, json.dumps(event).encode()):
        for complete in (True, False):
            with suppress(EventError):
                webhook.read(body[: webhook.HEAD_BYTES], "1", complete=complete)
    named = event if isinstance(event, dict) else {}
    parts = [named.get(name) for name in ("annotation", "task", "project")]
    annotation, task, project = ({"id": 1, **(p if isinstance(p, dict) else {})} for p in parts)
    with suppress(TaskError):
        to_learn(annotation, task, project, None)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "label_config": read_label_config,
    "brush": read_brush,
    "prompt": read_prompt,
    "regions": read_regions,
    "reference": read_reference,
    "event": read_event,
}


def _text(data: bytes) -> str:
    """Text, with halves of characters in it where the bytes say so."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")
