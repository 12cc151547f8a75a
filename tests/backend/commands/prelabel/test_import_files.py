import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.commands.journal import Journal
from backend.commands.prelabel.import_files import ImportFiles
from backend.commands.prelabel.items import PrelabelItem

VERSION = "v1"
PREDICTION = {"result": [], "score": 0.5, "model_version": VERSION}


def item(number: int, **more: Any) -> PrelabelItem:
    return PrelabelItem(f"item {number}", {"data": {"image": f"{number}.png"}, **more})


def tasks(folder: Path) -> list[Any]:
    files = sorted(folder.glob("predictions-*.json"))
    return [task for file in files for task in json.loads(file.read_bytes())]


def test_files_are_lists_of_tasks_with_their_predictions(tmp_path: Path) -> None:
    with Journal(tmp_path, {}) as journal:
        files = ImportFiles(tmp_path, journal, VERSION)
        files.write([(item(1), [PREDICTION]), (item(2), [PREDICTION, PREDICTION])])
        files.write([(item(3), [PREDICTION])])
        assert not list(tmp_path.glob("*.json"))
        files.close(finished=True)
        assert "1 file for" in files.note()
    assert tasks(tmp_path) == [
        {"data": {"image": "1.png"}, "predictions": [PREDICTION]},
        {"data": {"image": "2.png"}, "predictions": [PREDICTION, PREDICTION]},
        {"data": {"image": "3.png"}, "predictions": [PREDICTION]},
    ]


def test_a_task_keeps_what_it_came_with(tmp_path: Path) -> None:
    other = {"result": [], "model_version": "v0"}
    stored = item(1, id=7, annotations=[{"result": []}], meta={}, predictions=[other, PREDICTION])
    with Journal(tmp_path, {}) as journal:
        files = ImportFiles(tmp_path, journal, VERSION)
        files.write([(stored, [PREDICTION])])
        files.close(finished=True)
    (task,) = tasks(tmp_path)
    assert task == {
        "data": {"image": "1.png"},
        "annotations": [{"result": []}],
        "predictions": [other, PREDICTION],
    }


@pytest.mark.parametrize("most", [10, 300, 1000])
def test_no_file_is_larger_than_allowed(tmp_path: Path, most: int) -> None:
    with Journal(tmp_path, {}) as journal:
        files = ImportFiles(tmp_path, journal, VERSION, most)
        for number in range(20):
            files.write([(item(number), [PREDICTION])])
        files.close(finished=True)
    paths = sorted(tmp_path.glob("predictions-*.json"))
    assert len(paths) == {10: 20, 300: 7, 1000: 2}[most]
    assert all(file.stat().st_size <= max(most, 120) for file in paths)
    assert len(tasks(tmp_path)) == 20


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    tails=st.lists(st.binary(max_size=30), min_size=8, max_size=8),
    lost=st.lists(st.integers(0, 150), min_size=8, max_size=8),
)
def test_a_killed_run_loses_nothing_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], tails: list[bytes], lost: list[int]
) -> None:
    """After each batch the process dies; what it wrote last may be torn, or not on the disk."""
    folder = tmp_path_factory.mktemp("killed")
    total = sum(sizes)
    for size, tail, cut in zip(sizes, tails, lost, strict=False):
        with Journal(folder, {}) as journal:
            files = ImportFiles(folder, journal, VERSION, 400)
            todo = [i for i in range(total) if f"item {i}" not in journal.progress.done]
            files.write([(item(i), [PREDICTION]) for i in todo[:size]])
            files.abandon()
        for part in folder.glob("*.part"):
            whole = part.read_bytes()
            part.write_bytes(whole + tail if tail else whole[: len(whole) - cut])
    with Journal(folder, {}) as journal:
        files = ImportFiles(folder, journal, VERSION, 400)
        todo = [i for i in range(total) if f"item {i}" not in journal.progress.done]
        files.write([(item(i), [PREDICTION]) for i in todo])
        files.close(finished=True)
    names = [task["data"]["image"] for task in tasks(folder)]
    assert sorted(names) == sorted(f"{i}.png" for i in range(total))


def test_killed_between_the_last_two_steps_of_a_file(tmp_path: Path) -> None:
    with Journal(tmp_path, {}) as journal:
        files = ImportFiles(tmp_path, journal, VERSION)
        files.write([(item(1), [PREDICTION])])
        files._complete(files._file)  # type: ignore[arg-type]  # without the journal's line
    with Journal(tmp_path, {}) as journal:
        files = ImportFiles(tmp_path, journal, VERSION)
        files.write([(item(2), [PREDICTION])])
        files.close(finished=True)
    assert [task["data"]["image"] for task in tasks(tmp_path)] == ["1.png", "2.png"]
    assert len(list(tmp_path.glob("predictions-*.json"))) == 2
