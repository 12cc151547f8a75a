"""The claims against a model of what each method promises."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from redis import Redis

from workers.queue.claims import ANSWER_SECONDS, BEGUN_KEY, PUSH, WAIT_SECONDS, Claims, claim_key

OWNERS = st.sampled_from(["open-1", "open-2", "delivery-5-a"])


class ClaimMachine(RuleBasedStateMachine):
    """One task and one key: `holder` is None, PUSH or an owner."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.claims = Claims(self.redis)
        self.holder: str | None = None

    @rule(owner=OWNERS)
    def claim_open(self, owner: str) -> None:
        free = self.holder in (None, PUSH)
        assert self.claims.claim_open(5, "a", owner, 30) is free
        self._hold(owner if free else self.holder, 30 if free else None)

    @rule()
    def claim_push(self) -> None:
        free = self.holder is None
        assert self.claims.claim_push(5, "a") is free
        self._hold(PUSH if free else self.holder, WAIT_SECONDS if free else None)

    @rule(owner=OWNERS)
    def begin_push(self, owner: str) -> None:
        allowed = self.holder in (PUSH, owner)
        assert self.claims.begin_push(5, "a", owner) is allowed
        self._hold(owner if allowed else self.holder, ANSWER_SECONDS if allowed else None)

    @rule(owner=OWNERS)
    def yield_push(self, owner: str) -> None:
        allowed = self.holder == owner
        assert self.claims.yield_push(5, "a", owner) is allowed
        self._hold(PUSH if allowed else self.holder, WAIT_SECONDS if allowed else None)

    @rule(seconds=st.sampled_from([10, 20]))
    def release_soon(self, seconds: int) -> None:
        self.claims.release(5, "a", seconds)
        answering = self.holder not in (None, PUSH)
        self._hold(self.holder, seconds if answering else None)

    @rule()
    def release_now(self) -> None:
        self.claims.release(5, "a", 0)
        self._hold(PUSH if self.holder == PUSH else None, None)

    @precondition(lambda self: self.holder is not None)
    @rule()
    def time_runs_out(self) -> None:
        self.redis.delete(claim_key(5, "a"))
        self._hold(None, None)

    def _hold(self, holder: str | None, seconds: int | None) -> None:
        stored = self.redis.get(claim_key(5, "a"))
        assert stored == (holder.encode() if holder is not None else None)
        left = self.redis.ttl(claim_key(5, "a"))
        assert left == -2 if holder is None else left > 0  # a claim always ends by itself
        if seconds is not None:
            assert seconds - 2 <= left <= seconds
        self.holder = holder


def test_claims_do_what_their_model_does(redis: Redis) -> None:
    class Machine(ClaimMachine):
        pass

    Machine.redis = redis
    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=60, deadline=None, suppress_health_check=checks)
    )


def test_tasks_and_keys_do_not_meet(redis: Redis) -> None:
    claims = Claims(redis)
    assert claims.claim_open(5, "a", "me", 30)
    assert claims.claim_open(6, "a", "me", 30)
    assert claims.claim_open(5, "b", "me", 30)
    assert not claims.claim_open(5, "a", "you", 30)


@pytest.mark.parametrize("method", ["claim_open", "begin_push", "yield_push"])
def test_an_owner_cannot_pass_for_a_waiting_delivery(redis: Redis, method: str) -> None:
    more: list[Any] = [30] if method == "claim_open" else []
    with pytest.raises(ValueError, match="cannot be called 'push'"):
        getattr(Claims(redis), method)(5, "a", "push", *more)


@pytest.fixture
def claims(redis: Redis) -> Claims:
    return Claims(redis)


def test_a_later_run_takes_a_delivery_over_and_the_former_one_sees_it(
    claims: Claims, redis: Redis
) -> None:
    claims.claim_push(1, "k")
    assert claims.begin_push(1, "k", "delivery-1-k:first")
    assert claims.holds(1, "k", "delivery-1-k:first")
    assert claims.begin_push(1, "k", "delivery-1-k:second")
    assert not claims.holds(1, "k", "delivery-1-k:first")
    assert not claims.yield_push(1, "k", "delivery-1-k:first")
    claims.release(1, "k", 0, "delivery-1-k:first")
    assert claims.holds(1, "k", "delivery-1-k:second")
    assert not claims.begin_push(1, "k", "delivery-1-k2:third"), "another job"
    claims.release(1, "k", 0, "delivery-1-k:second")
    assert claims.claim_push(1, "k")


def test_a_claim_that_the_server_lost_is_made_anew_by_a_run_that_was_begun(
    claims: Claims, redis: Redis
) -> None:
    assert not claims.holds(1, "k", "delivery-1-k:run"), "a run that was recovered, or none"
    redis.zadd(BEGUN_KEY, {"delivery-1-k:run": 1.0})
    assert claims.holds(1, "k", "delivery-1-k:run")
    assert not claims.claim_push(1, "k")
