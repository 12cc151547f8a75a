import threading
import time

from workers import blocking


def test_waits_of_the_main_thread_count_once_and_while_they_last() -> None:
    before = blocking.waited()
    with blocking.waiting(), blocking.waiting():
        time.sleep(0.05)
        assert blocking.is_waiting()
        assert blocking.waited() - before >= 0.05
    assert not blocking.is_waiting()
    total = blocking.waited()
    assert 0.05 <= total - before < 5
    time.sleep(0.02)
    assert blocking.waited() == total


def test_other_threads_do_no_jobs() -> None:
    seen: list[bool] = []

    def wait() -> None:
        with blocking.waiting():
            seen.append(blocking.is_waiting())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert seen == [False]
