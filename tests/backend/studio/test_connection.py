import pytest

from backend.studio.client import StudioClient, StudioError
from backend.studio.connection import connection_of
from tests.backend.studio.fake_studio import FakeStudio
from workers.queue.client import SegmentClient


def test_the_backend_that_answers_with_our_nonce_is_this_one(
    client: SegmentClient, rest: StudioClient, connected: FakeStudio
) -> None:
    connection = connection_of("1", client, rest)
    assert connection is not None
    assert connection.url == "http://b:9090"
    assert client.config(connection.config) == connected.label_config
    calls = len(connected.calls)
    assert connection_of("1", client, rest) == connection
    assert len(connected.calls) == calls, "it is asked once in some minutes"


@pytest.mark.parametrize("project", ["", "2"])
def test_a_project_without_one_is_not_connected(
    client: SegmentClient, rest: StudioClient, connected: FakeStudio, project: str
) -> None:
    assert connection_of(project, client, rest) is None


def test_a_nonce_of_before_proves_nothing(
    client: SegmentClient, rest: StudioClient, connected: FakeStudio
) -> None:
    before = client.identity.challenge()
    client.server.delete("dgl:challenge")
    connected.answers = lambda _url: ["dgl-rsis-test", before]
    assert connection_of("1", client, rest) is None


@pytest.mark.parametrize(("version", "again"), [("dgl-rsis-test", True), ("yolo-1", False)])
def test_one_that_may_be_ours_and_is_silent_is_asked_later(
    client: SegmentClient,
    rest: StudioClient,
    connected: FakeStudio,
    version: str,
    again: bool,
) -> None:
    connected.backends[0]["model_version"] = version
    connected.answers = lambda _url: 503
    if again:
        with pytest.raises(StudioError, match="could not ask this backend") as caught:
            connection_of("1", client, rest)
        assert caught.value.retry
    else:
        assert connection_of("1", client, rest) is None


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_label_studio_refuses_is_not_taken_for_an_answer(
    client: SegmentClient, rest: StudioClient, connected: FakeStudio, status: int
) -> None:
    connected.troubles = [status] * 2
    with pytest.raises(StudioError):
        connection_of("1", client, rest)
    assert client.identity.connection("1") is None
