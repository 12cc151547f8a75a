import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.regions.findings import ExportError
from backend.studio import json_stream

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1]), st.integers(1, 9), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_equals_reading_at_once(
    tmp_path: Path, value: list[object], indent: int | None, chunk: int, ascii_: bool
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=ascii_), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        assert list(json_stream.elements(path)) == value


def test_skips_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(b"\xef\xbb\xbf [1]\n")
    assert list(json_stream.elements(path)) == [1]


@pytest.mark.parametrize("text", ["[1, 2", '[{"a": [1, 2', "[1 2]", '["a', "[,]", "[1,]", "[tru"])
def test_broken_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ExportError, match="cut short or no JSON"):
        list(json_stream.elements(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with pytest.raises(ExportError, match="cannot be read"):
        list(json_stream.elements(path))
    path.write_bytes(b'["\xff"]')
    with pytest.raises(ExportError, match="UTF-8"):
        list(json_stream.elements(path))


def test_does_not_hold_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with path.open("w") as file:
        file.write("[")
        for i in range(100):
            file.write(("," if i else "") + json.dumps({"id": i, "rle": "x" * 300_000}))
        file.write("]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in json_stream.elements(path)) == 100
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20 < path.stat().st_size
    finally:
        tracemalloc.stop()


def test_a_wrong_element_is_not_searched_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[{]" + " " * 2**24 + "]")
    tracemalloc.start()
    try:
        with pytest.raises(ExportError):
            list(json_stream.elements(path))
        assert tracemalloc.get_traced_memory()[1] < 2**24 / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5_000 + "]"])
def test_what_python_cannot_hold_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ExportError, match="no export has such"):
        list(json_stream.elements(path))
