import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.commands.journal import NAME, Journal, JournalError, Progress

ABOUT = {"model_version": "v1", "score": "confidence"}


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    with Journal(tmp_path, ABOUT) as journal:
        journal.write([{"done": "a", "part": 1, "end": 10}, {"failed": "b", "reason": "no image"}])
        journal.write([{"pushing": ["c", "d"], "at": 5.0}, {"pushed": ["c"]}])
        before = journal.progress
    with Journal(tmp_path, ABOUT) as journal:
        assert journal.progress == before
        assert journal.progress.done == {"a", "c"}
        assert journal.progress.failed == {"b": "no image"}
        assert journal.progress.unsettled == {"d": 5.0}
        assert (journal.progress.part, journal.progress.end) == (1, 10)


def test_what_succeeds_later_has_not_failed() -> None:
    progress = Progress()
    progress.take({"failed": "a", "reason": "no image"})
    progress.take({"done": "a", "part": 1, "end": 10})
    assert (progress.done, progress.failed) == ({"a"}, {})


@given(cut=st.integers(1, 40))
def test_a_torn_last_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    with Journal(folder, ABOUT) as journal:
        journal.write([{"done": f"image {i}", "part": 1, "end": i} for i in range(3)])
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(folder, ABOUT) as journal:
        assert journal.progress.done == {"image 0", "image 1"}
        journal.write([{"done": "image 2", "part": 1, "end": 9}])
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line).get("done") for line in lines] == [
        None, "image 0", "image 1", "image 2",
    ]  # fmt: skip


def test_a_journal_that_is_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"model_ver')
    with Journal(tmp_path, ABOUT):
        pass
    assert json.loads((tmp_path / NAME).read_bytes()) == ABOUT


def test_damage_elsewhere_is_named(tmp_path: Path) -> None:
    with Journal(tmp_path, ABOUT) as journal:
        journal.write([{"pushed": ["a"]}])
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b'{"pushed"', b'{"pus\xff'))
    with pytest.raises(JournalError, match="damaged in line 2: remove that line"):
        Journal(tmp_path, ABOUT)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, ABOUT), pytest.raises(JournalError, match="another run works in"):
        Journal(tmp_path, ABOUT)
    with Journal(tmp_path, ABOUT):
        pass


def test_what_only_failed_may_be_tried_otherwise(tmp_path: Path) -> None:
    with Journal(tmp_path, ABOUT) as journal:
        journal.write([{"failed": "a", "reason": "no image"}])
    with Journal(tmp_path, ABOUT | {"model_version": "v2"}) as journal:
        assert journal.progress == Progress()
        journal.write([{"pushed": ["a"]}])
    with Journal(tmp_path, ABOUT | {"model_version": "v2"}) as journal:
        assert journal.progress.done == {"a"}


def test_predictions_of_two_models_do_not_mix(tmp_path: Path) -> None:
    with Journal(tmp_path, ABOUT) as journal:
        journal.write([{"pushed": ["a"]}])
    with pytest.raises(JournalError, match=r"model_version: 'v1' there, 'v2' now.*another --out"):
        Journal(tmp_path, {**ABOUT, "model_version": "v2"})


def test_what_a_folder_is_about_can_be_read_while_a_run_has_it(tmp_path: Path) -> None:
    assert Journal.about(tmp_path) == {}
    with Journal(tmp_path, ABOUT) as journal:
        journal.write([{"pushed": ["a"]}])
        assert Journal.about(tmp_path) == ABOUT
    (tmp_path / NAME).write_bytes(b'{"model_ver')
    assert Journal.about(tmp_path) == {}
