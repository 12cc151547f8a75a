import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from backend.studio import following
from backend.studio.environment import studio_of_environment
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio
from tests.backend.worker_end import VERSION as BASE
from tests.backend.worker_end import XML, reply
from workers.messages import DELIVERY_QUEUE, SEGMENT_QUEUE, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, open_queue
from workers.queue.following import FollowingClient
from workers.queue.heartbeats import Announcement, announce
from workers.queue.progress import Following
from workers.queue.prototypes import PrototypeStore
from workers.queue.replies import store_failure, store_reply

PROJECT = "1"


@pytest.fixture
def client(announced: Redis) -> SegmentClient:
    return SegmentClient(announced, refresh_seconds=0)


@pytest.fixture(autouse=True)
def _environment(
    redis: Redis, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Project 1 with five tasks, of which four were predicted and one of those is annotated."""
    studio.label_config = XML
    studio.tasks = {1, 2, 3, 4, 5}
    studio.connect("DGL-RSIS", BASE)
    identity = SegmentClient(redis).identity
    studio.answers = lambda _url: [BASE, identity.challenged()]
    for task in (1, 2, 3, 4):
        predict(studio, task, BASE)
    studio.annotations.append({"id": 1, "task": 4})
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    studio_of_environment.cache_clear()
    yield
    studio_of_environment.cache_clear()


def predict(studio: FakeStudio, task: int, version: str) -> None:
    studio.add({"task": task, "result": [], "score": 0.5, "model_version": version})


def learn(redis: Redis, annotation: str = "11") -> str:
    """The version of project 1 after it learnt from an annotation."""
    store = PrototypeStore(redis)
    store.expect(PROJECT, annotation, 1, "4")
    return f"{BASE}+p{store.put(PROJECT, annotation, 1, annotation.encode())}"


def deliver(redis: Redis, *, due: bool = True) -> None:
    """A worker that empties the delivery queue; what is due some time is due now."""
    queue = open_queue(DELIVERY_QUEUE, redis)
    while True:
        if due:
            for job_id in queue.scheduled_job_registry.get_job_ids():
                queue.scheduled_job_registry.remove(job_id)
                job = queue.fetch_job(job_id)
                if job is not None and not job.id.startswith("delivery"):
                    queue.enqueue_job(job)
        if not len(queue):
            return
        due = False
        worker = SimpleWorker(
            [queue], connection=redis, job_class=AllowedJob, serializer=JSONSerializer
        )
        worker.work(burst=True)


def asked(redis: Redis) -> list[SegmentRequest]:
    """What waits for a segment worker, first things first."""
    jobs = open_queue(SEGMENT_QUEUE, redis).get_jobs()
    return [SegmentRequest.from_json(job.args[0]) for job in jobs]


def segment(redis: Redis, *tasks: int, fail: bool = False) -> None:
    """Do as a segment worker: answer what waits for some tasks, then the deliveries."""
    queue = open_queue(SEGMENT_QUEUE, redis)
    for job in queue.get_jobs():
        request = SegmentRequest.from_json(job.args[0])
        if tasks and int(request.task_id) not in tasks:
            continue
        if fail:
            store_failure(redis, request.key, "no such image")
        else:
            answer = reply()
            store_reply(redis, request.key, type(answer)(
                answer.height, answer.width, request.model_version, answer.segments
            ), 3600)  # fmt: skip
        queue.remove(job.id)
        job.set_status("finished")  # type: ignore[arg-type]
        queue.enqueue_dependents(job)
    deliver(redis, due=False)


def test_the_first_prediction_fills_the_column(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    client.follow_now(PROJECT)
    deliver(announced)
    assert studio.shown == studio.backends[0]["title"] == BASE
    assert studio.column() == {1: True, 2: True, 3: True, 4: True, 5: False}
    assert client.project_note(PROJECT) == ""
    assert asked(announced) == [], "tasks that nobody predicted are not asked for"


def test_after_learning_open_tasks_are_predicted_anew_and_shown_only_then(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    client.follow_now(PROJECT)
    deliver(announced)
    version = learn(announced)
    client.following.changed(PROJECT)
    deliver(announced)
    assert [request.task_id for request in asked(announced)] == ["1", "2", "3"]
    assert {r.prototypes for r in asked(announced)} == {f"1@{version.partition('+p')[2]}"}
    for task in (1, 2):
        segment(announced, task)
        assert studio.shown == BASE, "the column would be blank for task 3"
    segment(announced, 3)
    assert studio.shown == studio.backends[0]["title"] == version
    assert studio.history == [BASE, version]


def test_a_task_whose_prediction_fails_holds_up_nothing(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    version = learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    segment(announced, 1, 2)
    segment(announced, 3, fail=True)
    assert studio.shown == version


def test_each_task_is_asked_for_once(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    segment(announced, 3, fail=True)
    before = [request.key for request in asked(announced)]
    for _ in range(3):
        client.follow_now(PROJECT)
        deliver(announced)
    assert [request.key for request in asked(announced)] == before


def test_a_newer_version_drops_what_waits_for_an_older_one(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    version = learn(announced, "12")
    client.follow_now(PROJECT)
    deliver(announced)
    assert {request.model_version for request in asked(announced)} == {version}
    assert len(asked(announced)) == 3
    assert open_queue(DELIVERY_QUEUE, announced).deferred_job_registry.count == 3


def test_what_somebody_waits_for_is_not_dropped(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    """Somebody opened another task of the same image, and no delivery says so."""
    learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    awaited, *_ = asked(announced)
    client.submit([replace(awaited, task_id="99")], project=PROJECT)
    learn(announced, "12")
    client.follow_now(PROJECT)
    deliver(announced)
    assert awaited.key in {request.key for request in asked(announced)}


def test_the_former_version_comes_back_without_any_work(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    segment(announced)
    client.corrections.reset(PROJECT)
    deliver(announced)
    assert studio.shown == BASE
    assert asked(announced) == []


def test_another_model_is_not_predicted_with_but_waited_for(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    client.follow_now(PROJECT)
    deliver(announced)
    other = "dgl-rsis-0.1.0-larger-89abcdef"
    announce(announced, Announcement(other, "cpu", 1.0))
    predict(studio, 1, other)
    client.follow_now(PROJECT)
    deliver(announced)
    assert asked(announced) == []
    assert studio.shown == BASE
    for task in (2, 3):
        predict(studio, task, other)
        client.following.landed(PROJECT, other, task, "key")
    deliver(announced)
    assert studio.shown == other


def test_only_so_many_are_in_work_and_then_the_next(
    client: SegmentClient, announced: Redis, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MOST_MISSING", 2)
    monkeypatch.setattr(following, "PAGE", 2)
    studio.tasks = set(range(1, 12))
    for task in range(5, 12):
        predict(studio, task, BASE)
    version = learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    done: list[str] = []
    while waiting := asked(announced):
        assert len(waiting) <= 2
        done += [request.task_id for request in waiting]
        segment(announced)
        deliver(announced)
    assert done == [str(task) for task in range(1, 12) if task != 4]
    assert studio.shown == version


def test_the_tasks_of_a_version_are_walked_once(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    client.follow_now(PROJECT)
    deliver(announced)
    walked = studio.calls.count("GET /api/tasks/")
    assert walked
    for _ in range(3):
        client.follow_now(PROJECT)
        deliver(announced)
    assert studio.calls.count("GET /api/tasks/") == walked


def test_what_never_came_is_looked_for_after_a_while(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    version = learn(announced)
    client.follow_now(PROJECT)
    deliver(announced)
    for task in (1, 2):
        predict(studio, task, version)  # nobody heard of it
    studio.annotations.append({"id": 2, "task": 3})
    deliver(announced)  # the look that was to come some time
    assert studio.shown == version


def test_a_choice_that_is_not_ours_stays_and_is_said_once(
    client: SegmentClient, announced: Redis, studio: FakeStudio, caplog: pytest.LogCaptureFixture
) -> None:
    studio.shown = "human-v1"
    for _ in range(2):
        client.follow_now(PROJECT)
        deliver(announced)
    assert studio.history == []
    assert f"write {BASE} as Name" in client.project_note(PROJECT)
    assert caplog.text.count("as Name") == 1


def test_without_a_token_it_is_said_what_to_set(
    client: SegmentClient, announced: Redis, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    client.follow_now(PROJECT)
    deliver(announced)
    note = client.project_note(PROJECT)
    assert "Settings → Model" in note
    assert "LABEL_STUDIO_API_KEY" in note
    assert studio.calls == []


def test_label_studio_away_is_tried_again_later(
    client: SegmentClient, announced: Redis, studio: FakeStudio
) -> None:
    studio.troubles = [503]
    client.follow_now(PROJECT)
    deliver(announced)
    assert client.project_note(PROJECT) == ""
    deliver(announced)
    assert studio.shown == BASE


def test_corrections_wait_for_quiet_but_not_for_ever(redis: Redis) -> None:
    queue = open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry
    impatient = FollowingClient(redis, 100)
    impatient.changed(PROJECT)
    ((job, first),) = redis.zrange(queue.key, 0, -1, withscores=True)
    assert first == pytest.approx(time.time() + 100, abs=3)
    redis.zadd(queue.key, {job: time.time() + 10})
    impatient.later(PROJECT, 5)
    impatient.later(PROJECT)
    assert redis.zscore(queue.key, job) == pytest.approx(time.time() + 10, abs=3)
    impatient.changed(PROJECT)
    assert redis.zscore(queue.key, job) == pytest.approx(time.time() + 100, abs=3)
    redis.hset(AllowedJob.key_for(job.decode()), "latest", round(time.time() + 30))
    impatient.changed(PROJECT)
    assert redis.zscore(queue.key, job) == pytest.approx(time.time() + 30, abs=3)
    impatient.now(PROJECT)
    assert redis.zcard(queue.key) == 0
    assert open_queue(DELIVERY_QUEUE, redis).get_job_ids() == [job.decode()]


def test_one_job_of_a_project_at_a_time(redis: Redis) -> None:
    first = Following(redis, PROJECT)
    assert first.begin("a")
    assert first.begin("a"), "a job that was recovered must pass"
    assert not Following(redis, PROJECT).begin("b")
    assert Following(redis, "2").begin("c")
    first.end()
    assert Following(redis, PROJECT).begin("b")


def test_setup_asks_once_in_a_while(redis: Redis) -> None:
    client = FollowingClient(redis)
    for _ in range(5):
        client.called(PROJECT)
        client.called("")
    assert open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry.count == 1
