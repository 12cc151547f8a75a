"""Nothing is stored with a task of Label Studio but what that task asks of this backend itself.

Whoever reaches the backend names projects, tasks, images and label configs as he likes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from backend.studio import everywhere
from backend.studio.client import StudioClient
from backend.studio.everywhere import Sought
from tests.backend.studio.fake_studio import LEGACY_TOKEN
from tests.backend.worker_end import VERSION, XML
from tests.security.conftest import World, task
from workers.messages import ExampleLook, Look

LOOK = Look((ExampleLook(40.0, 0.3, (1.0, 2.0, 3.0), "AAAA"),))
OTHER_LABELS = XML.replace('value="water"', 'value="water" predicted_values="ship"')
OTHER_CONTROL = XML.replace('name="brush"', 'name="elsewhere"')


def refused(world: World) -> list[str]:
    """What the page says of deliveries that ended without a prediction."""
    return [f.message for f in world.client.failures() if f.stage == "delivery"]


def test_a_task_of_a_connected_project_gets_its_prediction(world: World) -> None:
    world.predict(task(1), task(2))
    world.work()
    assert {p["task"] for p in world.studio.predictions} == {1, 2}
    assert refused(world) == []


def test_label_studio_is_asked_once_for_many_tasks(world: World) -> None:
    world.studio.tasks = set(range(1, 13))
    world.predict(*map(task, range(1, 13)))
    world.work()
    assert len(world.studio.predictions) == 12
    assert world.studio.calls.count("GET /api/ml/1/versions") == 1


def test_of_a_project_that_there_is_not_nothing_is_stored(world: World) -> None:
    world.predict(task(1), project="9.1")
    world.work()
    assert world.studio.predictions == []
    assert not [each for each in world.studio.calls if not each.startswith("GET ")]
    world.predict(task(1))
    world.work()
    assert [each["task"] for each in world.studio.predictions] == [1], "the real one lost its turn"


FOREIGN = {
    "a project that is not connected": ({"project": "2.1"}, task(77), "is not connected"),
    "its task under our project's number": ({}, task(77), "has no task 77"),
    "no project": ({"project": "None"}, task(1), "did not say of which project"),
    "another image": ({}, {"id": 1, "data": {"image": "/data/upload/9/x.png"}}, "what was segm"),
    "another size of a pixel": ({}, task(1, gsd="0.3"), "what was segmented"),
    "another sentence": ({}, task(1, expression="the left ship"), "what was segmented"),
    "other words for its labels": ({"xml": OTHER_LABELS}, task(1), "what was segmented"),
}


@pytest.mark.parametrize(("call", "asked", "said"), FOREIGN.values(), ids=list(FOREIGN))
def test_what_label_studio_does_not_ask_is_never_stored(
    world: World, call: dict[str, Any], asked: dict[str, Any], said: str
) -> None:
    world.predict(asked, **call)
    world.work()
    assert world.studio.predictions == []
    (message,) = refused(world)
    assert message.startswith("refused: ")
    assert said in message
    assert world.scheduled("delivery") == 0, "it is tried again"
    assert not [each for each in world.studio.calls if not each.startswith("GET ")]
    world.predict(task(1), task(2))
    world.work()
    stored = {p["task"] for p in world.studio.predictions}
    assert stored == {1, 2}, "the real ones do not get theirs"


@pytest.mark.parametrize("before", [True, False])
def test_who_names_another_project_takes_nothing_from_the_real_one(
    world: World, before: bool
) -> None:
    if before:
        world.predict(task(1), project="2.1")
    world.predict(task(1))
    if not before:
        world.predict(task(1), project="2.1")
    world.work()
    assert [p["task"] for p in world.studio.predictions] == [1]


def test_it_is_written_by_the_label_config_of_the_project(world: World) -> None:
    world.predict(task(1), xml=OTHER_CONTROL)
    world.work()
    (stored,) = world.studio.predictions
    assert {region["from_name"] for region in stored["result"]} == {"brush"}


def test_a_label_config_that_was_changed_a_moment_ago_is_known(world: World) -> None:
    world.predict(task(1))
    world.work()
    world.studio.label_config = OTHER_LABELS
    world.predict(task(2), xml=OTHER_LABELS)
    world.work()
    assert {p["task"] for p in world.studio.predictions} == {1, 2}


def test_a_task_that_was_changed_meanwhile_gets_nothing_of_before(world: World) -> None:
    world.predict(task(1))
    world.studio.images[1] = "/data/upload/1/another.png"
    world.work()
    assert world.studio.predictions == []
    assert "no longer" in refused(world)[0]


def test_another_server_of_ours_is_not_this_one(world: World) -> None:
    world.studio.answers = lambda _url: [VERSION]  # as one with a queue of its own
    world.predict(task(1))
    world.work()
    assert world.studio.predictions == []
    assert "not connected" in refused(world)[0]


def test_label_studio_mls_own_server_has_no_versions_and_passes_with_our_model(
    world: World,
) -> None:
    world.studio.answers = lambda _url: 404
    world.predict(task(1))
    world.work()
    assert len(world.studio.predictions) == 1
    world.studio.backends[0]["model_version"] = "dgl-rsis-0.1.0-another-89abcdef"
    world.redis.delete("dgl:connected:1")
    world.predict(task(2))
    world.work()
    assert len(world.studio.predictions) == 1


def test_where_the_backend_does_not_answer_label_studio_the_delivery_waits(world: World) -> None:
    answers, world.studio.answers = world.studio.answers, lambda _url: 500
    world.predict(task(1))
    world.work()
    assert world.studio.predictions == []
    assert (refused(world), world.scheduled("delivery")) == ([], 1)
    world.studio.answers = answers
    world.wait()
    world.deliver()
    assert [p["task"] for p in world.studio.predictions] == [1]


def test_of_several_backends_one_that_leads_here_is_enough(world: World) -> None:
    world.studio.connect("YOLO", "yolo-1", "http://127.0.0.1:9")
    world.studio.backends.reverse()
    for number, backend in enumerate(world.studio.backends, 1):
        backend["id"] = number
    world.predict(task(1))
    world.work()
    assert [p["task"] for p in world.studio.predictions] == [1]


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server inside the private network, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_no_address_of_a_backend_is_called_from_here(world: World) -> None:
    """Members of a project write those addresses; it is for Label Studio to call them or not."""
    with canary() as (url, asked):
        world.studio.backends[0]["url"] = url
        world.studio.answers = lambda _url: [VERSION]
        world.predict(task(1))
        world.work()
        world.post("/setup", json={"project": "1.1", "schema": XML}, headers={"Host": url[7:]})
        world.wait()
        world.deliver()
    assert asked == []
    assert world.studio.predictions == []


@pytest.mark.parametrize("host", ["studio.example", "127.0.0.1:9090"])
def test_whoever_says_that_a_project_is_connected_changes_nothing_in_it(
    world: World, host: str
) -> None:
    for project in ("2.1", "9.1"):
        body = {"project": project, "schema": XML, "hostname": world.studio.url}
        assert world.post("/setup", json=body, headers={"Host": host}).status_code == 200
    world.wait()
    world.deliver()
    assert not [each for each in world.studio.calls if not each.startswith("GET ")]
    assert [key for key in world.redis.keys("dgl:following:[29]*") if b"called" not in key] == []


def test_a_flood_of_projects_costs_label_studio_little(world: World) -> None:
    for number in range(100, 170):
        world.post("/setup", json={"project": f"{number}.1", "schema": XML})
    assert world.scheduled("follow") == 60


def seek(world: World, **values: Any) -> str:
    own = Sought("1", XML, "ship", LOOK, VERSION, "1", "/data/upload/1/t1.png")
    studio = StudioClient(world.studio.url, LEGACY_TOKEN)
    return everywhere.seek(replace(own, **values), world.client, studio)


def test_all_like_one_is_sought_in_the_own_project(world: World) -> None:
    assert "2 other images of the project are searched" in seek(world)
    world.work()
    assert {p["task"] for p in world.studio.predictions} == {2, 3}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"project": "2", "task_id": "77"}, "is not connected"),
        ({"image": "/data/upload/9/theirs.png"}, "no such task with this image"),
        ({"task_id": "77"}, "no such task with this image"),
        ({"task_id": "?"}, "no such task with this image"),
    ],
)
def test_all_like_one_is_sought_nowhere_else(
    world: World, values: dict[str, Any], said: str
) -> None:
    assert said in seek(world, **values)
    world.work()
    assert world.studio.predictions == []


def test_what_is_sought_with_other_labels_is_not_stored(world: World) -> None:
    seek(world, xml=OTHER_LABELS)
    world.work()
    assert world.studio.predictions == []
    assert all("what was segmented" in message for message in refused(world))
