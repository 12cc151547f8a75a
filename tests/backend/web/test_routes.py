import re
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from redis import Redis

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.conftest import MakeApp
from tests.backend.web.boards import CHROME, CONFIG, KEY, ask, settle
from tests.backend.worker_end import VERSION, predict_body, task
from workers.messages import SEGMENT_QUEUE, SegmentReply
from workers.queue.connection import segment_job_id
from workers.queue.heartbeats import Heartbeat, beat
from workers.queue.ledger import Ledger
from workers.queue.replies import store_reply
from workers.queue.running import Running, note

HEALTH = {"status": "UP", "model_class": "DglRsis"}
WORKER = Heartbeat("s1", "gpu-host", 4711, SEGMENT_QUEUE, "cuda:0", "", time.time(), 1.0, "m-1")
STUDIO = {"label_studio_url": "https://studio.example", "label_studio_api_key": "0123456789"}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/plain", "nonsense"])
def test_label_studio_gets_its_health_answer(make_app: MakeApp, accept: str | None) -> None:
    response = make_app().get("/", headers={} if accept is None else {"Accept": accept})
    assert (response.status_code, response.json) == (200, HEALTH)


@pytest.mark.parametrize("accept", [CHROME, "text/html", "text/html,*/*;q=0.1"])
def test_a_browser_gets_the_page(make_app: MakeApp, announced: Redis, accept: str) -> None:
    response = make_app().get("/", headers={"Accept": accept})
    assert response.mimetype == "text/html"
    assert VERSION in response.text
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", ["/status", "/projects/1", "/tasks/1/5"])
def test_a_page_is_html_unless_a_program_asks_for_json(
    make_app: MakeApp, announced: Redis, path: str
) -> None:
    ask(announced, "5")
    client = make_app()
    for headers in ({}, {"Accept": "*/*"}, {"Accept": CHROME}):
        assert client.get(path, headers=headers).mimetype == "text/html"
    told = client.get(path, headers={"Accept": "application/json"})
    api = {"/status": "/api/status", "/projects/1": "/api/projects/1"}
    same = client.get(api.get(path, "/api/projects/1/tasks/5"))
    assert told.mimetype == same.mimetype == "application/json"
    assert told.json.keys() == same.json.keys()


def test_the_policy_allows_one_style_and_one_script(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "5")
    client = make_app()
    for path in ("/status", "/projects/1", "/tasks/1/5"):
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert policy.count("sha256-") == 2
        for forbidden in (" style=", "http://", "https://", "javascript:", " onclick"):
            assert forbidden not in response.text
        assert response.headers["Cache-Control"] == "no-store"


def test_an_overview(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "1", "2", "3", "4")
    settle(announced, "1", "delivered")
    settle(announced, "2", "failed", "the image is <damaged>")
    beat(announced, WORKER)
    page = make_app().get("/status").text
    for words in ("Ready.", VERSION, "gpu-host", "4711", "cuda:0", "Project 1", "1 of 4 done"):
        assert words in page
    (project,) = make_app().get("/api/projects").json["projects"]
    assert (project["project"], project["total"], project["done"]) == ("1", 4, 1)
    assert (project["counts"]["queued"], project["counts"]["failed"]) == (2, 1)
    assert project["url"] == ""


def test_without_anything(make_app: MakeApp, redis: Redis) -> None:
    page = make_app().get("/status").text
    assert "no segment worker is ready" in page
    assert "No tasks yet" in page


def test_a_task_that_is_running(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "5", "6")
    note(announced, Running("s1", segment_job_id(KEY), KEY, "5", "finding regions", time.time()))
    beat(announced, Heartbeat("s1", "h", 1, SEGMENT_QUEUE, "cpu", "", time.time() - 2, 1.0))
    client = make_app()
    states = {each["task"]: each for each in listed(client)}
    # Both have the same image and labels, and so the same job.
    assert {each["state"] for each in states.values()} == {"running"}
    assert states["5"]["stage"] == "finding regions"
    assert client.get("/api/projects/1").json["counts"]["running"] == 1
    assert [each["task"] for each in listed(client, "running")] == ["5"]
    assert "finding regions" in client.get("/projects/1").text


def test_masks_that_wait(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "5")
    ask(announced, "6", config=CONFIG)
    store_reply(announced, KEY, SegmentReply(1, 1, VERSION, ()), 60)
    states = {each["task"]: each["state"] for each in listed(make_app())}
    assert states == {"5": "ready", "6": "delivery"}


def test_lists_have_pages_and_filters(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, *(str(number) for number in range(1, 121)))
    for number in range(1, 61):
        settle(announced, str(number), "delivered")
    client = make_app()
    told = client.get("/api/projects/1/tasks?state=done&page=2").json
    assert (told["state"], told["page"], told["pages"]) == ("done", 2, 2)
    assert len(told["tasks"]) == 10
    assert {each["state"] for each in told["tasks"]} == {"delivered"}
    for page in ("3", "99", "0", "-1", "x", "9" * 400):
        answer = client.get("/api/projects/1/tasks", query_string={"page": page})
        assert answer.status_code == 200
        assert 1 <= answer.json["page"] <= 3
    page = client.get("/projects/1?state=queued").text
    assert "page 1 of 2" in page
    assert "state=queued&amp;page=2" in page


@pytest.mark.parametrize(
    "path",
    [
        "/projects/2",
        "/projects/x",
        "/projects/1?state=strange",
        "/projects/%3Cscript%3E",
        "/tasks/1/6",
        "/tasks/1/%ED%A0%80",
        "/api/projects/2/tasks",
    ],
)
def test_what_is_not_known(make_app: MakeApp, announced: Redis, path: str) -> None:
    ask(announced, "5")
    client = make_app()
    shown, told = client.get(path, headers={"Accept": CHROME}), client.get(path)
    assert shown.status_code == told.status_code == 404
    assert told.mimetype == "application/json"
    if path.startswith("/api/"):
        assert shown.json["error"] == told.json["error"]
    else:
        assert shown.mimetype == "text/html"
        assert str(escape(told.json["error"])) in shown.text
        assert shown.headers["X-Request-ID"] in shown.text
        assert 'href="/status"' in shown.text
        assert "default-src 'none'" in shown.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/projects/1", "/tasks/1/5"])
def test_without_redis_a_browser_gets_a_page_that_loads_itself_anew(path: str) -> None:
    client = create_app(Settings(redis_url="redis://127.0.0.1:1/0")).test_client()
    shown = client.get(path, headers={"Accept": CHROME})
    assert (shown.status_code, shown.mimetype) == (503, "text/html")
    assert "The queue does not answer." in shown.text
    assert 'http-equiv="refresh"' in shown.text
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        told = client.get(path, headers=headers)
        assert (told.status_code, told.mimetype) == (503, "application/json")


def test_a_refused_button_answers_with_a_page(make_app: MakeApp, announced: Redis) -> None:
    evil = {"Accept": CHROME, "Sec-Fetch-Site": "cross-site"}
    refused = make_app().post("/projects/1/cancel", data={"token": "x"}, headers=evil)
    assert (refused.status_code, refused.mimetype) == (403, "text/html")
    assert "another site" in refused.text
    assert 'http-equiv="refresh"' not in refused.text  # would be loaded as a page, which it is not


def test_links_lead_to_label_studio_where_its_address_is_known(
    make_app: MakeApp, announced: Redis
) -> None:
    ask(announced, "5")
    plain, linked = make_app(), make_app(**STUDIO)
    url = "https://studio.example/projects/1/data?task=5"
    for path in ("/projects/1", "/tasks/1/5"):
        assert "studio.example" not in plain.get(path).text
        assert f'href="{url}"' in linked.get(path).text
    assert linked.get("/api/projects/1/tasks/5").json["url"] == url


def test_strangers_text_is_escaped(make_app: MakeApp, announced: Redis) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    client = make_app(**STUDIO)
    strange = task(1) | {"id": hostile}
    client.post("/predict", json=predict_body({**strange, "data": {}}), buffered=True)
    ask(announced, "5")
    settle(announced, "5", "failed", hostile)
    note(announced, Running("s1", "learn-x", "x", hostile, hostile, time.time()))
    beat(announced, Heartbeat("s1", hostile, 1, "segment", hostile, "learn-x", 1.0, 1.0, hostile))
    for path in ("/status", "/projects/1", "/tasks/1/5", "/status?said=retried&count=" + hostile):
        page = client.get(path).text
        assert "<img" not in page
        assert page.count("<script>") == 1  # its own
        assert "alert(1)" not in re.sub(r"&lt;.*?&gt;alert\(1\)|onerror=alert\(1\)&gt;", "", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in client.get("/projects/1").text


def test_the_reason_of_a_single_open_is_told(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(single_task_seconds=0)
    client.post("/predict", json=predict_body(task(5)), buffered=True)
    client.post("/predict", json=predict_body(task(6) | {"data": {}}), buffered=True)
    states = {each["task"]: (each["state"], each["can_retry"]) for each in listed(client)}
    assert states == {"5": ("queued", False), "6": ("failed", False)}
    assert "no &#39;image&#39;" in client.get("/tasks/1/6").text


def test_a_large_project_is_shown_at_once(make_app: MakeApp, announced: Redis) -> None:
    ledger = Ledger(announced, 3600)
    for start in range(1, 20_001, 1000):
        with announced.pipeline(transaction=False) as pipe:
            keys = [(str(n), f"{n:032x}") for n in range(start, start + 1000)]
            ledger.ask(pipe, "1", keys, CONFIG)
            pipe.execute()
    client = make_app()
    for path in ("/status", "/projects/1", "/projects/1?state=queued&page=390"):
        started = time.perf_counter()
        assert client.get(path).status_code == 200
        assert time.perf_counter() - started < 2.0  # far from the seconds that 20,000 rows take


def listed(client: FlaskClient, state: str = "all") -> list[dict[str, Any]]:
    answer = client.get(f"/api/projects/1/tasks?state={state}")
    assert answer.status_code == 200
    tasks: list[dict[str, Any]] = answer.json["tasks"]
    return tasks
