import multiprocessing
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.images.cache import ABANDONED_SECONDS, Arrays, ImageCache, cache_key

KIB = 1024


def _arrays(size: int, value: int = 1) -> Arrays:
    return {"a": np.full(size // 2, value, np.uint8), "b": np.full(size - size // 2, value, "u1")}


def _never() -> Arrays:
    raise AssertionError("made again")


@settings(deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 700)), max_size=40))
def test_memory_never_holds_more_than_its_cap(sizes: list[tuple[int, int]]) -> None:
    cache = ImageCache(KIB)
    for key, size in sizes:
        cache.put(str(key), _arrays(size))
        assert cache.nbytes <= KIB
        assert cache.get(str(key)) is not None  # what came last stays
    assert cache.nbytes == sum(
        sum(array.nbytes for array in kept.values())
        for kept in (cache.get(str(key)) for key in range(10))
        if kept is not None
    )


def test_the_least_recently_used_goes_first() -> None:
    cache = ImageCache(KIB)
    for key in "ab":
        cache.put(key, _arrays(500))
    assert cache.get("a") is not None
    cache.put("c", _arrays(500))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]


def test_what_is_larger_than_the_cap_is_made_and_not_kept() -> None:
    cache = ImageCache(KIB)
    made = []

    def make() -> Arrays:
        made.append(1)
        return _arrays(KIB + 1)

    assert cache.remember("a", make)["a"].size == KIB // 2
    cache.remember("a", make)
    assert (len(made), cache.nbytes) == (2, 0)


def test_a_value_is_made_once_and_survives_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "anew"
    first = ImageCache(KIB, folder)
    first.remember("a", lambda: _arrays(100, 7))
    first.remember("a", _never)
    again = ImageCache(KIB, folder).remember("a", _never)
    assert sorted(again) == ["a", "b"]
    assert again["a"].tolist() == [7] * 50
    assert folder.stat().st_mode & 0o077 == 0


def _ruined(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    if how == "empty":
        path.write_bytes(b"")
    if how == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    if how == "pickle":
        path.write_bytes(pickle.dumps({"a": os.system}))
    if how == "array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    if how == "objects":
        with path.open("wb") as file:
            np.savez(file, a=np.array([object()], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "pickle", "array", "objects"])
def test_a_damaged_file_is_deleted_and_made_anew(tmp_path: Path, how: str) -> None:
    ImageCache(0, tmp_path).remember("a", lambda: _arrays(3000, 7))
    (file,) = tmp_path.glob("*.npz")
    _ruined(file, how)
    cache = ImageCache(0, tmp_path)
    assert cache.get("a") is None
    assert not file.exists()
    assert cache.remember("a", lambda: _arrays(10, 9))["a"][0] == 9
    assert file.exists()


def test_the_disk_keeps_its_cap_and_what_was_used_last(tmp_path: Path) -> None:
    cache = ImageCache(0, tmp_path, 40 * KIB)
    for age, key in enumerate("abc"):
        cache.remember(key, lambda: _arrays(10 * KIB))
        os.utime(tmp_path / f"{key}.npz", (1000 + age, 1000 + age))
    assert cache.get("a") is not None  # read now: it becomes the newest
    cache.remember("d", lambda: _arrays(10 * KIB))
    assert sorted(path.stem for path in tmp_path.glob("*.npz")) == ["a", "c", "d"]
    cache.remember("e", lambda: _arrays(50 * KIB))  # would push out all others
    assert not (tmp_path / "e.npz").exists()


def test_a_disk_that_fills_gets_half_of_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ImageCache(0, tmp_path, 10**9)
    for number in range(8):
        cache.remember(cache_key("a", str(number)), lambda: {"a": np.zeros(10_000, np.uint8)})
    held = len(list(tmp_path.glob("*.npz")))
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    cache.remember(cache_key("b"), lambda: {"a": np.zeros(10_000, np.uint8)})
    assert (held, len(list(tmp_path.glob("*.npz")))) == (8, 4)


def test_what_a_dead_process_left_half_written_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "old.part", tmp_path / "new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    before = time.time() - ABANDONED_SECONDS - 60
    os.utime(old, (before, before))
    ImageCache(0, tmp_path).remember("a", lambda: _arrays(10))
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_made_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ImageCache(KIB, tmp_path / "file" / "cache")
    assert cache.remember("a", lambda: _arrays(10))["a"].size == 5
    assert "no disk cache" in caplog.text


def _make_slowly(folder: Path, log: Path, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))

    def make() -> Arrays:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return _arrays(100, 3)

    assert ImageCache(KIB, folder).remember(cache_key("a"), make)["a"][0] == 3


def _die_at_work(folder: Path) -> None:
    def die() -> Arrays:
        os._exit(9)

    ImageCache(KIB, folder).remember(cache_key("a"), die)


def _in_processes(target: Callable[..., None], *arguments: object, count: int) -> list[int | None]:
    context = multiprocessing.get_context("fork")  # this module holds no threads and no torch
    processes = [context.Process(target=target, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_processes_that_share_a_folder_make_a_value_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    codes = _in_processes(_make_slowly, tmp_path / "cache", log, time.time() + 0.3, count=4)
    assert codes == [0] * 4
    assert log.read_text() == "made\n"


def test_a_process_that_dies_at_work_holds_nobody_up(tmp_path: Path) -> None:
    assert _in_processes(_die_at_work, tmp_path, count=1) == [9]
    assert ImageCache(KIB, tmp_path).remember(cache_key("a"), lambda: _arrays(10))["a"].size == 5


def test_keys_do_not_run_together() -> None:
    assert cache_key("a", "bc") != cache_key("ab", "c")
    assert cache_key("a") == cache_key("a")


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 2**20), flip=st.integers(1, 255))
def test_whichever_byte_is_wrong_the_arrays_are_right_or_gone(place: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ImageCache(0, folder).remember("a", lambda: _arrays(400, 7))
        (file,) = folder.glob("*.npz")
        content = bytearray(file.read_bytes())
        content[place % len(content)] ^= flip
        file.write_bytes(content)
        arrays = ImageCache(0, folder).get("a")
        # What the archive's own fields hide from the check sum may lose a name, but no value.
        assert arrays is None or all(set(array.tolist()) == {7} for array in arrays.values())
