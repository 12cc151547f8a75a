import pytest

from backend.web.pages import ago, bar, said, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (-3.0, "0 s"),
        (8.4, "8 s"),
        (59.6, "1 min"),
        (725.0, "12 min"),
        (3600.0 * 3 + 1200, "3 h 20 min"),
        (86400.0 * 2 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_spans(seconds: float | None, words: str) -> None:
    assert span(seconds) == words
    assert seconds is None or ago(100.0 - seconds, 100.0) == f"{words} ago"


def test_what_was_done_is_said_in_our_own_words() -> None:
    assert said("retried", "12") == "Asked for again: 12."
    assert said("cancelled", "<b>") == "Cancelled: some."
    assert said("<script>", "1") == said("", "") == ""


def test_a_bar_is_full_and_shows_what_is_few() -> None:
    parts = bar({"delivered": 99_000, "queued": 999, "failed": 1, "strange": 5})
    assert [state for state, _, _ in parts] == ["delivered", "queued", "failed"]
    assert all(width > 0 for _, _, width in parts)
    assert sum(width for _, _, width in parts) == pytest.approx(1000, abs=1)
    assert bar({}) == []
