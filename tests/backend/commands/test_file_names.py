from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from backend.commands.file_names import FileNames, shared_stems

EVIL = st.sampled_from(["..", "/etc/passwd", "a/../../b", "a\0b", "\ud800", ".hidden", "CON", "-x"])


@given(st.lists(st.tuples(EVIL | st.text(max_size=300), st.integers(1, 3))))
def test_names_are_different_and_stay_in_their_folder(given_: list[tuple[str, int]]) -> None:
    names = FileNames()
    unique = [names.give(text, "other", mark) for text, mark in given_]
    assert len({name.lower() for name in unique}) == len(unique)
    for name in unique:
        assert Path(name).name == name
        assert name[0] not in ".-"
        assert len(f"{name}_labels.tif.aux.xml".encode()) < 255


def test_plain_names_are_kept() -> None:
    names = FileNames()
    assert names.give("São_1.tile", "other") == "São_1.tile"
    assert names.give("são_1.TILE", "other", 7) == "são_1.TILE-7"
    assert names.give("SÃO_1.tile", "other", 7) == "SÃO_1.tile-2"
    assert names.give("..", "other") == "other"
    assert names.give("", "other") == "other-2"


def test_stems_that_several_files_have_are_found_whatever_their_kind() -> None:
    files = ["b/y.tif", "x.jpg", "x.tif", "a/y.tif", "x.y.png", "z.png"]
    assert shared_stems(map(Path, files)) == ["x", "y"]
    assert shared_stems([]) == []
