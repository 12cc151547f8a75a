from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from backend.web import actions
from backend.web.app import create_app
from backend.web.settings import Settings
from dgl_rsis.types import Label
from tests.backend.conftest import MakeApp
from tests.backend.web.boards import ask, settle, token_of
from tests.backend.worker_end import VERSION, predict_body, task, waiting
from workers.messages import SegmentReply, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.handover import WAITING_KEY
from workers.queue.heartbeats import Announcement, announce
from workers.queue.ledger import Entry
from workers.queue.prototypes import PrototypeStore
from workers.queue.replies import keep_request, store_failure, store_reply

STUDIO = {"label_studio_url": "http://127.0.0.1:1", "label_studio_api_key": "0123456789"}
SAME: Mapping[str, str] = {"Sec-Fetch-Site": "same-origin"}


def retrieve(client: FlaskClient, *numbers: int) -> None:
    client.post("/predict", json=predict_body(*map(task, numbers)), buffered=True)


def press(
    client: FlaskClient,
    path: str,
    headers: Mapping[str, str] = SAME,
    page: str = "/projects/1",
    **fields: str,
) -> TestResponse:
    return client.post(path, data={"token": token_of(client, page), **fields}, headers=headers)


def said(response: TestResponse) -> tuple[str, str]:
    assert response.status_code == 303, response.text
    query = parse_qs(urlsplit(response.location).query)
    return query["said"][0], query["count"][0]


def state(redis: Redis, number: int) -> str:
    entry = SegmentClient(redis).ledger.entry("1", str(number))
    assert isinstance(entry, Entry)
    return entry.state


def fail(redis: Redis, number: int) -> str:
    """As a worker gives it up, and a delivery says so."""
    queue = SegmentClient(redis)
    entry = queue.ledger.entry("1", str(number))
    assert entry is not None
    job = redis.hget(f"rq:job:segment-{entry.key}", "data")
    assert job is not None
    redis.set(f"dgl:retry:{entry.key}", job)
    redis.delete(f"rq:job:segment-{entry.key}")
    store_failure(redis, entry.key, "the image is damaged")
    settle(redis, str(number), "failed", "the image is damaged", entry.key)
    return entry.key


def test_a_task_is_cancelled_and_tried_again(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5, 6)
    response = press(client, "/tasks/1/5/cancel", page="/tasks/1/5")
    assert said(response) == ("cancelled", "1")
    assert urlsplit(response.location).path == "/tasks/1/5"
    assert [state(announced, number) for number in (5, 6)] == ["cancelled", "queued"]
    assert waiting(announced)["segment"] == 1
    assert "Cancelled: 1" in client.get(response.location).text
    assert said(press(client, "/tasks/1/5/cancel", page="/projects/1")) == ("nothing", "0")
    assert said(press(client, "/tasks/1/5/retry", page="/tasks/1/5")) == ("retried", "1")
    assert said(press(client, "/tasks/1/5/retry")) == ("nothing", "0")
    assert state(announced, 5) == "queued"
    assert waiting(announced)["segment"] == 2


def test_a_button_in_a_list_leads_back_to_the_list(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    response = press(client, "/tasks/1/5/cancel", state="given-up")
    assert response.location.startswith("/projects/1?")
    assert parse_qs(urlsplit(response.location).query)["state"] == ["given-up"]
    evil = press(client, "/tasks/1/5/cancel", state="//evil.example\r\nX: y")
    assert "evil" not in evil.location


def test_all_failed_ones_are_tried_again(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, *range(1, 8))
    keys = [fail(announced, number) for number in (1, 2, 3)]
    announced.delete(f"dgl:retry:{keys[2]}")
    assert said(press(client, "/projects/1/retry")) == ("retried", "2")
    assert [state(announced, number) for number in (1, 2, 3)] == ["queued", "queued", "failed"]
    assert not announced.exists(f"dgl:failure:{keys[0]}")
    assert said(press(client, "/projects/1/retry")) == ("refused", "1")
    assert "open them in Label Studio" in client.get("/projects/1?said=refused&count=1").text


def test_what_cannot_be_tried_again_does_not_hold_up_what_can(
    make_app: MakeApp, announced: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "PART", 2)
    monkeypatch.setattr(actions, "MOST_AGAIN", 2)
    client = make_app(**STUDIO)
    retrieve(client, *range(1, 10))
    keys = [fail(announced, number) for number in range(1, 10)]
    announced.delete(*(f"dgl:retry:{key}" for key in keys[:5]))
    assert said(press(client, "/projects/1/retry")) == ("retried", "2")
    assert [state(announced, number) for number in (5, 6, 7, 8)] == [
        "failed",
        *["queued"] * 2,
        "failed",
    ]
    assert said(press(client, "/projects/1/retry")) == ("retried", "2")
    assert said(press(client, "/projects/1/retry")) == ("refused", "5")


def test_a_task_between_two_tries_of_its_delivery_can_be_retried_and_cancelled(
    make_app: MakeApp, announced: Redis
) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    entry = SegmentClient(announced).ledger.entry("1", "5")
    assert entry is not None
    store_reply(announced, entry.key, SegmentReply(1, 1, VERSION, ()), 60)
    settle(announced, "5", "delivery", "try 2 of 25: Label Studio is away", entry.key)
    for page in ("/projects/1", "/tasks/1/5"):
        text = client.get(page).text
        assert 'action="/tasks/1/5/retry"' in text
        assert 'action="/tasks/1/5/cancel"' in text
    assert said(press(client, "/tasks/1/5/retry")) == ("retried", "1")
    assert state(announced, 5) == "delivery"


def test_the_queue_of_a_project_is_cancelled(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, *range(1, 31))
    assert waiting(announced)["segment"] == 30
    assert said(press(client, "/projects/1/cancel")) == ("cancelled", "30")
    assert waiting(announced) == {"segment": 0, "delivery": 0}
    assert said(press(client, "/projects/1/cancel")) == ("nothing", "0")


def test_all_is_cancelled_after_a_change_of_the_model(make_app: MakeApp, announced: Redis) -> None:
    retrieve(make_app(**STUDIO), 5, 6)
    announce(announced, Announcement("newer", "cpu", 0.0))
    client = make_app(**STUDIO)
    retrieve(client, 5, 6)
    assert waiting(announced)["segment"] == 2
    assert said(press(client, "/projects/1/cancel")) == ("cancelled", "2")
    assert waiting(announced) == {"segment": 0, "delivery": 0}
    assert not announced.exists(WAITING_KEY)


def test_a_retry_asks_the_present_model(make_app: MakeApp, announced: Redis) -> None:
    former = SegmentRequest("/data/upload/1/a.png", (Label("ship"),), "former", task_id="5")
    ask(announced, "5", key=former.key)
    settle(announced, "5", "failed", key=former.key)
    keep_request(announced, former, "why", 60)
    client = make_app(**STUDIO)
    press(client, "/tasks/1/5/retry", page="/tasks/1/5")
    entry = SegmentClient(announced).ledger.entry("1", "5")
    assert entry is not None
    assert entry.key != former.key
    job = announced.hget(f"rq:job:segment-{entry.key}", "description")
    assert job == b"segment task 5"


def test_what_cannot_be_tried_again_has_no_button(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "5")
    settle(announced, "5", "failed", "why")
    page = make_app().get("/tasks/1/5").text
    assert "<button" not in page
    assert "open the task in Label Studio again" in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
def test_another_site_presses_nothing(
    make_app: MakeApp, announced: Redis, headers: dict[str, str]
) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    token = token_of(client, "/projects/1")  # even one that knows the token
    paths = ("/projects/1/cancel", "/tasks/1/5/cancel", "/projects/1/learning/off")
    for path in paths:
        refused = client.post(path, data={"token": token}, headers=headers)
        assert refused.status_code == 403
        assert client.post("/api" + path, json={}, headers=headers).status_code in (403, 404)
    assert state(announced, 5) == "queued"
    assert not PrototypeStore(announced).is_off("1")


@pytest.mark.parametrize("token", ["", "wrong", "\ud7ff"])
def test_a_form_without_the_token_changes_nothing(
    make_app: MakeApp, announced: Redis, token: str
) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    response = client.post("/tasks/1/5/cancel", data={"token": token}, headers=SAME)
    assert said(response) == ("stale", "0")
    assert state(announced, 5) == "queued"
    other = token_of(make_app(**STUDIO), "/projects/1")  # of another process
    assert said(client.post("/projects/1/cancel", data={"token": other})) == ("stale", "0")


@pytest.mark.parametrize("headers", [{}, SAME, {"Origin": "http://localhost"}])
def test_this_page_may_press(make_app: MakeApp, announced: Redis, headers: dict[str, str]) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    assert said(press(client, "/tasks/1/5/cancel", headers)) == ("cancelled", "1")


def test_programs_send_json(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5, 6, 7)
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", None):
        refused = client.post("/api/projects/1/cancel", data=b"{}", content_type=kind)
        assert refused.status_code == 415
    assert waiting(announced)["segment"] == 3
    one = client.post("/api/projects/1/tasks/5/cancel", json={})
    assert one.json == {"done": "cancelled", "count": 1, "refused": []}
    twice = client.post("/api/projects/1/tasks/5/cancel", json={})
    assert twice.json == {"done": "nothing", "count": 0, "refused": []}
    assert client.post("/api/projects/1/cancel", json={}).json["count"] == 2
    assert client.post("/api/projects/1/tasks/5/retry", json={}).json["done"] == "retried"


def test_programs_are_told_what_cannot_be_tried_again(make_app: MakeApp, announced: Redis) -> None:
    ask(announced, "5")
    settle(announced, "5", "failed", "why")
    told = make_app().post("/api/projects/1/retry", json={}).json
    assert (told["done"], told["count"]) == ("refused", 1)
    assert told["refused"][0]["task"] == "5"
    assert "Label Studio" in told["refused"][0]["reason"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/1/strange",
        "/api/projects/x/retry",
        "/api/projects/1/tasks/9/retry",
        "/api/projects/1/tasks/5/strange",
        "/api/projects/1/learning/strange",
    ],
)
def test_unknown_wishes(make_app: MakeApp, announced: Redis, path: str) -> None:
    ask(announced, "5")
    assert make_app().post(path, json={}).status_code == 404


def test_nothing_is_changed_by_looking(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(**STUDIO)
    retrieve(client, 5)
    for path in ("/projects/1/cancel", "/tasks/1/5/cancel", "/api/projects/1/cancel"):
        assert client.get(path).status_code == 405
    assert state(announced, 5) == "queued"


def test_basic_auth_covers_buttons(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(basic_auth_user="ls", basic_auth_pass="x", **STUDIO)
    for path in ("/projects/1/cancel", "/tasks/1/5/retry", "/api/projects/1/cancel"):
        assert client.post(path, json={}).status_code == 401


def test_without_redis_a_button_says_so() -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    answer = app.test_client().post("/api/projects/1/cancel", json={})
    assert answer.status_code == 503
    assert answer.json["error"]


def test_what_a_project_learnt_is_shown_switched_and_forgotten(
    make_app: MakeApp, announced: Redis
) -> None:
    store = PrototypeStore(announced)
    store.expect("1", "77", 1, "5")
    store.put("1", "77", 1, b"share")
    ask(announced, "5")
    client = make_app()
    page = client.get("/projects/1").text
    assert "1 annotation" in page
    assert store.revision("1") in page
    assert said(press(client, "/projects/1/learning/off")) == ("changed", "1")
    assert store.is_off("1")
    assert "switched off" in client.get("/projects/1").text
    press(client, "/projects/1/learning/off")
    press(client, "/projects/1/learning/on")
    assert not store.is_off("1")
    press(client, "/projects/1/learning/reset")
    assert client.get("/api/projects/1").json["learnt"]["annotations"] == []


def test_what_a_project_without_tasks_learnt_is_shown_switched_and_forgotten(
    make_app: MakeApp, announced: Redis
) -> None:
    client, queue = make_app(), SegmentClient(announced)
    ask(announced, "5")
    queue.corrections.switch("77", on=False)
    page = client.get("/projects/77")
    assert page.status_code == 200
    assert "switched off" in page.text
    assert "no tasks asked for, of late" in page.text
    assert "learning is switched off" in client.get("/status").text
    told = client.get("/api/projects/77").json
    assert (told["total"], told["changed"], told["learns"]) == (0, None, False)
    listed = client.get("/api/projects").json["projects"]
    assert [each["project"] for each in listed] == ["1", "77"]
    assert client.get("/api/projects/77/tasks").json["tasks"] == []
    assert said(press(client, "/projects/77/learning/on", page="/projects/77")) == ("changed", "1")
    store = PrototypeStore(announced)
    store.expect("77", "9", 1, "5")
    store.put("77", "9", 1, b"share")
    overview = client.get("/status").text
    assert "learnt from 1 annotation</a>" in overview
    assert 'href="/projects/77#learnt"' in overview
    assert "switched off" not in overview
    response = press(client, "/projects/77/learning/reset", page="/projects/77")
    assert said(response) == ("changed", "1")
    assert client.get(response.location).status_code == 200
    assert client.get("/projects/77").status_code == 404


def test_predicting_anew_is_offered_where_the_queue_can(
    make_app: MakeApp, announced: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask(announced, "5")
    monkeypatch.setattr(SegmentClient, "follow_now", lambda _, p: asked.append(p), raising=False)
    monkeypatch.setattr(
        SegmentClient, "project_note", lambda _, p: f"Set <model version> of {p}", raising=False
    )
    client = make_app()
    page = client.get("/projects/1").text
    assert "Predict open tasks anew now" in page
    assert "Set &lt;model version&gt; of 1" in page
    press(client, "/projects/1/learning/follow")
    assert asked == ["1"]


def test_an_answer_is_noted(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(single_task_seconds=0)
    retrieve(client, 5)
    entry = SegmentClient(announced).ledger.entry("1", "5")
    assert entry is not None
    store_reply(announced, entry.key, SegmentReply(1, 1, VERSION, ()), 60)
    retrieve(client, 5)
    assert state(announced, 5) == "answered"
    told = client.get("/api/projects/1/tasks/5").json
    assert (told["state"], told["can_cancel"], told["can_retry"]) == ("answered", False, False)
