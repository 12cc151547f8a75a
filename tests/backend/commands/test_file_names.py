from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from backend.commands.file_names import FileNames, result_stems

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


def test_files_of_one_stem_have_results_of_different_names() -> None:
    files = [Path(name) for name in ("b/y.tif", "X.jpg", "x.tif", "a/y.tif", "x.y.png", "z.png")]
    assert list(result_stems(files).values()) == [
        "b_y.tif", "X.jpg", "x.tif", "a_y.tif", "x.y", "z",
    ]  # fmt: skip
    assert result_stems(files[::-1]) == result_stems(files)
    assert result_stems([]) == {}


@given(st.lists(st.sampled_from(["a", "A", "a_b", "b/a", "b_a", "a.tif", "b_a.jpg"])))
def test_no_result_overwrites_another(stems: list[str]) -> None:
    files = {Path(f"{stem}{suffix}") for stem in stems for suffix in (".jpg", ".tif")}
    names = [name.lower() for name in result_stems(sorted(files)).values()]
    assert len(set(names)) == len(files)
