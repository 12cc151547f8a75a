import time
from collections import Counter
from pathlib import Path

import pytest

from backend.commands.journal import Journal
from backend.commands.prelabel import push
from backend.commands.prelabel.items import PrelabelError, PrelabelItem, Stop
from backend.commands.prelabel.push import Project, Push
from backend.studio.client import StudioClient, StudioError
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio

VERSION = "v1"
OURS = "dgl-rsis-0.1.0-starter-0123abcd"
PREDICTION = {"result": [], "score": 0.5, "model_version": VERSION}


@pytest.fixture
def project(studio: FakeStudio) -> Project:
    return Project(StudioClient(studio.url, LEGACY_TOKEN), 1, VERSION, Stop())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(push, "SETTLE_SECONDS", 0.5)


def items(*numbers: int) -> list[tuple[PrelabelItem, list[dict[str, object]]]]:
    return [(PrelabelItem(str(n), {"id": n, "data": {}}), [dict(PREDICTION)]) for n in numbers]


def stored(studio: FakeStudio) -> list[int]:
    return [prediction["task"] for prediction in studio.predictions]


def test_tasks_are_read_page_by_page_and_known_by_their_version(
    project: Project, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "PAGE", 3)
    studio.tasks = set(range(10, 18))
    studio.add({"task": 12, **PREDICTION})
    studio.add({"task": 13, **PREDICTION, "model_version": f"{VERSION}-sam"})
    source = project.source()
    read = list(source.items())
    assert source.total == 8
    assert [item.name for item in read] == [str(n) for n in range(10, 18)]
    assert [item.name for item in read if item.predicted] == ["12"]
    assert read[0].task["data"] == {"image": "/data/upload/1/t10.png"}


def test_a_task_that_goes_while_pages_are_read_hides_no_other(
    project: Project, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "PAGE", 2)
    studio.tasks = {1, 2, 3, 4, 5}
    names = []
    for item in project.source().items():
        names.append(item.name)
        studio.tasks.discard(1)
    assert names == ["1", "2", "3", "4", "5"]


def test_label_studio_may_be_away_while_pages_are_read(
    project: Project, studio: FakeStudio
) -> None:
    source = project.source()
    studio.troubles = [503, 502]
    assert [item.name for item in source.items()] == ["1", "2", "3"]
    studio.troubles = [503] * 3
    with pytest.raises(PrelabelError, match=r"503.*the same command goes on"):
        list(source.items())
    studio.troubles = [403]
    with pytest.raises(PrelabelError, match=r"403"):
        list(source.items())


def test_no_tasks_and_no_project_are_refused(project: Project, studio: FakeStudio) -> None:
    studio.tasks = set()
    with pytest.raises(PrelabelError, match="project 1 has no tasks"):
        project.source()
    with pytest.raises(StudioError, match=r"404 .*No Project"):
        Project(project.studio, 9, VERSION, Stop()).source()


def test_predictions_go_in_batches(
    project: Project, studio: FakeStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "MOST_BYTES", 150)  # two of them
    studio.tasks = set(range(1, 8))
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2, 3))
        writer.write(items(4, 5, 6, 7))
        writer.close(finished=True)
        assert journal.progress.done == {str(n) for n in range(1, 8)}
        assert not journal.progress.unsettled
    assert stored(studio) == [1, 2, 3, 4, 5, 6, 7]
    assert Counter(studio.calls)["POST /api/projects/1/import/predictions"] == 4


def test_what_came_through_although_the_answer_was_lost_is_not_sent_again(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    studio.lose_answers = True
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2, 3))
        writer.close(finished=True)
        assert journal.progress.done == {"1", "2", "3"}
    assert stored(studio) == [1, 2, 3]


def test_a_label_studio_that_stays_away_ends_the_run_and_the_next_goes_on(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    studio.troubles = [503] * 3
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2))
        with pytest.raises(PrelabelError, match=r"503.*the same command goes on"):
            writer.close(finished=True)
        assert journal.progress.done == set()
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2))
        writer.close(finished=True)
    assert stored(studio) == [1, 2]


def test_a_push_that_a_killed_run_began_is_waited_for(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    with Journal(tmp_path, {}) as journal:
        journal.write([{"pushing": ["1", "2"], "at": time.time()}])
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        studio.add({"task": 1, **PREDICTION})
        started = time.monotonic()
        writer.write(items(1, 2, 3))
        writer.close(finished=True)
        assert time.monotonic() - started > 0.3
        assert journal.progress.done == {"1", "2", "3"}
    assert stored(studio) == [1, 2, 3]


def test_tasks_that_are_gone_or_refused_fail_alone(
    project: Project, studio: FakeStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.tasks = {1, 2, 3, 4, 5}
    take = FakeStudio.check

    def check(self: FakeStudio, row: dict[str, object]) -> None:
        take(self, {"task": 99 if row["task"] == 4 else row["task"]})

    monkeypatch.setattr(FakeStudio, "check", check)
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2, 3, 4, 5, 6))
        writer.close(finished=True)
        assert journal.progress.done == {"1", "2", "3", "5"}
        assert "no longer in project 1" in journal.progress.failed["6"]
        assert "answered 400" in journal.progress.failed["4"]
    assert sorted(stored(studio)) == [1, 2, 3, 5]


def test_without_rights_the_run_ends(project: Project, studio: FakeStudio, tmp_path: Path) -> None:
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2))
        studio.troubles = [403]
        with pytest.raises(PrelabelError, match=r"403.*access to the project"):
            writer.close(finished=True)


def test_candidates_of_one_task_go_together(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write([(items(1)[0][0], [dict(PREDICTION, score=0.9), dict(PREDICTION, score=0.1)])])
        writer.close(finished=True)
    assert [(p["task"], p["score"]) for p in studio.predictions] == [(1, 0.9), (1, 0.1)]


def test_the_project_shows_what_it_was_given(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    for finished, shown in ((False, ""), (True, OURS)):
        studio.predictions, studio.shown = [], ""
        given = Project(project.studio, 1, OURS, Stop())
        with Journal(tmp_path / str(finished), {}) as journal:
            writer = Push(given, journal)
            writer.write([(i, [p | {"model_version": OURS} for p in ps]) for i, ps in items(1, 2)])
            writer.close(finished=finished)
        assert studio.shown == shown


def test_what_somebody_else_chose_stays(
    project: Project, studio: FakeStudio, tmp_path: Path
) -> None:
    studio.shown = "human-v1"
    with Journal(tmp_path, {}) as journal:
        writer = Push(project, journal)
        writer.write(items(1, 2))
        writer.close(finished=True)
    assert studio.shown == "human-v1"
