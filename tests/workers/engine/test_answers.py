"""From an annotation to other masks and back again, with a real if untrained model."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import ImageError, Label
from tests.workers.fake_worker import REPLY_SECONDS, pictures
from workers.engine import answers
from workers.engine.learnt import unpack
from workers.engine.loading import load_segmenter
from workers.engine.segmenter import Segmenter
from workers.messages import LearnRequest, SegmentReply, SegmentRequest, versioned
from workers.processes import jobs
from workers.processes.jobs import Workbench
from workers.queue import replies
from workers.queue.client import SegmentClient
from workers.queue.prototypes import PrototypeStore
from workers.settings import WorkerSettings

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
def segmenter(model_folder: Path) -> Segmenter:
    return load_segmenter(WorkerSettings(model=str(model_folder)))


@pytest.fixture
def bench(segmenter: Segmenter, redis: Redis) -> Workbench:
    return Workbench(segmenter, pictures(max_pixels=2 * SIDE**2), redis, REPLY_SECONDS)


def teach(
    bench: Workbench, client: SegmentClient, annotation: int, seed: int, names: tuple[str, str]
) -> None:
    ground = blocks(seed)
    regions = tuple((name, to_runs(ground == kind)) for kind, name in enumerate(names))
    asked = LearnRequest("7", str(annotation), annotation, image(seed), regions)
    client.corrections.submit(asked)
    jobs.learn(bench, asked.to_json())


def ask(bench: Workbench, client: SegmentClient) -> tuple[str, SegmentReply]:
    """The version under which the project stands, and the answer to a test image."""
    prototypes = client.corrections.prototypes("7")
    asked = SegmentRequest(
        image(99),
        tuple(Label(name) for name in LABELS),
        versioned(bench.segmenter.model_version, prototypes),
        prototypes=prototypes,
    )
    bench.redis.delete(replies.reply_key(asked.key))  # compute it again
    jobs.segment(bench, asked.to_json())
    reply = replies.look_up(bench.redis, [asked.key])[asked.key]
    assert isinstance(reply, SegmentReply), reply
    return asked.key, reply


def share(reply: SegmentReply, label: str, kind: int) -> float:
    """Of the pixels of a kind of ground, how many have the label."""
    ground = blocks(99) == kind
    for segment in reply.segments:
        if segment.label == label:
            mask = from_runs(segment.runs)
            return float(mask[ground].mean())
    return 0.0


def test_what_is_taught_is_seen_in_other_images_until_it_is_taken_back(
    bench: Workbench, redis: Redis
) -> None:
    client = SegmentClient(redis)
    untaught_key, untaught = ask(bench, client)
    first = max(untaught.segments, key=lambda each: sum(each.runs.counts[1::2])).label
    second = next(label for label in LABELS if label != first)
    for number in range(1, 7):
        teach(bench, client, number, number, (first, second))
    good_key, good = ask(bench, client)
    assert good.model_version != untaught.model_version
    assert share(good, first, 0) > 0.9
    assert share(good, second, 1) > 0.9

    for number in range(7, 20):
        teach(bench, client, number, number, (second, first))
    bad_key, bad = ask(bench, client)
    assert bad_key != good_key
    assert share(bad, first, 0) < share(good, first, 0)

    client.corrections.forget("7", [str(number) for number in range(7, 20)])
    again_key, again = ask(bench, client)
    assert again_key == good_key
    assert again.segments == good.segments
    assert again.model_version == good.model_version

    client.corrections.forget("7", [str(number) for number in range(1, 7)])
    last_key, last = ask(bench, client)
    assert last_key == untaught_key
    assert last.segments == untaught.segments


def test_each_picture_of_a_task_is_answered(bench: Workbench) -> None:
    version = bench.segmenter.model_version
    labels = tuple(Label(name) for name in LABELS)
    both = SegmentRequest(image(1), labels, version, more=(image(2),))
    reply = answers.answer(both, bench.segmenter, bench.pictures)
    alone = [
        answers.answer(
            SegmentRequest(image(seed), labels, version), bench.segmenter, bench.pictures
        )
        for seed in (1, 2)
    ]
    assert [reply.segments, *(each.segments for each in reply.more)] == [
        each.segments for each in alone
    ]
    margins = [each.margin for each in alone if each.margin is not None]
    assert reply.margin == pytest.approx(sum(margins) / 2)


def test_of_several_pictures_the_one_that_is_none_is_named(bench: Workbench) -> None:
    labels = tuple(Label(name) for name in LABELS)
    broken = "data:image/png;base64,AAAA"
    asked = SegmentRequest(image(1), labels, bench.segmenter.model_version, more=(broken,))
    with pytest.raises(ImageError, match="image 2 of 2: "):
        answers.answer(asked, bench.segmenter, bench.pictures)


def test_what_is_marked_on_several_pictures_is_one_share(bench: Workbench, redis: Redis) -> None:
    client, store = SegmentClient(redis), PrototypeStore(redis)
    first, second = (
        tuple((name, to_runs(blocks(seed) == kind)) for kind, name in enumerate(LABELS[:2]))
        for seed in (1, 2)
    )
    counts = []
    for stamp, more in enumerate(((), ((image(2), second),))):
        asked = LearnRequest("7", "1", stamp, image(1), first, more=more)
        client.corrections.submit(asked)
        jobs.learn(bench, asked.to_json())
        held = unpack(store.shares("7")[1]["1"])
        assert held is not None
        counts.append(len(held))
    assert counts[1] > counts[0]
