"""From an annotation to other masks and back again, with a real if untrained model."""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Label
from tests.workers.fake_worker import fake_engine
from workers.engine.current import Engine
from workers.engine.segmenter import load_segmenter
from workers.messages import LearnRequest, SegmentReply, SegmentRequest, versioned
from workers.processes import jobs
from workers.queue import replies
from workers.queue.client import SegmentClient

SIDE, BLOCK = 128, 16
LABELS = ("building", "water", "road")


def blocks(seed: int) -> np.ndarray:
    """(SIDE, SIDE) int, two kinds of ground in blocks."""
    kinds = np.random.default_rng(seed).integers(0, 2, (SIDE // BLOCK, SIDE // BLOCK))
    return np.kron(kinds, np.ones((BLOCK, BLOCK), dtype=int))


def image(seed: int) -> str:
    random, ground = np.random.default_rng(seed), blocks(seed)
    colours = np.array([(190, 170, 140), (30, 70, 110)])[ground]
    pixels = np.clip(colours + random.normal(0, 4, colours.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Engine:
    segmenter = load_segmenter(str(model_folder), "regions", "cpu")
    engine = fake_engine(Redis())
    engine.segment, engine.learn = segmenter.segment, segmenter.learn
    engine.model_version, engine.max_pixels = segmenter.model_version, SIDE**2
    return engine


@pytest.fixture
def engine(model: Engine, redis: Redis) -> Iterator[Engine]:
    engine = replace(model, redis=redis)
    jobs.use(engine)
    yield engine
    jobs._engine = None


def teach(client: SegmentClient, annotation: int, seed: int, names: tuple[str, str]) -> None:
    ground = blocks(seed)
    regions = tuple((name, to_runs(ground == kind)) for kind, name in enumerate(names))
    asked = LearnRequest("7", str(annotation), annotation, image(seed), regions)
    client.corrections.learn(asked)
    jobs.learn(asked.to_json())


def ask(engine: Engine, client: SegmentClient) -> tuple[str, SegmentReply]:
    """The version under which the project stands, and the answer to a test image."""
    prototypes = client.corrections.prototypes("7")
    asked = SegmentRequest(
        image(99),
        tuple(Label(name) for name in LABELS),
        versioned(engine.model_version, prototypes),
        prototypes=prototypes,
    )
    engine.redis.delete(replies.reply_key(asked.key))  # compute it again
    jobs.segment(asked.to_json())
    reply = replies.look_up(engine.redis, [asked.key])[asked.key]
    assert isinstance(reply, SegmentReply), reply
    return asked.key, reply


def share(reply: SegmentReply, label: str, kind: int) -> float:
    """Of the pixels of a kind of ground, how many have the label."""
    ground = blocks(99) == kind
    for segment in reply.segments:
        if segment.label == label:
            found = from_runs(segment.runs)
            return float(found[ground].mean())
    return 0.0


def test_what_is_taught_is_seen_in_other_images_until_it_is_taken_back(
    engine: Engine, redis: Redis
) -> None:
    client = SegmentClient(redis)
    untaught_key, untaught = ask(engine, client)
    first = max(untaught.segments, key=lambda each: sum(each.runs.counts[1::2])).label
    second = next(label for label in LABELS if label != first)
    for number in range(1, 7):
        teach(client, number, number, (first, second))
    good_key, good = ask(engine, client)
    assert good.model_version != untaught.model_version
    assert share(good, first, 0) > 0.9
    assert share(good, second, 1) > 0.9

    for number in range(7, 20):
        teach(client, number, number, (second, first))
    bad_key, bad = ask(engine, client)
    assert bad_key != good_key
    assert share(bad, first, 0) < share(good, first, 0)

    client.corrections.forget("7", [str(number) for number in range(7, 20)])
    again_key, again = ask(engine, client)
    assert again_key == good_key
    assert again.segments == good.segments
    assert again.model_version == good.model_version

    client.corrections.forget("7", [str(number) for number in range(1, 7)])
    last_key, last = ask(engine, client)
    assert last_key == untaught_key
    assert last.segments == untaught.segments
