import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from rq.job import Job

from backend.project.tasks import one_line
from backend.web.metrics import Metrics
from backend.web.service import Answer, PredictionService, open_client
from backend.web.settings import Settings
from tests.backend.web.serving import service
from tests.backend.worker_end import (
    PROJECT,
    VERSION,
    XML,
    answer,
    answering_later,
    candidates,
    key_of,
    reply,
    task,
    waiting,
)
from workers.messages import DELIVERY_QUEUE, SegmentReply
from workers.queue import replies
from workers.queue.claims import claim_key
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.queue.handover import WAITING_KEY
from workers.queue.heartbeats import Announcement, announce
from workers.queue.prototypes import PrototypeStore

STUDIO = {"label_studio_url": "http://127.0.0.1:1", "label_studio_api_key": "0123456789"}
UNREACHABLE = "redis://127.0.0.1:1/0"


def predict(service: PredictionService, *tasks: Any, xml: str = XML) -> list[Answer]:
    return list(service.predict(PROJECT, xml, tasks))


def test_one_task_is_answered_when_its_masks_arrive_in_time(announced: Redis) -> None:
    with answering_later(announced, 0.2, task(1)):
        (prediction,) = predict(service(announced, single_task_seconds=5), task(1))
    assert isinstance(prediction, dict)
    assert prediction["model_version"] == VERSION
    assert prediction["result"][0]["value"]["brushlabels"] == ["ship"]
    assert waiting(announced)["delivery"] == 0


def test_a_prediction_stands_under_what_its_reply_was_computed_with(announced: Redis) -> None:
    """The project may have learnt something while the task waited."""
    newer = replace(reply(), model_version=f"{VERSION}+p12345678")
    replies.store_reply(announced, key_of(task(1)), newer, 60)
    (prediction,) = predict(service(announced), task(1))
    assert isinstance(prediction, dict)
    assert prediction["model_version"] == f"{VERSION}+p12345678"


@pytest.mark.parametrize("project", ["1", "1.1795419101", "1.other"])
def test_what_a_project_learnt_survives_an_outage_however_it_is_named(
    announced: Redis, project: str
) -> None:
    store = PrototypeStore(announced)
    store.expect("1", "11", 1, "5")
    revision = store.put("1", "11", 1, b"share")
    serving = service(announced)
    assert serving.model_version(PROJECT) == f"{VERSION}+p{revision}"
    good, serving.client = serving.client, SegmentClient.from_url(UNREACHABLE)
    assert serving.model_version(project) == f"{VERSION}+p{revision}"
    assert serving.model_version("2") == VERSION
    serving.client, serving._asks_again_at = good, 0.0
    good.corrections.reset("1")
    assert serving.model_version(PROJECT) == VERSION
    assert serving._last_prototypes == {}


def test_one_task_that_is_late_stays_for_the_next_call(announced: Redis) -> None:
    serving = service(announced)
    assert predict(serving, task(1)) == [[]]
    assert waiting(announced) == {"segment": 1, "delivery": 0}
    answer(announced, task(1))
    assert predict(serving, task(1))[0]
    assert waiting(announced)["segment"] == 1  # not queued again


def test_one_task_that_is_late_is_delivered_when_label_studio_is_known(announced: Redis) -> None:
    assert predict(service(announced, **STUDIO), task(1)) == [[]]
    assert announced.exists(f"rq:job:delivery-1-1-{key_of(task(1))}")
    assert not waiting(announced)["delivery"]  # it waits for the segment job


def test_a_batch_is_answered_at_once_and_delivered_when_label_studio_is_known(
    announced: Redis,
) -> None:
    tasks = [task(number) for number in range(1, 251)]
    answer(announced, tasks[0])
    started = time.monotonic()
    assert predict(service(announced, **STUDIO, batch_seconds=60), *tasks) == [[]] * 250
    assert time.monotonic() - started < 5
    assert waiting(announced) == {"segment": 249, "delivery": 1}
    ledger = SegmentClient(announced).ledger
    assert ledger.projects(9)[0].counts["queued"] == 250
    asked = ledger.entry("1", "250")
    assert asked is not None
    assert asked.key == key_of(task(250))
    assert SegmentClient(announced).config(asked.config) == XML
    assert len(announced.keys("rq:job:delivery-*")) == 250


def test_a_batch_waits_and_returns_what_is_done_without_label_studio(announced: Redis) -> None:
    tasks = [task(number) for number in (1, 2, 3)]
    answer(announced, tasks[2])
    with answering_later(announced, 0.2, tasks[0]):
        answers = predict(service(announced, batch_seconds=1), *tasks)
    assert [bool(one) for one in answers] == [True, False, True]
    counts = SegmentClient(announced).ledger.projects(9)[0].counts
    assert (counts["answered"], counts["queued"]) == (2, 1)
    assert not announced.keys("rq:job:delivery-*")


def test_bad_tasks_get_nothing_and_the_others_are_served(
    announced: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    serving = service(announced)
    failing = task(4)
    replies.store_failure(announced, key_of(failing), "the image is cut short: export it again")
    answer(announced, task(5))
    bad = [task(1, bild="a.png"), task(2, image=""), task(3, image=7), failing, "no task", {}]
    caplog.set_level(logging.WARNING)
    answers = predict(serving, *bad, task(5))
    assert answers[:-1] == [[]] * 6
    assert answers[-1]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [
        f"task {name} gets []" for name in ("1", "2", "3", "?", "?", "4")
    ]
    assert "no 'image'" in lines[0]
    assert "cut short" in lines[-1]
    recorded = reversed(serving.client.failures())  # the last one is the job's to record
    assert [(f.stage, f.task_id) for f in recorded] == [("predict", n) for n in "123??"]


def test_a_reply_that_cannot_be_read_costs_its_task_only(
    announced: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    announced.set(replies.reply_key(key_of(task(1))), b"no reply")
    answer(announced, task(2))
    answers = predict(service(announced), task(1), task(2))
    assert [bool(one) for one in answers] == [False, True]
    assert "task 1 gets []" in caplog.text


def test_a_config_without_a_usable_control_gives_nothing(
    announced: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    xml = '<View><Image name="image" value="$image"/></View>'
    assert predict(service(announced), task(1), task(2), xml=xml) == [[], []]
    assert waiting(announced)["segment"] == 0
    assert "no usable control" in caplog.text


def test_two_parallel_opens_give_one_prediction(announced: Redis) -> None:
    opens = [service(announced, single_task_seconds=5) for _ in range(2)]
    with answering_later(announced, 0.3, task(1)), ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda serving: predict(serving, task(1)), opens))
    assert sorted(bool(prediction) for (prediction,) in answers) == [False, True]
    assert waiting(announced)["segment"] == 1


def test_a_task_of_a_batch_is_not_answered_twice_while_the_batch_waits_and_is_stored(
    announced: Redis,
) -> None:
    serving = service(announced, batch_seconds=30)
    answer(announced, task(1))
    batch = serving.predict(PROJECT, XML, [task(1), task(2)])
    assert next(batch)
    assert 80 < announced.ttl(claim_key(1, key_of(task(1)))) <= 90
    assert predict(serving, task(1)) == [[]]
    batch.close()  # type: ignore[attr-defined]


def test_tasks_with_one_image_are_computed_once_and_each_is_answered(announced: Redis) -> None:
    twins = [task(number, image="/data/upload/1/same.png") for number in (1, 2, 3)]
    serving = service(announced, batch_seconds=5)
    with answering_later(announced, 0.2, twins[0]):
        answers = predict(serving, *twins)
    assert waiting(announced)["segment"] == 1
    assert all(isinstance(one, dict) and one["result"] for one in answers)
    again = service(announced, **STUDIO)
    announced.flushdb()
    announce(announced, Announcement(VERSION, "cpu", 0.0))
    assert predict(again, *twins) == [[]] * 3
    assert waiting(announced)["segment"] == 1
    assert len(announced.keys("rq:job:delivery-*")) == 3


def test_a_task_that_comes_twice_in_a_batch_is_answered_once(announced: Redis) -> None:
    answer(announced, task(1))
    answers = predict(service(announced), task(1), task(1))
    assert [bool(one) for one in answers] == [True, False]


def test_an_image_without_anything_of_the_vocabulary_is_an_answer(announced: Redis) -> None:
    replies.store_reply(announced, key_of(task(1)), SegmentReply(20, 30, VERSION, ()), 60)
    nothing = {"result": [], "score": 0.0, "model_version": VERSION}
    assert predict(service(announced), task(1)) == [nothing]


def test_a_task_that_is_being_delivered_gets_nothing(announced: Redis) -> None:
    serving = service(announced, **STUDIO)
    answer(announced, task(1))
    predict(serving, task(1), task(2))
    assert SegmentClient(announced).begin_push(1, key_of(task(1)), "the job")
    assert predict(serving, task(1)) == [[]]


def test_an_open_takes_over_from_a_delivery_that_waits(announced: Redis) -> None:
    serving = service(announced, **STUDIO)
    predict(serving, task(1), task(2))
    answer(announced, task(1))
    assert predict(serving, task(1)) != [[]]
    assert not SegmentClient(announced).begin_push(1, key_of(task(1)), "the job")


def test_a_task_that_is_opened_goes_before_a_batch(announced: Redis) -> None:
    serving = service(announced)
    predict(serving, task(1), task(2))
    predict(serving, task(3))
    first = announced.lindex("rq:queue:segment", 0)
    assert first == f"segment-{key_of(task(3))}".encode()


def test_the_candidates_of_an_expression_are_predictions_of_one_task(announced: Redis) -> None:
    asked = task(1, image="/data/upload/1/a.png", expression="the grey ship")
    replies.store_reply(announced, key_of(asked), candidates(0.8, 0.5), 3600)
    (predictions,) = predict(service(announced), asked)
    assert isinstance(predictions, list)
    assert [prediction["score"] for prediction in predictions] == [0.5, 0.8]
    assert {prediction["model_version"] for prediction in predictions} == {VERSION}
    assert key_of(asked) != key_of(task(1, image="/data/upload/1/a.png"))


def test_without_a_worker_ever_nothing_is_queued_and_setup_says_so(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    serving = service(redis)
    assert "no-worker-yet" in serving.setup(PROJECT, XML)
    assert predict(serving, task(1)) == [[]]
    assert waiting(redis)["segment"] == 0
    assert caplog.text.count("no segment worker has announced its model yet") == 2


def test_setup_says_what_is_wrong_with_the_config(
    announced: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    assert service(announced).setup(PROJECT, "<View/>") == VERSION
    assert f"project {PROJECT}: The label config has no usable control" in caplog.text


def test_without_redis_setup_is_quick_and_tasks_get_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(redis_url=UNREACHABLE)
    serving = PredictionService(open_client(settings), settings, Metrics())
    started = time.monotonic()
    assert "no-worker-yet" in serving.setup(PROJECT, XML)
    assert time.monotonic() - started < 3
    assert predict(serving, task(1), task(2)) == [[], []]
    assert "2 tasks get []: the queue does not answer" in caplog.text


def test_the_version_survives_an_outage_of_redis(announced: Redis) -> None:
    serving = service(announced)
    assert serving.model_version() == VERSION
    serving.client = open_client(Settings(redis_url=UNREACHABLE))
    assert serving.model_version() == VERSION


def test_only_some_threads_wait(announced: Redis) -> None:
    serving = service(announced, threads=2, single_task_seconds=5)
    with ThreadPoolExecutor() as pool:
        started = time.monotonic()
        waits = pool.submit(predict, serving, task(1))
        time.sleep(0.3)
        assert predict(serving, task(2)) == [[]]
        assert time.monotonic() - started < 5
        assert waits.result() == [[]]
        assert time.monotonic() - started >= 5


def test_a_waiting_slot_is_given_back_when_the_caller_goes_away(announced: Redis) -> None:
    serving = service(announced, threads=2)
    answer(announced, task(1), task(2))
    gone = serving.predict(PROJECT, XML, [task(1), task(2)])
    assert next(gone)
    gone.close()  # type: ignore[attr-defined]
    started = time.monotonic()
    predict(serving, task(3))
    assert time.monotonic() - started >= 0.3


def test_no_redis_url_is_an_error() -> None:
    with pytest.raises(ValueError, match="REDIS_URL is not set"):
        open_client(Settings())


def test_text_from_outside_stays_on_its_line() -> None:
    assert one_line("7\n2026 root logged in\x1b[2J") == "7 2026 root logged in [2J"
    assert len(one_line("x" * 10_000)) == 500


def test_setup_is_quick_when_redis_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        serving = PredictionService(open_client(settings), settings, Metrics())
        started = time.monotonic()
        assert "no-worker-yet" in serving.setup(PROJECT, XML)
        assert time.monotonic() - started < 3  # then Label Studio gives up


def test_setup_does_not_wait_again_for_a_queue_that_hung_a_moment_ago(announced: Redis) -> None:
    serving = service(announced)
    assert serving.setup(PROJECT, XML) == VERSION
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        serving.client = open_client(Settings(redis_url=url))
        assert serving.setup(PROJECT, XML) == VERSION  # waits once
        started = time.monotonic()
        assert [serving.setup(PROJECT, XML) for _ in range(10)] == [VERSION] * 10
        assert time.monotonic() - started < 5  # waiting each time would be ten seconds


def test_the_first_answer_of_a_version_and_setup_have_the_project_followed(
    announced: Redis,
) -> None:
    scheduled = open_queue(DELIVERY_QUEUE, announced).scheduled_job_registry
    answer(announced, task(1), task(2))
    predict(service(announced), task(1))
    (job,) = scheduled.get_job_ids()
    assert job.startswith("follow-1-")
    announced.delete(scheduled.key, "dgl:following:1:job")
    predict(service(announced), task(2))
    assert scheduled.count == 0, "the second prediction asked again"
    for _ in range(3):
        service(announced).setup(PROJECT, XML)
    assert scheduled.count == 1


def test_deliveries_name_their_project(announced: Redis) -> None:
    predict(service(announced, **STUDIO), task(1), task(2))
    deliveries = [job.args[0] for job in _deferred(announced)]
    assert {delivery["project"] for delivery in deliveries} == {"1"}


def _deferred(redis: Redis) -> list[Job]:
    queue = open_queue(DELIVERY_QUEUE, redis)
    jobs = [queue.fetch_job(job_id.decode()) for job_id in redis.zrange(WAITING_KEY, 0, -1)]
    return [job for job in jobs if job is not None]
