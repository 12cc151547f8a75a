"""What is sent beside the next job: in order, one at a time."""

import threading

from workers.processes.sender import Sender


def test_one_is_sent_at_a_time_and_in_order() -> None:
    sender, may_end, told = Sender(), threading.Event(), []

    def first() -> None:
        may_end.wait(30)
        told.append("first")

    sender.send(first)
    assert told == []  # whoever sends goes on
    other = threading.Thread(target=lambda: sender.send(lambda: told.append("second")))
    other.start()
    other.join(0.2)
    assert other.is_alive()  # it waits: no more than one is held
    may_end.set()
    other.join(30)
    sender.wait()
    assert told == ["first", "second"]


def test_there_is_nothing_to_wait_for_at_first() -> None:
    Sender().wait()
