from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from backend.project import label_config
from backend.regions.writing import to_prediction, to_predictions
from backend.studio import delivery
from backend.studio.client import StudioClient, StudioError
from backend.studio.delivery import LOST, NotYetError, Run, deliver_request
from backend.studio.environment import studio_of_environment
from dgl_rsis.runs import Runs
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio
from workers.messages import DELIVERY_QUEUE, DeliveryRequest, SegmentReply, SegmentResult
from workers.queue.asking import DELIVERY_RETRY_SECONDS
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, delivery_job_id, open_queue
from workers.queue.replies import store_failure, store_reply

KEY = "0" * 32
VERSION = "dgl-rsis-test"
OWNER = "delivery-1"
Push = Callable[..., str]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="water"/></BrushLabels></View>'
)
REPLY = SegmentReply(2, 3, VERSION, (SegmentResult("water", 0.75, "class", Runs(2, 3, (1, 3, 2))),))


@pytest.fixture(autouse=True)
def _connected(connected: FakeStudio) -> None:
    """Project 1 is, with the label config that the deliveries were asked for under."""
    connected.label_config = CONFIG


@pytest.fixture
def request_1(client: SegmentClient) -> DeliveryRequest:
    """A claimed delivery to task 1, as the web side leaves it."""
    client.claim_push(1, KEY)
    return DeliveryRequest(1, KEY, client.store_config(CONFIG), "1")


@pytest.fixture
def push(client: SegmentClient, rest: StudioClient, request_1: DeliveryRequest) -> Push:
    """`push()`: one try of the delivery to task 1, or of another one that is given."""
    return lambda request=request_1: deliver_request(Run(request, client, rest, OWNER))


def candidates() -> SegmentReply:
    """Of an expression."""
    masks = (Runs(2, 3, (1, 3, 2)), Runs(2, 3, (4, 2)))
    results = [SegmentResult("water", 1 / n, "candidate", m) for n, m in enumerate(masks, 1)]
    return SegmentReply(2, 3, VERSION, tuple(results))


def test_every_candidate_is_pushed_once_also_after_half_a_push(
    redis: Redis, studio: FakeStudio, rest: StudioClient, push: Push
) -> None:
    store_reply(redis, KEY, candidates(), 60)
    first, second = to_predictions(candidates(), label_config.parse(CONFIG), VERSION)
    rest.push(1, first)  # by a try that ended in the middle
    assert push() == "stored"
    assert [p["score"] for p in rest.predictions(1)] == [first["score"], second["score"]]
    assert first["score"] < second["score"], "Label Studio opens the one that was stored last"
    assert push() == "stored before"
    assert len(rest.predictions(1)) == 2


@pytest.fixture
def reply(redis: Redis) -> SegmentReply:
    store_reply(redis, KEY, REPLY, 60)
    return REPLY


def test_the_masks_are_stored_under_the_version(
    push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    assert push() == "stored"

    (stored,) = studio.predictions
    expected = to_prediction(reply, label_config.parse(CONFIG), VERSION)
    assert expected["result"]
    assert {name: stored[name] for name in expected} == expected
    assert stored["task"] == 1


def test_an_image_without_anything_of_the_vocabulary_is_stored_once_and_for_all(
    client: SegmentClient, push: Push, studio: FakeStudio, redis: Redis
) -> None:
    store_reply(redis, KEY, SegmentReply(2, 3, VERSION, ()), 60)
    assert push() == "stored"
    (stored,) = studio.predictions
    assert (stored["result"], stored["score"], stored["model_version"]) == ([], 0.0, VERSION)
    client.release(1, KEY, 0)
    assert push() == "stored before"


def test_twice_delivered_is_once_stored(
    client: SegmentClient, push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    push()
    client.release(1, KEY, 0)

    assert push() == "stored before"
    assert len(studio.predictions) == 1


def test_a_prediction_of_another_version_is_no_obstacle(
    push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    studio.add({"task": 1, "result": [], "model_version": "older"})

    assert push() == "stored"
    assert [p["model_version"] for p in studio.predictions] == ["older", VERSION]


def test_a_lost_answer_does_not_store_twice(
    push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    studio.lose_answers = True
    with pytest.raises(StudioError, match="502"):
        push()

    assert push() == "stored before"
    assert len(studio.predictions) == 1


def test_a_pending_segmentation_is_waited_for(
    client: SegmentClient, push: Push, studio: FakeStudio, redis: Redis
) -> None:
    redis.hset(f"rq:job:segment-{KEY}", "status", "started")
    with pytest.raises(NotYetError, match="is not finished"):
        push()
    assert studio.calls == []
    assert client.claim_open(1, KEY, "open", 10), "an open could not take over"


def test_a_segmentation_that_was_lost_ends_the_delivery_and_is_said(
    client: SegmentClient, push: Push, studio: FakeStudio
) -> None:
    client.deliver([DeliveryRequest(1, KEY, "", "1")])
    assert push() == LOST
    assert standing(client) == ("failed", LOST)
    assert client.failures()[0].message == LOST
    assert studio.calls == []
    assert client.claim_open(1, KEY, "open", 10), "the claim was not released"


def test_a_failed_segmentation_ends_the_delivery(
    push: Push, studio: FakeStudio, redis: Redis
) -> None:
    store_failure(redis, KEY, "the image is empty")

    assert push() == "impossible: the image is empty"
    assert studio.calls == []


def test_an_open_that_answers_goes_first(
    client: SegmentClient, push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    assert client.claim_open(1, KEY, "open", 10)
    with pytest.raises(NotYetError, match="opened"):
        push()

    studio.add({"task": 1, **to_prediction(reply, label_config.parse(CONFIG), VERSION)})
    client.release(1, KEY, 0)
    assert push() == "stored before"


def test_an_open_that_gave_up_leaves_it_to_the_delivery(
    client: SegmentClient, push: Push, reply: SegmentReply
) -> None:
    client.claim_open(1, KEY, "open", 10)
    client.release(1, KEY, 0)

    assert push() == "stored"


def test_label_studio_down_keeps_the_delivery_and_lets_opens_pass(
    client: SegmentClient, push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    studio.troubles = [503]
    with pytest.raises(StudioError) as caught:
        push()
    assert caught.value.retry
    assert client.claim_open(1, KEY, "open", 10)


@pytest.mark.parametrize("task", [1, 99])
def test_a_refusal_for_good_ends_the_delivery(
    task: int,
    request_1: DeliveryRequest,
    client: SegmentClient,
    push: Push,
    studio: FakeStudio,
    reply: SegmentReply,
) -> None:
    studio.troubles = [400]
    request = DeliveryRequest(task, KEY, request_1.config, "1")

    outcome = push(request)

    assert outcome.startswith("refused: Label Studio answered 400")
    assert client.failures()[0].message == outcome
    assert studio.predictions == []
    assert client.claim_push(task, KEY), "the claim was not released"


def test_the_label_config_is_that_of_label_studio(
    client: SegmentClient, push: Push, studio: FakeStudio, reply: SegmentReply
) -> None:
    """What was sent with the request may be forged, and is forgotten after a while."""
    assert push(DeliveryRequest(1, KEY, "f" * 64, "1")) == "stored"
    expected = to_prediction(reply, label_config.parse(CONFIG), VERSION)
    assert studio.predictions[0]["result"] == expected["result"]


def test_the_queue_tries_again_until_label_studio_answers(
    request_1: DeliveryRequest,
    client: SegmentClient,
    studio: FakeStudio,
    reply: SegmentReply,
    redis: Redis,
    environment: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = open_queue(DELIVERY_QUEUE, redis)
    job_id = delivery_job_id(1, KEY, "1")
    studio.troubles = [503]
    client.deliver([request_1])

    work(redis)
    assert "Traceback" not in caplog.text
    assert queue.scheduled_job_registry.get_job_ids() == [job_id], "it is not tried again"
    assert studio.predictions == []

    queue.scheduled_job_registry.remove(job_id)
    job = queue.fetch_job(job_id)
    assert job is not None
    queue.enqueue_job(job)  # what the scheduler does when the time has come
    work(redis)

    assert len(studio.predictions) == 1
    assert queue.scheduled_job_registry.count == queue.failed_job_registry.count == 0


@pytest.mark.parametrize("trouble", ["down", "bug"])
def test_after_the_last_try_it_is_given_up_and_stands_on_the_status_page(
    request_1: DeliveryRequest,
    client: SegmentClient,
    studio: FakeStudio,
    reply: SegmentReply,
    redis: Redis,
    environment: None,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if trouble == "bug":
        monkeypatch.setattr(delivery, "to_predictions", lambda *_: 1 / 0)
    else:
        studio.troubles = [503] * 2
    client.deliver([request_1])
    queue = open_queue(DELIVERY_QUEUE, redis)
    job = queue.fetch_job(delivery_job_id(1, KEY, "1"))
    assert job is not None
    redis.hset(job.key, "number_of_retries", len(DELIVERY_RETRY_SECONDS) - 1)

    work(redis)
    assert client.failures() == []
    queue.scheduled_job_registry.remove(job)
    queue.enqueue_job(AllowedJob.fetch(job.id, redis, JSONSerializer))
    work(redis)

    (failure,) = client.failures()
    assert (failure.stage, failure.task_id, failure.project) == ("delivery", "1", "1")
    assert standing(client) == ("given-up", failure.message)
    cause = {"down": "Label Studio answered 503", "bug": "under job delivery-1-"}[trouble]
    assert failure.message.startswith("given up after 25 tries: ")
    assert cause in failure.message
    assert queue.scheduled_job_registry.count == queue.failed_job_registry.count == 0
    assert caplog.text.count("Traceback") == (2 if trouble == "bug" else 0)


def test_one_line_tells_the_task_and_the_outcome(
    request_1: DeliveryRequest,
    client: SegmentClient,
    redis: Redis,
    environment: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store_failure(redis, KEY, "the image is empty")
    client.deliver([request_1])

    with caplog.at_level("INFO", logger="backend.studio.delivery"):
        work(redis)

    assert standing(client) == ("failed", "the image is empty")
    lines = [r.getMessage() for r in caplog.records if r.name == "backend.studio.delivery"]
    assert lines == ["task 1: prediction impossible: the image is empty"]


def test_a_worker_that_does_not_know_label_studio_says_so_and_loses_nothing(
    request_1: DeliveryRequest,
    client: SegmentClient,
    redis: Redis,
    reply: SegmentReply,
    environment: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    client.deliver([request_1])
    with caplog.at_level("INFO", logger="backend.studio.delivery"):
        work(redis)
    assert "task 1: prediction not stored by try 1: the delivery worker does not" in caplog.text
    assert "Traceback" not in caplog.text
    assert LEGACY_TOKEN not in caplog.text
    assert open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry.count == 1


def test_the_ledger_is_told_of_each_try(
    request_1: DeliveryRequest,
    client: SegmentClient,
    studio: FakeStudio,
    reply: SegmentReply,
    redis: Redis,
    environment: None,
) -> None:
    studio.troubles = [503] * 2
    client.deliver([request_1])
    assert standing(client) == ("queued", "")
    work(redis)
    state, reason = standing(client)
    assert state == "delivery"
    assert reason.startswith("try 1 of 25: Label Studio answered 503")
    client.deliver([request_1])  # asked for again: it goes at once
    studio.troubles = []
    work(redis)
    assert standing(client) == ("delivered", "")
    client.deliver([request_1])
    assert standing(client) == ("delivered", "")


def standing(client: SegmentClient) -> tuple[str, str]:
    """State and reason of task 1."""
    entry = client.ledger.entry("1", "1")
    assert entry is not None
    return entry.state, entry.reason


@pytest.fixture
def environment(studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Variables of a delivery worker that knows the fake Label Studio."""
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    studio_of_environment.cache_clear()
    yield
    studio_of_environment.cache_clear()


def work(redis: Redis) -> None:
    """A worker that empties the delivery queue."""
    worker = SimpleWorker(
        [open_queue(DELIVERY_QUEUE, redis)], connection=redis, job_class=AllowedJob,
        serializer=JSONSerializer,
    )  # fmt: skip
    worker.work(burst=True)
