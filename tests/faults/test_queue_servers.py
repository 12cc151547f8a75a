"""However operators run the queue's server, work goes on, or the cause and the way out are said."""

import logging
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from backend.commands.refusals import REFUSED
from backend.web.app import create_app
from backend.web.service import open_client
from backend.web.settings import Settings
from tests.backend.commands.command_line import dgl_rsis
from tests.queue_servers import HOST, Certificates, behind_tls, certificates, sentinel, server
from tests.workers import fake_worker
from tests.workers.fake_worker import request
from tests.workers.worker_processes import until
from workers.messages import SegmentReply
from workers.processes.queue_worker import QueueWorker
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError, open_queue
from workers.queue.server_checks import check
from workers.queue.servers import connect, connect_worker

FORKED = multiprocessing.get_context("forkserver")
FAILOVER_SECONDS = 60.0  # by when work must go on


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


def refusal(url: str) -> QueueError:
    """What the client says of a server."""
    client = SegmentClient(connect(url))
    try:
        with pytest.raises(QueueError) as caught:
            client.submit([request("ship")])
    finally:
        client.server.close()
    return caught.value


def test_password_user_and_database(tmp_path: Path) -> None:
    rights = ["~dgl:*", "~rq:*", "&*", "+@all", "-@dangerous", "+info"]
    with server(tmp_path, password="p/ss w@rd") as at:
        with Redis(port=at.port, password="p/ss w@rd") as admin:
            admin.execute_command("ACL", "SETUSER", "masks", "on", ">other", *rights)
            admin.execute_command("ACL", "SETUSER", "reader", "on", ">other", "~*", "+@read")
            for url in (
                f"redis://:p%2Fss%20w%40rd@{HOST}:{at.port}/3",
                f"redis://masks:other@{HOST}:{at.port}/4",
            ):
                SegmentClient(client := connect(url)).submit([request("ship")])
                client.close()
            assert {name[:2] for name in admin.info("keyspace")} == {"db"}
            assert admin.info("keyspace").keys() == {"db3", "db4"}
        for url, word in (
            (at.url, "asks for a login"),
            (f"redis://:wrong@{HOST}:{at.port}/0", "refuses the login"),
            (f"redis://reader:other@{HOST}:{at.port}/0", "forbids its user"),
            (f"redis://masks:other@{HOST}:{at.port}/99", "no database of that number"),
        ):
            said = refusal(url)
            assert word in str(said)
            assert not said.passes
            assert "wrong" not in str(said)
            assert "other" not in str(said)


def test_the_rights_that_the_documents_list_are_enough_for_workers(tmp_path: Path) -> None:
    rights = ["~dgl:*", "~rq:*", "&*", "+@all", "-@dangerous", "+info"]
    with server(tmp_path) as at, Redis(port=at.port) as admin:
        admin.execute_command("ACL", "SETUSER", "masks", "on", ">other", *rights)
        url = f"redis://masks:other@{HOST}:{at.port}/0"
        assert answered(url, "ship")
        web = create_app(Settings(redis_url=url)).test_client()
        assert {web.get(page).status_code for page in ("/status", "/metrics", "/api/projects")} == {
            200
        }
        assert not admin.execute_command("ACL", "LOG")


def test_tls_with_the_authority_and_a_certificate(tmp_path: Path, made: Certificates) -> None:
    with server(tmp_path) as at, behind_tls(at.port, made, asks=True) as port:
        url = f"rediss://{HOST}:{port}/0?ssl_ca_certs={made.authority}"
        full = f"{url}&ssl_certfile={made.client[0]}&ssl_keyfile={made.client[1]}"
        assert answered(full, "ship")
        assert "not trusted" in str(refusal(f"rediss://{HOST}:{port}/0"))
        assert "ssl_certfile=FILE" in str(refusal(url))
        assert "speaks TLS where" in str(refusal(f"rediss://{HOST}:{at.port}/0"))


def test_a_full_server_refuses_keeps_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server(tmp_path) as at, Redis(port=at.port) as admin, worker(at.url):
        client = SegmentClient(connect(at.url))
        until(client.ready)
        client.submit([request("sleep", task="1")])  # in work when the memory is full
        until(lambda: client.running(client.workers()))
        admin.config_set("maxmemory", 1)
        with pytest.raises(QueueError, match="is full") as caught:
            client.submit([request("ship", task="2")])
        assert caught.value.passes
        time.sleep(2.5)
        admin.config_set("maxmemory", 0)
        keys = [request("sleep", task="1").key, request("ship", task="2").key]
        until(lambda: isinstance(client.look_up(keys)[keys[0]], SegmentReply))
        client.submit([request("ship", task="2")])
        until(lambda: isinstance(client.look_up(keys)[keys[1]], SegmentReply))
        client.server.close()


def test_replicas_and_lost_connections_are_said(tmp_path: Path) -> None:
    with server(tmp_path / "one") as primary:
        with server(tmp_path / "two", "--replicaof", f"{HOST} {primary.port}") as replica:
            said = refusal(replica.url)
            assert "is a replica" in str(said)
            assert said.passes
        with Redis(port=primary.port) as admin:
            admin.config_set("min-replicas-to-write", 1)
            assert "fewer replicas" in str(refusal(primary.url))
            admin.config_set("min-replicas-to-write", 0)
            admin.config_set("maxclients", 1)
            with pytest.raises(QueueError, match="no connection left"):
                SegmentClient(connect(primary.url)).announced()
        gone = primary.url
    assert "does not answer" in str(refusal(gone))


def test_a_disk_that_takes_nothing_and_data_that_load_are_said(tmp_path: Path) -> None:
    with server(tmp_path / "one") as at, Redis(port=at.port) as admin:
        with admin.pipeline(transaction=False) as pipe:
            for number in range(3000):
                pipe.set(f"key {number}", "x" * 100)
            pipe.execute()
        admin.save()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        shutil.rmtree(tmp_path / "one")
        admin.config_set("save", "3600 1")
        admin.bgsave()
        until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
        said = refusal(at.url)
        assert "cannot write to its disk" in str(said)
        assert said.passes
    slow = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    with server(tmp_path / "two", *slow, ready=False) as at:
        words = set()
        until(
            lambda: words.add(str(refusal(at.url))) or any("is loading" in w for w in words), 12.0
        )


def test_what_may_lose_work_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as at:
        with connect(at.url) as client:
            state = check(client)
            said = " ".join(state.warnings)
            assert "maxmemory-policy allkeys-lru" in said
            assert "appendonly no" in said
            assert state.limit == 3 * 2**20
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("appendonly", "yes")
            assert check(client).warnings == ()
            client.config_set("maxmemory-policy", "volatile-ttl")
        with connect_worker(at.url) as own, caplog.at_level(logging.WARNING):
            QueueWorker(open_queue("delivery", own)).run(burst=True)
    assert "maxmemory-policy volatile-ttl" in caplog.text


def test_a_failover_is_survived(tmp_path: Path) -> None:
    """The primary dies; sentinels promote its replica; what waited and what comes is answered."""
    with server(tmp_path / "one", "--repl-diskless-sync-delay", "0") as one:
        replicates = ("--replicaof", f"{HOST} {one.port}")
        with (
            server(tmp_path / "two", *replicates) as two,
            sentinel(tmp_path / "s", "masks", one.port, "sesame") as watching,
        ):
            place = f"{HOST}:1,{HOST}:{watching.port}/masks/0"
            url = f"redis+sentinel://{place}?sentinel_password=sesame"
            with (
                Redis(port=two.port) as replica,
                Redis(port=watching.port, password="sesame") as asked,
            ):
                until(lambda: replica.info("replication")["master_link_status"] == "up")
                until(lambda: asked.sentinel_master("masks")["num-slaves"] == 1)
            with worker(url):
                settings = Settings(redis_url=url)
                client = open_client(settings)
                until(client.ready)
                client.submit([request("ship", task="1")])
                until(lambda: client.answered([request("ship", task="1").key]))
                client.submit([request("sleep", task="2")])
                until(lambda: client.running(client.workers()))
                with Redis(port=one.port) as primary:
                    primary.wait(1, 5000)
                one.process.kill()
                began = time.monotonic()
                keys = [request("sleep", task="2").key, request("road", task="3").key]
                until(lambda: submitted(client, request("road", task="3")), FAILOVER_SECONDS)
                until(lambda: client.answered(keys) == set(keys), FAILOVER_SECONDS)
                assert time.monotonic() - began < FAILOVER_SECONDS
                web = create_app(settings, client).test_client()
                until(lambda: web.get("/ready").status_code == 200)
                client.server.close()


def submitted(client: SegmentClient, asked: object) -> bool:
    try:
        client.submit([asked])
    except QueueError:
        time.sleep(0.2)
        return False
    return True


def answered(url: str, label: str) -> bool:
    """Whether a worker that lives for this answers a request."""
    with worker(url):
        client = SegmentClient(connect(url))
        until(client.ready)
        client.submit([request(label)])
        reply = client.wait([request(label).key], 20)[request(label).key]
        client.server.close()
    return isinstance(reply, SegmentReply)


class worker:
    """A worker process with the connection that real ones have."""

    def __init__(self, url: str) -> None:
        self._process = FORKED.Process(target=fake_worker.run_with_settings, args=(url,))

    def __enter__(self) -> None:
        self._process.start()

    def __exit__(self, *ended: object) -> None:
        self._process.kill()
        self._process.join(10)


@pytest.fixture(autouse=True)
def _words(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert "sesame" not in caplog.text


def test_a_worker_whose_login_is_refused_ends_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody starts it again: only a person can help."""
    with server(tmp_path, password="sesame") as at:
        status, said = dgl_rsis("deliver", REDIS_URL=f"redis://:wrong@{HOST}:{at.port}/0")
    assert status == REFUSED
    assert "refuses the login" in said


def test_a_worker_that_starts_while_the_server_is_full_waits_for_it(tmp_path: Path) -> None:
    with server(tmp_path, "--maxmemory", "1") as at, Redis(port=at.port) as admin, worker(at.url):
        client = SegmentClient(connect(at.url))
        until(lambda: admin.info("errorstats").get("errorstat_OOM", {"count": 0})["count"] >= 2)
        assert client.ready() == []
        admin.config_set("maxmemory", 0)
        until(client.ready)
        client.server.close()
