"""RRSIS-D, RefSegRS, RISBench and lists of sentences."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dgl_rsis.evaluation.datasets import referring
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.runs import Runs, from_runs
from tests.dgl_rsis.evaluation.labelled_pictures import (
    MASKS,
    change,
    indices,
    photograph,
    picture,
    runs,
)
from tests.paths import SHARED


def test_rrsisd_is_read_by_image_with_every_sentence(rrsisd: Path):
    referrals = list(referring.rrsisd(rrsisd))
    assert [(r.name, r.expression, r.category) for r in referrals] == [
        ("00001", "The golf field", "golffield"),
        ("00002", "The dam", "dam"),
        ("00002", "a dam below", "dam"),
    ]
    assert np.array_equal(referrals[1].mask, MASKS[0] == 1)
    assert referrals[1].image is referrals[2].image


def test_the_mask_is_where_the_sum_is_one(rrsisd: Path):
    (field, *_) = referring.rrsisd(rrsisd)
    assert np.array_equal(field.mask, MASKS.sum(axis=0) == 1)
    assert not field.mask[1, 1]


def test_uncompressed_runs_are_read_too(rrsisd: Path):
    change(rrsisd, segmentation=[{"size": [3, 4], "counts": [0, 2, 1, 2, 7]}])
    referrals = {r.name: r for r in referring.rrsisd(rrsisd)}
    assert np.array_equal(referrals["00002"].mask, MASKS[0] == 1)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([runs(np.zeros((3, 5), np.uint8))], r"annotation 1 is \(3, 5\), its image \(3, 4\)"),
        ([{"size": [3, 4], "counts": [3]}], "annotation 1 is no list of run lengths"),
        ([{"size": [3, 4], "counts": "o"}], "annotation 1 is no list of run lengths"),
        ([[0, 0, 1, 1, 2, 2]], "annotation 1 is no list of run lengths"),
        (None, "annotation 1 is no list of run lengths"),
    ],
)
def test_a_damaged_annotation_is_named(rrsisd: Path, segmentation: object, words: str):
    change(rrsisd, segmentation=segmentation)
    with pytest.raises(DatasetError, match=rf"instances\.json, {words}"):
        list(referring.rrsisd(rrsisd))


def test_missing_files_of_rrsisd_are_named(rrsisd: Path):
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p has no expressions of the split 'all'"):
        list(referring.rrsisd(rrsisd, "all"))
    (rrsisd / "images" / "rrsisd" / "JPEGImages" / "00001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no image .*00001\.jpg"):
        list(referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps([{"split": "test"}]))
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p does not fit instances\.json"):
        list(referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "refs(unc).p").unlink()
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p cannot be read: No such file"):
        list(referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").write_text('{"images": []}')
    with pytest.raises(DatasetError, match=r"instances\.json lacks 'categories'"):
        list(referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").write_text("{")
    with pytest.raises(DatasetError, match=r"instances\.json is not JSON"):
        list(referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").unlink()
    with pytest.raises(DatasetError, match=r"instances\.json cannot be read: No such file"):
        list(referring.rrsisd(rrsisd))


class Trap:
    """Runs a function when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_cannot_run_code(rrsisd: Path, protocol: int):
    trace = rrsisd / "was here"
    stream = pickle.dumps([Trap(trace)], protocol)
    (rrsisd / "rrsisd" / "refs(unc).p").write_bytes(stream)
    with pytest.raises(DatasetError, match="no pickle of plain lists"):
        list(referring.rrsisd(rrsisd))
    assert not trace.exists()
    pickle.loads(stream)  # the trap itself works
    assert trace.exists()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers())
        | st.dictionaries(st.text(), inner).map(OrderedDict)
    ),
    max_leaves=8,
)


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_pickles_are_read_whatever_their_protocol(value: object, protocol: int):
    stream = io.BytesIO(pickle.dumps(value, protocol))
    assert referring._PlainUnpickler(stream).load() == value


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=60)))
def test_run_lengths_of_the_coco_api_are_decoded(mask: np.ndarray):
    encoded = runs(mask.astype(np.uint8))
    counts = referring.decode_counts(encoded["counts"])
    height, width = mask.shape
    assert np.array_equal(from_runs(Runs(width, height, tuple(counts))).T, mask)


# ---- lists of phrases ----------------------------------------------------------------------------


def test_refsegrs(tmp_path: Path):
    photograph(tmp_path / "images" / "0001.tif")
    picture(tmp_path / "masks" / "0001.tif", indices(0, 255, 1))
    lines = "0001 road  along the trees\n\n0001 vehicle in the parking area\n"
    (tmp_path / "output_phrase_test.txt").write_text(lines, "utf-8")
    referrals = list(referring.refsegrs(tmp_path))
    assert [(r.name, r.expression) for r in referrals] == [
        ("0001", "road  along the trees"),
        ("0001", "vehicle in the parking area"),
    ]
    assert referrals[0].mask.tolist() == [[False] * 4, [True] * 4, [True] * 4]
    assert referrals[0].image is referrals[1].image


def test_risbench(tmp_path: Path):
    for name in ("00006_0000.png", "00007.png"):
        photograph(tmp_path / "img_rgb" / name)
        picture(tmp_path / "mask" / name, indices(0, 0, 255))
    lines = "00006_0000.png The large dam.\n00007 the harbor on the left\n"
    (tmp_path / "output_phrase_val.txt").write_text(lines, "utf-8")
    referrals = list(referring.risbench(tmp_path, "val"))
    assert [(r.name, r.expression) for r in referrals] == [
        ("00006_0000", "The large dam."),
        ("00007", "the harbor on the left"),
    ]


def test_what_is_wrong_in_a_list_of_phrases_is_named(tmp_path: Path):
    path = tmp_path / "output_phrase_test.txt"
    with pytest.raises(DatasetError, match=r"output_phrase_test\.txt cannot be read"):
        list(referring.refsegrs(tmp_path))
    path.write_text("0001 road\n0002\n", "utf-8")
    with pytest.raises(DatasetError, match=r"no image .*images/0001\.tif"):
        list(referring.refsegrs(tmp_path))
    photograph(tmp_path / "images" / "0001.tif")
    with pytest.raises(DatasetError, match=r"no label .*masks/0001\.tif"):
        list(referring.refsegrs(tmp_path))
    picture(tmp_path / "masks" / "0001.tif", indices(0, 1))
    with pytest.raises(DatasetError, match=r"masks/0001\.tif is \(2, 4\), its image \(3, 4\)"):
        list(referring.refsegrs(tmp_path))
    picture(tmp_path / "masks" / "0001.tif", indices(0, 1, 0))
    with pytest.raises(DatasetError, match=r"output_phrase_test\.txt, line 2"):
        list(referring.refsegrs(tmp_path))


def test_real_sentences_have_their_kind_as_stratum(tmp_path: Path):
    photograph(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "masks" / "m.png", indices(0, 255, 0))
    line = '{"image": "a.jpg", "mask": "m.png", "sentence": "The dam", "kind": "ordinal"}'
    (tmp_path / "expressions.jsonl").write_text(f"{line}\n\n{line}\n", "utf-8")
    first, second = referring.real(tmp_path)
    assert (first.name, first.expression, first.stratum) == ("a", "The dam", "ordinal")
    assert first.mask[:, 0].tolist() == [False, True, False]
    assert first.image is second.image
    with pytest.raises(DatasetError, match="no split 'val': all of it is test"):
        list(referring.real(tmp_path, "val"))
    (tmp_path / "expressions.jsonl").write_text('{"image": "a.jpg"}\n', "utf-8")
    with pytest.raises(DatasetError, match="line 1: expected image, mask, sentence and kind"):
        list(referring.real(tmp_path))


@pytest.mark.skipif(
    not (SHARED / "real-expressions").is_dir(), reason=f"needs {SHARED}/real-expressions"
)
def test_the_real_expressions_are_read():
    referrals = list(referring.real(SHARED / "real-expressions"))
    assert len(referrals) == 36
    assert all(0 < r.mask.mean() < 0.6 for r in referrals)
    assert len({r.stratum for r in referrals}) == 6


def test_sentences(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"sentence": "A dam", "category": "dam", "split": "val"}\n\n', "utf-8")
    (row,) = referring.sentences(path)
    assert (row.text, row.category) == ("A dam", "dam")
    path.write_text('{"sentence": "A dam", "category": "dam"}\n{"sentence": "x"}\n', "utf-8")
    with pytest.raises(DatasetError, match=r"rows\.jsonl, line 2"):
        list(referring.sentences(path))


@pytest.mark.skipif(
    not (SHARED / "expressions").is_dir(), reason=f"needs the sentences in {SHARED}/expressions"
)
def test_the_real_sentences_are_read():
    (file,) = (SHARED / "expressions").glob("*.jsonl")
    rows = list(referring.sentences(file))
    assert len(rows) == 13_921
    assert len({row.category for row in rows}) == 20
