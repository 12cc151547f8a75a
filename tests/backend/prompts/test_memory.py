from typing import Any

from backend.prompts.memory import UNSAVED_SECONDS, Signs, Suggestions


def recent(suggestions: Suggestions, task: str, *asked_by: str) -> list[dict[str, Any]]:
    return [each for held in suggestions.recent(task, asked_by) for each in held["result"]]


def region(name: str) -> dict[str, Any]:
    return {"id": name}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_the_last_signs_are_remembered() -> None:
    signs = Signs(most=2)
    for name in "abc":
        signs.of("1", {"id": name, "is_positive": False})
    assert [signs.of("1", {"id": name}) for name in "abc"] == [True, False, False]


def test_a_suggestion_is_recent_once_its_prompt_is_gone_and_until_a_draft_can_hold_it() -> None:
    clock = Clock()
    suggestions = Suggestions(clock)
    suggestions.remember("1", [region("a")], ["click 1"])
    suggestions.remember("1", [region("b"), region("c")], ["click 2"])
    assert recent(suggestions, "1", "click 3") == [region("b"), region("c"), region("a")]
    assert recent(suggestions, "1", "click 2", "click 3") == [region("a")]
    assert recent(suggestions, "2", "click 3") == []
    clock.now += UNSAVED_SECONDS + 0.1
    assert recent(suggestions, "1", "click 3") == []


def test_few_suggestions_are_kept_for_they_are_large() -> None:
    clock = Clock()
    suggestions = Suggestions(clock, most=2)
    for task in "123":
        suggestions.remember(task, [region(task)], [])
    assert [recent(suggestions, task) for task in "123"] == [[], [region("2")], [region("3")]]
    for number in range(9):
        suggestions.remember("3", [region(str(number))], [])
    assert len(recent(suggestions, "3")) == 4
    clock.now += UNSAVED_SECONDS + 0.1
    suggestions.remember("4", [], [])
    clock.now -= UNSAVED_SECONDS
    assert recent(suggestions, "3") == []
