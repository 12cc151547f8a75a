from redis import Redis

from workers.queue.supervision import TOLD_SECONDS, Supervised, supervised, tell

WEB = Supervised("a", "web", 12, "running", 0, 0, None, "", None, None)
WORKER = Supervised("b", "worker", 0, "pausing", 3, 2, -9, "killed by SIGKILL", 5.0, 9.0)


def test_what_supervisors_say_is_told_until_they_are_gone(redis: Redis) -> None:
    assert supervised(redis) == []
    tell(redis, "a:1", [WEB])
    tell(redis, "b:2", [WORKER])
    assert supervised(redis) == [WEB, WORKER]
    assert 0 < redis.ttl("dgl:supervised:a:1") <= TOLD_SECONDS
    redis.delete("dgl:supervised:a:1")
    assert supervised(redis) == [WORKER]
    assert redis.smembers("dgl:supervisors") == {b"b:2"}
