import csv
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from backend.commands.export.dataset import Example, Split
from backend.commands.export.formats import referring
from backend.regions.findings import ExportError
from dgl_rsis.evaluation.datasets import referring as dataset_referring
from dgl_rsis.types import Mask
from tests.backend.commands.export.written import VOCABULARY, example, planes, region

BLOB = np.zeros((12, 16), dtype=np.bool_)
BLOB[2:6, 3:9] = True
OTHER = np.zeros((12, 16), dtype=np.bool_)
OTHER[8:, 10:] = True


def asked(folder: Path, mask: Mask, split: Split = "train", number: int = 1) -> Example:
    return example(
        folder,
        [region(mask)],
        stem=f"t{number}",
        split=split,
        expression=f"the large  building, number {number}",
        task=number,
    )


@pytest.fixture
def three(tmp_path: Path) -> list[Example]:
    """One for each split."""
    given: list[tuple[Mask, Split]] = [(BLOB, "train"), (OTHER, "val"), (BLOB | OTHER, "test")]
    return [asked(tmp_path, mask, split, n) for n, (mask, split) in enumerate(given, start=1)]


def test_refsegrs_comes_back_through_its_reader(three: list[Example], tmp_path: Path) -> None:
    folder = referring.write_refsegrs(three, VOCABULARY, tmp_path / "out")
    for made, mask in zip(three, (BLOB, OTHER, BLOB | OTHER), strict=True):
        (sample,) = dataset_referring.refsegrs(folder, made.split)
        assert sample.expression == f"the large building, number {made.item.task_id}"
        assert np.array_equal(sample.mask, mask)
        with Image.open(made.source) as source:
            assert np.array_equal(sample.image, np.asarray(source))
    first = (folder / "output_phrase_train.txt").read_text("utf-8")
    assert first == "1 the large building, number 1\n"
    with Image.open(folder / "masks" / "1.tif") as file:
        assert (file.mode, set(np.unique(np.asarray(file)))) == ("L", {0, 255})
    with (folder / "sources.csv").open(encoding="utf-8") as file:
        assert next(csv.DictReader(file)) == {
            "id": "1", "image": "t1.png", "task": "1", "scene": "t1", "label": "building",
        }  # fmt: skip


def test_rrsisd_comes_back_through_its_reader(three: list[Example], tmp_path: Path) -> None:
    folder = referring.write_rrsisd(three, VOCABULARY, tmp_path / "out")
    for made, mask in zip(three, (BLOB, OTHER, BLOB | OTHER), strict=True):
        (sample,) = dataset_referring.rrsisd(folder, made.split)
        assert sample.expression == f"the large  building, number {made.item.task_id}".replace(
            "  ", " "
        )
        assert sample.name == f"t{made.item.task_id}"
        assert sample.category == "building"
        assert np.array_equal(sample.mask, mask)
        with Image.open(made.source) as source:
            away = np.abs(sample.image.astype(int) - np.asarray(source).astype(int))
        assert away.mean() < 3  # JPEG


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_rrsisd_is_what_the_refer_api_reads(three: list[Example], tmp_path: Path) -> None:
    """Its steps: index both files, decode the list of run lengths, sum the masks."""
    folder = referring.write_rrsisd(three, VOCABULARY, tmp_path / "out")
    refs = pickle.loads((folder / "rrsisd" / "refs(unc).p").read_bytes())
    instances = json.loads((folder / "rrsisd" / "instances.json").read_text("utf-8"))
    annotations = {entry["id"]: entry for entry in instances["annotations"]}
    for ref, mask in zip(refs, (BLOB, OTHER, BLOB | OTHER), strict=True):
        entry = annotations[ref["ann_id"]]
        assert np.array_equal(coco.decode(entry["segmentation"]).sum(axis=2), mask)
        assert entry["area"] == mask.sum()
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        assert entry["bbox"] == [
            columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1,
        ]  # fmt: skip
        (sentence,) = ref["sentences"]
        assert sentence["tokens"] == ["the", "large", "building", "number", str(ref["ref_id"])]
        assert sentence["sent"].split() == sentence["tokens"]
        assert ref["sent_ids"] == [sentence["sent_id"]]
        (image,) = (x for x in instances["images"] if x["id"] == ref["image_id"])
        assert image["file_name"] == ref["file_name"]
        assert (image["height"], image["width"]) == mask.shape


def test_coco_opens_the_instances_of_rrsisd(three: list[Example], tmp_path: Path) -> None:
    folder = referring.write_rrsisd(three, VOCABULARY, tmp_path / "out")
    opened = COCO(folder / "rrsisd" / "instances.json")
    assert [c["name"] for c in opened.loadCats(opened.getCatIds())] == list(VOCABULARY.labels)
    assert len(opened.getAnnIds(catIds=[1])) == 3


@settings(max_examples=20, deadline=None)
@given(mask=planes().filter(lambda mask: bool(mask.any())))
def test_any_mask_comes_back(mask: Mask, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    made = [asked(folder, mask)]
    for write, read in (
        (referring.write_refsegrs, dataset_referring.refsegrs),
        (referring.write_rrsisd, dataset_referring.rrsisd),
    ):
        (sample,) = read(write(made, VOCABULARY, folder / read.__name__), "train")
        assert np.array_equal(sample.mask, mask)


def test_the_target_is_all_that_is_marked_under_the_label_that_most_has(tmp_path: Path) -> None:
    made = example(
        tmp_path,
        [region(BLOB, "road"), region(OTHER, "water", "r2"), region(~BLOB, "unheard of", "r3")],
        expression="both",
    )
    folder = referring.write_rrsisd([made], VOCABULARY, tmp_path / "out")
    (sample,) = dataset_referring.rrsisd(folder, "train")
    assert np.array_equal(sample.mask, BLOB | OTHER)
    assert sample.category == ("road" if BLOB.sum() >= OTHER.sum() else "water")


def test_texts_of_regions_mean_those_regions(tmp_path: Path) -> None:
    made = example(
        tmp_path,
        [
            region(BLOB, "road", "a", texts=("the grey  road", "both of them")),
            region(OTHER, "water", "b", texts=("both of them", "", "all")),
        ],
        expression="all",
    )
    after = asked(tmp_path, BLOB, number=2)
    wanted = {"the grey road": BLOB, "both of them": BLOB | OTHER, "all": BLOB | OTHER}
    for write, read in (
        (referring.write_refsegrs, dataset_referring.refsegrs),
        (referring.write_rrsisd, dataset_referring.rrsisd),
    ):
        folder = write([made, after], VOCABULARY, tmp_path / read.__name__)
        masks = {sample.expression: sample.mask for sample in read(folder, "train")}
        assert np.array_equal(masks.pop("the large building, number 2"), BLOB)
        assert set(masks) == set(wanted)
        assert all(np.array_equal(mask, wanted[text]) for text, mask in masks.items())
    # RRSIS-D holds an image once.
    instances = json.loads((folder / "rrsisd" / "instances.json").read_text("utf-8"))
    assert [x["file_name"] for x in instances["images"]] == ["tile.jpg", "t2.jpg"]
    assert [x["image_id"] for x in instances["annotations"]] == [1, 1, 1, 2]


def test_a_jpeg_is_not_saved_again(tmp_path: Path) -> None:
    made = example(tmp_path, [region(BLOB)], expression="this", suffix=".jpg")
    folder = referring.write_rrsisd([made], VOCABULARY, tmp_path / "out")
    copy = folder / "images" / "rrsisd" / "JPEGImages" / "tile.jpg"
    assert copy.read_bytes() == made.source.read_bytes()


def test_a_turned_jpeg_is_turned_back(tmp_path: Path) -> None:
    made = example(tmp_path, [region(BLOB)], expression="this", suffix=".jpg")
    with Image.open(made.source) as file:
        upright = np.asarray(file).astype(int)
        turned, exif = file.rotate(90, expand=True), Image.Exif()
    exif[0x0112] = 6  # a browser turns it clockwise
    turned.save(made.source, quality=95, subsampling=0, exif=exif)
    for write, read in (
        (referring.write_refsegrs, dataset_referring.refsegrs),
        (referring.write_rrsisd, dataset_referring.rrsisd),
    ):
        (sample,) = read(write([made], VOCABULARY, tmp_path / read.__name__), "train")
        assert np.abs(sample.image.astype(int) - upright).mean() < 4


def test_what_cannot_be_asked_for_is_left_out(
    three: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mute = example(tmp_path, [region(BLOB)], stem="mute")
    nothing = example(tmp_path, [], stem="nothing", expression="the ship")
    empty = example(tmp_path, [region(BLOB & False)], stem="empty", expression="the ship")
    with caplog.at_level(logging.WARNING):
        folder = referring.write_refsegrs(
            [mute, nothing, empty, *three], VOCABULARY, tmp_path / "out"
        )
    assert len(list((folder / "images").iterdir())) == 3
    assert "2 sentences without a mask are left out" in caplog.text
    for write in (referring.write_refsegrs, referring.write_rrsisd):
        with pytest.raises(ExportError, match="no task has both a sentence and a mask"):
            write([mute, nothing], VOCABULARY, tmp_path / "none")


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    made = example(tmp_path, [region(BLOB)], expression="this", task=5)
    Image.new("RGB", (20, 20)).save(made.source)
    with pytest.raises(ExportError, match=r"task 5: .*tile\.png has 20 × 20 pixels"):
        referring.write_refsegrs([made], VOCABULARY, tmp_path / "out")
