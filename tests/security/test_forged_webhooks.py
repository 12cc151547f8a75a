"""No event teaches anything but what Label Studio says when it is asked.

Whoever reaches the backend posts events as he likes, also by the browser of somebody who may.
"""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from redis import Redis

from backend.studio.events import DOUBTFUL_TRIES
from backend.studio.webhooks import HEADER
from backend.web.webhook import head_of
from tests.backend.studio.test_corrections import ROAD, annotation, brush_region
from tests.security.conftest import Open, World
from workers.messages import SEGMENT_QUEUE, LearnRequest
from workers.queue.connection import open_queue
from workers.queue.identity import Identity
from workers.queue.prototypes import PrototypeStore


def event(action: str = "ANNOTATION_CREATED", number: int = 11, **more: Any) -> dict[str, Any]:
    """An event of project 1 as Label Studio posts it, with a mask of its own."""
    content = annotation(brush_region(ROAD, "water"), id=number, project=1, task=1)
    return {"action": action, "annotation": content, "project": {"id": 1}, **more}


def deleted(*numbers: int) -> dict[str, Any]:
    return {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": each} for each in numbers]}


def learning(world: World) -> list[LearnRequest]:
    """What waits to be learnt."""
    jobs = open_queue(SEGMENT_QUEUE, world.redis).get_jobs()
    return [LearnRequest.from_json(job.args[0]) for job in jobs if job.func_name.endswith("learn")]


def known(world: World) -> list[str]:
    """The annotations that project 1 learnt from."""
    return sorted(PrototypeStore(world.redis).shares("1")[1])


@pytest.fixture
def taught(world: World) -> World:
    """Annotations 11 and 12 of task 1 are there, and learnt from."""
    store = PrototypeStore(world.redis)
    for number in (11, 12):
        world.studio.annotations.append(annotation(id=number, task=1))
        store.expect("1", str(number), 1, "1")
        assert store.put("1", str(number), 1, b"share")
    return world


def own(world: World, project: str = "1") -> dict[str, str]:
    """What the webhook of a project carries."""
    return {HEADER: Identity(world.redis).token(project)}


def send(world: World, content: dict[str, Any], **headers: str) -> requests.Response:
    return world.post("/webhook", json=content, headers=headers)


def setup(world: World) -> None:
    """Label Studio calls, and what follows is done."""
    world.post("/setup", json={"project": "1.1", "schema": world.studio.label_config})
    world.wait()
    world.deliver()


def secret(world: World, number: int = 1) -> str:
    """What a webhook in Label Studio carries."""
    return str(world.studio.webhooks[number - 1]["headers"].get(HEADER, ""))


def test_the_webhook_of_a_connected_project_gets_its_secret_and_teaches(world: World) -> None:
    world.studio.webhooks[0] |= {"headers": {"Authorization": "of a proxy"}, "actions": ["A"]}
    setup(world)
    headers = world.studio.webhooks[0]["headers"]
    assert headers == {"Authorization": "of a proxy", **own(world)}
    assert world.studio.webhooks[0]["actions"] == ["A"]
    world.studio.annotations.append(annotation(id=11, task=1))
    assert send(world, event(), **headers).json() == {"status": "accepted"}
    world.deliver()
    (request,) = learning(world)
    assert (request.project, request.annotation, request.task_id) == ("1", "11", "1")
    assert [label for label, _ in request.regions] == ["ship"], "the body's masks are believed"


def forged(world: World) -> Iterator[dict[str, str]]:
    token = own(world)[HEADER]
    yield {}
    yield {HEADER: ""}
    yield {HEADER: "1"}
    yield {HEADER: token[:-1] + ("0" if token[-1] != "0" else "1")}
    yield {HEADER: token.replace("1.", "2.", 1)}
    yield {HEADER: token.upper()}
    yield {HEADER: f"{token}, {token}"}
    yield {HEADER: "1." + "0" * 64}
    yield {"Authorization": token}


def test_an_event_without_the_secret_does_nothing_and_is_counted(taught: World) -> None:
    every = list(forged(taught))
    for headers in every:
        for content in (event(), event("ANNOTATION_UPDATED"), deleted(11)):
            assert send(taught, content, **headers).status_code == 403
    taught.studio.annotations.clear()
    taught.deliver()
    assert (known(taught), learning(taught)) == (["11", "12"], [])
    told = requests.get(f"{taught.url}/api/status", timeout=10).json()["events"]
    assert told["refused"] == 3 * len(every)
    page = requests.get(taught.url, headers={"Accept": "text/html"}, timeout=10).text
    assert f"Events without the secret: {told['refused']}" in page
    metrics = requests.get(f"{taught.url}/metrics", timeout=10).text
    assert f'dgl_webhook_events_total{{outcome="refused"}} {3.0 * len(every)}' in metrics


def test_what_label_studio_sends_without_the_secret_and_teaches_nothing_is_taken(
    world: World,
) -> None:
    for action in ("START_TRAINING", "PROJECT_UPDATED"):
        content = {"action": action, "project": {"id": 1}}
        assert send(world, content).json() == {"status": "ignored"}
    assert requests.get(f"{world.url}/api/status", timeout=10).json()["events"]["refused"] == 0


def test_refused_events_have_the_webhook_seen_to(world: World) -> None:
    world.predict({"id": 1, "data": {"image": "/data/upload/1/t1.png"}})
    world.work()  # the project is known
    world.studio.webhooks[0]["headers"] = {}  # made anew
    world.redis.delete("dgl:following:1:called")
    assert send(world, event()).status_code == 403
    world.wait()
    world.deliver()
    assert secret(world) == own(world)[HEADER]


CROSS = [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}]


@pytest.mark.parametrize("browser", CROSS)
def test_another_site_reaches_nothing_by_somebodys_browser(
    taught: World, browser: dict[str, str]
) -> None:
    for headers in (browser, browser | own(taught)):
        answer = taught.post(
            "/webhook", data='{"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 11}]}',
            headers={"Content-Type": "text/plain", **headers},
        )  # fmt: skip
        assert answer.status_code == 403
    taught.studio.annotations.clear()
    taught.deliver()
    assert known(taught) == ["11", "12"]


def test_the_secret_of_a_project_is_good_for_that_project_alone(taught: World) -> None:
    assert send(taught, event(), **own(taught, "2")).status_code == 201
    assert send(taught, deleted(11), **own(taught, "2")).status_code == 201
    taught.deliver()
    assert (known(taught), learning(taught)) == (["11", "12"], [])


def test_a_deletion_that_label_studio_knows_nothing_of_is_none(taught: World) -> None:
    assert send(taught, deleted(11, 12), **own(taught)).json() == {"status": "accepted"}
    taught.deliver()
    assert known(taught) == ["11", "12"]


def test_what_was_deleted_is_taken_back_and_the_rest_stays(taught: World) -> None:
    taught.studio.annotations.pop(0)
    send(taught, deleted(11, 99), **own(taught))
    taught.deliver()
    assert known(taught) == ["12"]
    send(taught, event("ANNOTATION_UPDATED"), **own(taught))  # comes late
    taught.deliver()
    assert learning(taught) == []


def test_annotations_of_deleted_tasks_are_taken_back(taught: World) -> None:
    content = {"action": "TASKS_DELETED", "tasks": [{"id": 1}]}
    send(taught, content, **own(taught))
    taught.deliver()
    assert known(taught) == ["11", "12"], "the task is there"
    taught.studio.tasks.remove(1)
    send(taught, content, **own(taught))
    taught.deliver()
    assert known(taught) == []


def test_a_list_too_long_to_be_read_is_looked_up_whole(taught: World) -> None:
    taught.studio.annotations.clear()
    send(taught, deleted(*range(10**6, 10**6 + 9000), 11, 12), **own(taught))
    taught.deliver()
    assert known(taught) == []


@pytest.mark.parametrize("status", [503, 500, 429])
def test_while_label_studio_is_away_nothing_is_lost(taught: World, status: int) -> None:
    taught.studio.annotations[0]["updated_at"] = "2026-11-24T00:00:00Z"
    taught.studio.annotations.pop()
    taught.studio.troubles = [status] * 2
    send(taught, event("ANNOTATION_UPDATED"), **own(taught))
    send(taught, deleted(12), **own(taught))
    taught.deliver()
    assert (known(taught), learning(taught), taught.scheduled("event")) == (["11", "12"], [], 2)
    taught.wait()
    taught.deliver()
    assert (known(taught), len(learning(taught)), taught.scheduled("event")) == (["11"], 1, 0)


def test_a_label_studio_that_finds_nothing_at_all_deletes_nothing(taught: World) -> None:
    """As behind a proxy that sends its calls elsewhere, or when the token lost its rights."""
    taught.studio.troubles = [404] * (DOUBTFUL_TRIES + 1)
    send(taught, deleted(11, 12), **own(taught))
    for _ in range(DOUBTFUL_TRIES + 1):
        taught.deliver()
        taught.wait()
    assert known(taught) == ["11", "12"]
    assert "nothing is taken back" in taught.client.failures()[0].message


def test_an_event_is_given_up_where_everybody_sees_it(taught: World) -> None:
    taught.studio.troubles = [403] * (DOUBTFUL_TRIES + 1)
    send(taught, event(), **own(taught))
    for _ in range(DOUBTFUL_TRIES + 1):
        assert taught.client.failures() == []
        taught.deliver()
        taught.wait()
    (failure,) = taught.client.failures()
    assert (failure.stage, failure.project) == ("learning", "1")
    assert failure.message.startswith("nothing is learnt of annotation 11, after 5 tries: Label St")


def test_with_a_login_label_studio_needs_none_for_its_webhook(open_world: Open) -> None:
    world = open_world(basic_auth_user="me", basic_auth_pass="secret")
    for path in ("/setup", "/predict"):
        assert world.post(path, json={}).status_code == 401
    assert send(world, event()).status_code == 403
    assert send(world, event(), **own(world)).json() == {"status": "accepted"}
    assert requests.get(f"{world.url}/webhook", timeout=10).status_code == 401


def test_masks_of_any_size_take_no_memory() -> None:
    class Endless:
        left = 2**28

        def read(self, size: int) -> bytes:
            self.left -= size
            return b"7" * size if self.left > 0 else b""

    tracemalloc.start()
    head_of(Endless())  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_renewed_secret_takes_the_place_of_the_former_and_loses_nothing(world: World) -> None:
    setup(world)
    former = secret(world)
    world.client.identity.renew()
    assert send(world, event(), **{HEADER: former}).status_code == 201
    world.redis.delete("dgl:following:1:called")
    setup(world)
    assert secret(world) == own(world)[HEADER] != former
    world.redis.delete("dgl:secret:former")  # a day later
    assert send(world, event(), **{HEADER: former}).status_code == 403


def test_only_webhooks_that_lead_here_get_the_secret(world: World) -> None:
    studio = world.studio
    studio.connect("YOLO", "yolo-1", "http://yolo:9090")
    by_hand = studio.hook("https://other.example/base/webhook")
    other = studio.hook("https://chat.example/hooks/7")
    theirs = studio.hook("http://second:9090/webhook", headers={HEADER: "1." + "0" * 64})
    world.redis.delete("dgl:following:1:called")
    setup(world)
    token = own(world)[HEADER]
    yolo = studio.webhooks[1]
    assert [secret(world), by_hand["headers"].get(HEADER)] == [token, token]
    assert yolo["headers"] == other["headers"] == {}
    assert theirs["headers"][HEADER] != token, "two servers of ours would each undo the other's"


def test_no_webhook_or_none_that_may_be_changed_is_said(world: World) -> None:
    world.predict({"id": 1, "data": {"image": "/data/upload/1/t1.png"}})
    world.studio.forbids = True
    setup(world)
    assert "cannot be given the secret" in world.client.project_note("1")
    world.studio.forbids = False
    world.studio.webhooks.clear()
    world.client.follow_now("1")
    world.deliver()
    assert f"add or activate {world.url}/webhook" in world.client.project_note("1")


def test_no_secret_of_one_queue_is_that_of_another(redis: Redis) -> None:
    first = Identity(redis).token("1")
    assert Identity(redis).token("1") == first
    redis.flushall()
    assert Identity(redis).token("1") != first
    assert Identity(redis).project_of(first) == ""


def test_what_was_submitted_before_the_webhook_had_its_secret_is_looked_at_then(
    taught: World,
) -> None:
    taught.studio.webhooks[0]["headers"] = {}
    assert send(taught, event()).status_code == 403
    assert send(taught, event(number=99)).status_code == 403  # somebody made it up
    setup(taught)
    taught.deliver()
    assert [each.annotation for each in learning(taught)] == ["11"]
