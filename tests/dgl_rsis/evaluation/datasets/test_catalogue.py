"""Data sets by name."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgl_rsis.evaluation.datasets import catalogue, samples
from dgl_rsis.evaluation.datasets.catalogue import CLASS_SETS, REFERRAL_SETS
from dgl_rsis.evaluation.datasets.judged import OPEN_SETS
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.datasets.things import BOX_SETS
from tests.dgl_rsis.evaluation.labelled_pictures import indices, photograph, picture, write
from tests.paths import ROOT


def test_the_catalogue_opens_what_the_readers_read(own: Path):
    data = catalogue.open_classes("folder", own, None)
    assert data.names == ("field", "road", "background")
    assert [s.name for s in data.samples] == ["a", "b"]
    objects = catalogue.open_objects("folder", own, None, "road")
    assert [t.numbers.max() for t in objects.images] == [1, 1]


def test_larger_images_are_cut_before_objects_are_looked_for(tmp_path: Path):
    photograph(tmp_path / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif", (1000, 4))
    label = np.zeros((4, 1000, 3), np.uint8)
    label[:, :] = (0, 0, 255)
    picture(tmp_path / "5_Labels_all" / "top_potsdam_2_13_label.tif", label)
    data = catalogue.open_objects("potsdam", tmp_path, "2_13", "building")
    assert [i.image.shape[:2] for i in data.images] == [(4, 500), (4, 500)]


def test_expressions_and_sentences_are_opened(rrsisd: Path, tmp_path: Path):
    data = catalogue.open_referrals("rrsisd", rrsisd, None)
    assert (data.title, data.side, len(list(data.referrals))) == ("RRSIS-D test", 480, 3)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"sentence": "A dam", "category": "dam"}\n', "utf-8")
    sentences = catalogue.open_sentences("expressions", file, None)
    assert len(list(sentences.sentences)) == 1


def test_what_cannot_be_opened_is_said_with_the_way_out(own: Path):
    with pytest.raises(DatasetError, match=r"called 'lovda': choose one of dubai, fair, .*scenes"):
        catalogue.open_classes("lovda", own, None)
    with pytest.raises(DatasetError, match="called 'dubai': choose one of rrsisd"):
        catalogue.open_referrals("dubai", own, None)
    with pytest.raises(DatasetError, match="Give the data set as fair:FOLDER"):
        catalogue.open_classes("fair", None, None)
    with pytest.raises(DatasetError, match="elsewhere does not exist"):
        catalogue.open_classes("fair", own / "elsewhere", None)
    with pytest.raises(DatasetError, match="no split 'test': give tile numbers"):
        catalogue.open_classes("dubai", own, "test")
    with pytest.raises(DatasetError, match="no class 'pool': choose one of field, road"):
        catalogue.open_objects("folder", own, None, "pool")


def test_the_table_of_the_catalogue_names_every_data_set():
    text = catalogue.__doc__ or ""
    tables = (*CLASS_SETS, *REFERRAL_SETS, *OPEN_SETS, *BOX_SETS)
    others = ("expressions", "ucmerced", "absent", "large")
    assert all(f" {name}" in text for name in (*tables, *others))


def test_partial_truth_is_opened_by_either_spelling(tmp_path: Path):
    for name in ("palm_a", "chico_b"):
        photograph(tmp_path / "images" / f"{name}.jpg")
        picture(tmp_path / "masks" / f"{name}.png", indices(0, 1, 3))
    assert catalogue.is_judged("naip_urban_trees")
    assert not catalogue.is_judged("dubai")
    data = catalogue.open_judged("naip_urban_trees", tmp_path, None)
    assert data.title == "NAIP, six Californian cities validation"
    assert [image.name for image in data.images] == ["palm_a"]
    whole = catalogue.open_judged("naip-urban-trees", tmp_path, "all")
    assert [image.name for image in whole.images] == ["chico_b", "palm_a"]
    assert catalogue.open_judged("naip-prairie", tmp_path, None).title.endswith(" all")


def test_complete_truth_can_be_judged_too(own: Path):
    data = catalogue.as_judged(catalogue.open_classes("folder", own, None), None)
    assert [each.name for each in data.concepts] == ["field", "road"]  # no background
    assert data.labels == ("field", "road", "background")
    assert [image.name for image in data.images] == ["a", "b"]
    pieces = catalogue.as_judged(catalogue.open_classes("folder", own, None), 2)
    assert len(list(pieces.images)) == 2 * 4


def test_boxes_tags_and_lists_are_opened(tmp_path: Path):
    (tmp_path / "tags.csv").write_text("name,tags\na05.jpg,cars\n", "utf-8")
    (tmp_path / "boxes.json").write_text('{"a05": [[0, 0, 2, 2, "ship"]]}', "utf-8")
    photograph(tmp_path / "images" / "a05.jpg")
    (tagged,) = catalogue.open_presence("ucmerced", tmp_path, None).images
    (boxed,) = catalogue.open_boxes("sen2ships", tmp_path, None).images
    assert (tagged.present["car"], len(boxed.boxes["ship"])) == (True, 1)
    assert catalogue.open_questions("absent", tmp_path).title == "absent things"
    assert {each.name for each in catalogue.open_large("large", tmp_path).concepts} == {
        "car", "ship", "airplane",
    }  # fmt: skip
    with pytest.raises(DatasetError, match="of boxes is called 'dubai': choose one of estonia"):
        catalogue.open_boxes("dubai", tmp_path, None)


def test_readers_are_lazy(tmp_path: Path):
    write(tmp_path, np.full((3, 4, 3), (1, 2, 3), dtype=np.uint8))
    lazy = catalogue.open_classes("dubai", tmp_path, "1").samples
    assert isinstance(lazy, Iterator)  # nothing is read yet, or it would have raised


def test_the_set_that_comes_with_the_samples_can_be_measured_on():
    data = catalogue.open_classes("folder", ROOT / "samples" / "set", None)
    for sample in data.samples:
        assert sample.image.shape == (*sample.truth.shape, 3)
        shown = set(np.unique(sample.truth).tolist())
        assert len(shown) >= 4
        assert shown <= set(range(len(data.names)))


@pytest.mark.parametrize("inside", ["", "Semantic segmentation dataset"])
def test_dubai_is_read_in_the_layout_of_its_download(tmp_path: Path, inside: str):
    for folder in ("images", "masks"):
        (tmp_path / inside / "Tile 2" / folder).mkdir(parents=True)
    colours = np.zeros((4, 6, 3), dtype=np.uint8)
    for colour, index in samples.DUBAI_COLOURS.items():
        if index == 3:
            colours[:] = colour
    tile = tmp_path / inside / "Tile 2"
    Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(tile / "images" / "image_part_007.jpg")
    Image.fromarray(colours).save(tile / "masks" / "image_part_007.png")
    (sample,) = catalogue.open_classes("dubai", tmp_path, "2").samples
    assert sample.name == "tile2_007"
    assert (sample.truth == 3).all()
    assert sample.image.shape == (4, 6, 3)
