"""An image that kills its worker costs three attempts, and no other task anything."""

import signal

from redis import Redis

from tests.workers.fake_worker import request
from tests.workers.worker_processes import worker_process
from workers.messages import SegmentReply
from workers.processes.jobs import DEADLY, MOST_ATTEMPTS
from workers.queue.client import SegmentClient
from workers.queue.replies import Failure


def test_several_at_once_cost_three_attempts_each_and_leave_all_others_done(
    valkey: str, redis: Redis, client: SegmentClient
) -> None:
    good = [request("bright", str(number)) for number in range(6)]
    poison = [request("kill", str(number)) for number in range(3)]
    # Between good ones, and next to each other.
    asked = [good[0], poison[0], good[1], poison[1], poison[2], *good[2:]]
    client.submit(asked)
    keys = [each.key for each in asked]
    deaths = 0
    while None in (answers := client.look_up(keys)).values():
        assert deaths <= MOST_ATTEMPTS * len(poison)
        with worker_process(valkey, beat=0.1) as process:
            while process.is_alive() and None in client.look_up(keys).values():
                process.join(0.05)
            deaths += process.exitcode == -signal.SIGKILL
    assert deaths == MOST_ATTEMPTS * len(poison)
    assert all(answers[each.key] == Failure(DEADLY) for each in poison)
    assert all(isinstance(answers[each.key], SegmentReply) for each in good)
    assert len(client.failures()) == len(poison)
