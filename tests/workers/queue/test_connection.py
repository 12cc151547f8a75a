import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from redis import Redis, TimeoutError
from redis.exceptions import ResponseError
from rq import Retry
from rq.callbacks import Callback
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from backend.studio import delivery
from workers.queue.connection import MOST_OUTAGES, AllowedJob, ForbiddenJobError, open_queue
from workers.queue.servers import connect


@pytest.mark.parametrize(
    "function", ["os.system", "workers.processes.jobs.answer", "subprocess.run", "eval"]
)
def test_only_functions_on_the_list_are_resolved(redis: Redis, function: str) -> None:
    queue = open_queue("segment", redis)
    job = queue.enqueue(function, "true")
    with pytest.raises(ForbiddenJobError, match="is not allowed"):
        AllowedJob.fetch(job.id, redis, JSONSerializer).perform()


def test_a_method_of_a_value_is_not_resolved(redis: Redis) -> None:
    job = AllowedJob(connection=redis, serializer=JSONSerializer)
    job.data = JSONSerializer.dumps(["workers.processes.jobs.segment", "a value", [], {}])
    with pytest.raises(ForbiddenJobError):
        job.perform()


def test_the_listed_functions_are_resolved(redis: Redis) -> None:
    job = open_queue("delivery", redis).create_job("backend.studio.delivery.deliver", args=[{}])
    assert job.func.__name__ == "deliver"


def test_a_job_for_a_model_gets_what_its_worker_has_at_hand(redis: Redis) -> None:
    job = open_queue("segment", redis).create_job("workers.processes.jobs.segment", args=[{}])
    with pytest.raises(ForbiddenJobError, match="only a segment worker runs it"):
        job.perform()
    job.bench = bench = object()
    assert (job.func.func.__name__, job.func.args) == ("segment", (bench,))


def test_callbacks_and_webhooks_in_redis_are_ignored(redis: Redis) -> None:
    queue = open_queue("segment", redis)
    written = queue.enqueue(
        "workers.processes.jobs.segment",
        {},
        on_success=Callback("os.system"),
        on_failure=Callback("os.system"),
        on_stopped=Callback("os.system"),
        webhooks=[Webhook("http://127.0.0.1:9/", job_status="failed")],
    )
    job = AllowedJob.fetch(written.id, redis, JSONSerializer)
    assert job._success_callback_name == "os.system"  # it is in Redis
    assert job.success_callback is None
    assert job.failure_callback is None
    assert job.stopped_callback is None
    assert not job.webhooks
    job.send_webhooks("failed")  # would log a refused connection


def test_every_thread_of_a_web_server_has_a_connection(valkey: str) -> None:
    client = connect(valkey)
    threads, all_at_once = 128, Barrier(128)

    def ask(_: int) -> object:
        all_at_once.wait(20)
        return client.blpop(["nothing"], timeout=0.3)

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(ask, range(threads))) == [None] * threads
    client.close()


def test_a_server_that_is_silent_is_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", 2.0)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.get("a")
        assert time.monotonic() - started < 3.9  # twice would be four seconds


def test_a_kept_connection_that_died_is_replaced(valkey: str, redis: Redis) -> None:
    client = connect(valkey)
    redis.client_kill_filter(_id=client.client_id())  # as a restart of the server would
    assert client.get("a") is None
    client.close()


def test_what_the_server_keeps_a_job_from_is_put_off(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(delivery, "deliver", away)
    queue = open_queue("delivery", redis)
    job = queue.create_job("backend.studio.delivery.deliver", args=[{}])
    put_off = job.perform()
    assert isinstance(put_off, Retry)
    assert put_off.max == MOST_OUTAGES
    assert "is put off: the queue's server is full" in caplog.text
    job.number_of_retries = MOST_OUTAGES
    with pytest.raises(ResponseError):
        job.perform()
    tried = queue.create_job("backend.studio.delivery.deliver", args=[{}], retry=Retry(max=2))
    with pytest.raises(ResponseError):  # RQ counts these itself
        tried.perform()


def test_jobs_are_json(redis: Redis) -> None:
    job = open_queue("segment", redis).enqueue("workers.processes.jobs.segment", {"image": "ä"})
    assert job.data == b'["workers.processes.jobs.segment", null, [{"image": "\\u00e4"}], {}]'
