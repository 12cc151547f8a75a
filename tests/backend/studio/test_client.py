import logging
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.studio.client import StudioClient, StudioError, versions_of
from tests.backend.studio.fake_studio import LEGACY_TOKEN, PERSONAL_TOKEN, FakeStudio, fake_studio

PREDICTION = {"result": [{"id": "a"}], "score": 0.5, "model_version": "v1"}


@pytest.fixture(params=[LEGACY_TOKEN, PERSONAL_TOKEN], ids=["legacy", "personal"])
def client(studio: FakeStudio, request: pytest.FixtureRequest) -> StudioClient:
    return StudioClient(studio.url + "/", request.param)


def test_a_pushed_prediction_is_listed_by_task_and_version(client: StudioClient) -> None:
    client.push(1, PREDICTION)
    client.push(1, {**PREDICTION, "model_version": "v2"})
    client.push(2, PREDICTION)

    assert [p["model_version"] for p in client.predictions(1)] == ["v1", "v2"]
    (prediction,) = client.predictions(1, "v2")
    assert prediction["result"] == PREDICTION["result"]
    assert client.predictions(3) == []


def test_several_predictions_go_in_one_call(client: StudioClient, studio: FakeStudio) -> None:
    assert client.push_rows(1, [{**PREDICTION, "task": 1}, {**PREDICTION, "task": 3}]) == 2

    assert [p["task"] for p in studio.predictions] == [1, 3]
    assert studio.calls[-1:] == ["POST /api/projects/1/import/predictions"]


def test_tasks_are_listed_behind_an_id_with_the_versions_they_have(
    client: StudioClient, studio: FakeStudio
) -> None:
    studio.tasks = {3, 5, 8, 9}
    client.push_rows(1, [{**PREDICTION, "task": 8}, {**PREDICTION, "task": 8}])
    client.push_rows(1, [{**PREDICTION, "task": 8, "model_version": "v2"}])
    page, total = client.tasks_after(1, 3, 2)
    assert ([task["id"] for task in page], total) == ([5, 8], 3)
    assert [versions_of(task) for task in page] == [frozenset(), {"v1", "v2"}]
    assert client.tasks_after(1, 9, 2) == ([], 0)
    assert [task["id"] for task in client.tasks_of(1, [9, 3, 4])] == [3, 9]
    for call in (lambda: client.tasks_after(3, 0, 1), lambda: client.project(3)):
        with pytest.raises(StudioError, match="404"):
            call()
    assert client.project(1)["task_number"] == 4


def test_annotations_come_oldest_first(client: StudioClient, studio: FakeStudio) -> None:
    studio.annotations += [{"id": 7, "task": 1}, {"id": 8, "task": 2}, {"id": 9, "task": 1}]

    assert [annotation["id"] for annotation in client.annotations(1)] == [7, 9]


def test_a_deleted_task_is_refused_for_good(client: StudioClient) -> None:
    with pytest.raises(StudioError, match=r'400 to POST .*Invalid pk "99".*deleted') as caught:
        client.push(99, PREDICTION)
    assert not caught.value.may_pass
    assert not caught.value.uncertain


@pytest.fixture(scope="module")
def troubled() -> Iterator[FakeStudio]:
    with fake_studio() as studio:
        yield studio


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=st.integers(400, 599))
def test_only_passing_troubles_are_worth_a_retry(troubled: FakeStudio, status: int) -> None:
    troubled.troubles[:] = [status, status]  # a 401 is asked twice
    with pytest.raises(StudioError, match=f"answered {status} to GET /api/predictions/") as caught:
        StudioClient(troubled.url, LEGACY_TOKEN).predictions(1)
    assert caught.value.retry == (status >= 500 or status in {408, 429})
    assert caught.value.doubtful == (status in {401, 403, 404})


@pytest.mark.parametrize(
    ("status", "way_out"),
    [(401, "LABEL_STUDIO_API_KEY"), (403, "access to the project"), (404, "LABEL_STUDIO_URL")],
)
def test_a_refusal_says_the_way_out(studio: FakeStudio, status: int, way_out: str) -> None:
    studio.troubles = [status, status]
    with pytest.raises(StudioError, match=way_out):
        StudioClient(studio.url, LEGACY_TOKEN).predictions(1)


def test_a_redirect_is_not_followed(client: StudioClient, studio: FakeStudio) -> None:
    studio.troubles = [302]
    with pytest.raises(StudioError, match=r"elsewhere\.example.*set LABEL_STUDIO_URL") as caught:
        client.predictions(1)
    assert not caught.value.retry
    assert caught.value.doubtful, "a page for the time of an upgrade looks the same"


def test_an_answer_that_is_no_json_is_tried_again(client: StudioClient, studio: FakeStudio) -> None:
    studio.troubles = [200]
    with pytest.raises(StudioError, match="no usable answer") as caught:
        client.predictions(1)
    assert caught.value.retry


def test_nobody_listening_is_tried_again(client: StudioClient) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    for token in (LEGACY_TOKEN, PERSONAL_TOKEN):
        with pytest.raises(StudioError, match=url) as caught:
            StudioClient(url, token).predictions(1)
        assert caught.value.retry


def test_a_slow_answer_is_given_up(studio: FakeStudio) -> None:
    studio.delay = 0.5
    with pytest.raises(StudioError, match="ReadTimeout") as caught:
        StudioClient(studio.url, LEGACY_TOKEN, read_seconds=0.1).push(1, PREDICTION)
    assert caught.value.retry
    assert caught.value.uncertain, "it is stored all the same"


def test_an_address_without_a_scheme_is_wrong_for_good() -> None:
    with pytest.raises(StudioError, match="LABEL_STUDIO_URL") as caught:
        StudioClient("127.0.0.1:8080", LEGACY_TOKEN).predictions(1)
    assert not caught.value.retry


def test_a_withdrawn_access_token_is_renewed_once(studio: FakeStudio) -> None:
    client = StudioClient(studio.url, PERSONAL_TOKEN)
    client.predictions(1)
    studio.withdrawn = 1

    assert client.predictions(1) == []
    assert studio.issued == 2

    studio.withdrawn = 99
    with pytest.raises(StudioError, match="401"):
        client.predictions(1)
    assert studio.issued == 3


@pytest.mark.parametrize("token", [LEGACY_TOKEN + "0", PERSONAL_TOKEN + "0"])
def test_a_wrong_token_is_refused_and_never_shown(
    studio: FakeStudio, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StudioError) as caught:
        StudioClient(studio.url, token).push(1, PREDICTION)
    assert not caught.value.retry
    error: BaseException | None = caught.value
    while error is not None:
        assert token not in str(error)
        error = error.__cause__
    assert token not in caplog.text
