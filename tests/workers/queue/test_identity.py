import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from workers.queue.identity import Connection, Identity


@pytest.fixture
def identity(redis: Redis) -> Identity:
    return Identity(redis)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.integers(0, 10**18 - 1), st.text(max_size=80))
def test_a_token_names_its_project_and_nothing_else_is_one(
    identity: Identity, project: int, other: str
) -> None:
    token = identity.token(str(project))
    assert identity.project_of(token) == str(project)
    assert identity.project_of(other) == ""
    for wrong in (f"{token} ", f"0{token}", token[:-1], token.replace(".", ".0", 1)):
        assert identity.project_of(wrong) == ""


def test_the_former_secret_counts_for_a_day(identity: Identity, redis: Redis) -> None:
    first = identity.token("1")
    identity.renew()
    second = identity.token("1")
    assert [identity.project_of(each) for each in (first, second)] == ["1", "1"]
    assert 0 < redis.ttl("dgl:secret:former") <= 24 * 3600
    identity.renew()
    assert [identity.project_of(each) for each in (first, second)] == ["", "1"]


def test_those_who_ask_at_once_have_one_nonce_that_ends(identity: Identity, redis: Redis) -> None:
    assert identity.challenged() == ""
    nonce = identity.challenge()
    assert identity.challenge() == identity.challenged() == nonce
    assert 0 < redis.ttl("dgl:challenge") <= 60
    redis.delete("dgl:challenge")
    assert identity.challenge() != nonce


def test_what_was_found_out_counts_until_something_else_is_wanted(
    identity: Identity, redis: Redis
) -> None:
    connection = Connection("http://b:9090", "digest")
    identity.remember("1", connection)
    identity.remember("2", Connection())
    assert redis.ttl("dgl:connected:2") <= 5 < redis.ttl("dgl:connected:1")
    identity.expect("1", "digest")
    assert identity.connection("1") == connection
    for project in ("1", "2", "3"):
        identity.expect(project, "another digest")
        assert identity.connection(project) is None
