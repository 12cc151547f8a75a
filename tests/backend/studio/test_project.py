import pytest

from backend.studio import project
from backend.studio.client import StudioError
from backend.studio.project import StudioSource
from tests.backend.studio.exports import annotation, box, brushed, task
from tests.backend.studio.fake_project import fake_project
from tests.backend.studio.fake_studio import LEGACY_TOKEN

TASKS = [task(i, annotation(brushed(box(1, 1, 5, 5), "road"))) for i in (3, 4, 9, 12, 40)]


@pytest.mark.parametrize("page", [1, 2, 5, 20])
def test_reads_all_tasks_with_their_masks(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(project, "PAGE", page)
    with fake_project(TASKS, "<View/>") as url:
        assert list(StudioSource(url, LEGACY_TOKEN).tasks_with_masks(1)) == TASKS
    with fake_project([], "<View/>") as url:
        assert list(StudioSource(url, LEGACY_TOKEN).tasks_with_masks(1)) == []


def test_tries_again_what_may_succeed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "WAITS", (0.0, 0.0))
    with fake_project(TASKS, "<View/>", troubles=[502, 503]) as url:
        assert len(list(StudioSource(url, LEGACY_TOKEN).tasks_with_masks(1))) == len(TASKS)
    for troubles in ([404], [502, 502, 502]):
        refused = pytest.raises(StudioError, match=str(troubles[0]))
        with fake_project(TASKS, "<View/>", troubles) as url, refused:
            list(StudioSource(url, LEGACY_TOKEN).tasks_with_masks(1))
