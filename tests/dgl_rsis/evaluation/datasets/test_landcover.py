"""LoveDA, ISPRS, iSAID and OpenEarthMap."""

from pathlib import Path

import pytest

from dgl_rsis.evaluation.datasets import landcover
from dgl_rsis.evaluation.datasets.landcover import ISAID_COLOURS, ISPRS_COLOURS
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.scores import IGNORE
from tests.dgl_rsis.evaluation.labelled_pictures import colours, indices, photograph, picture, rows


def test_loveda(tmp_path: Path):
    for area, name in (("Urban", "1"), ("Rural", "2")):
        photograph(tmp_path / "Val" / area / "images_png" / f"{name}.png")
        picture(tmp_path / "Val" / area / "masks_png" / f"{name}.png", indices(0, 1, 7))
    samples = list(landcover.loveda(tmp_path))
    assert [(s.name, rows(s)) for s in samples] == [
        ("Urban_1", [IGNORE, 0, 6]),
        ("Rural_2", [IGNORE, 0, 6]),
    ]
    picture(tmp_path / "Val" / "Rural" / "masks_png" / "2.png", indices(0, 1, 8))
    with pytest.raises(DatasetError, match=r"Rural/masks_png/2\.png has the value 8"):
        list(landcover.loveda(tmp_path))
    with pytest.raises(DatasetError, match=r"Test/Urban/images_png holds no"):
        list(landcover.loveda(tmp_path, "test"))


@pytest.mark.parametrize(
    ("labels", "ending"),
    [
        ("5_Labels_all_noBoundary", "label_noBoundary.tif"),
        ("5_Labels_all", "label.tif"),
        ("5_Labels_for_participants", "label.tif"),
        ("5_Labels_all/5_Labels_all", "label.tif"),
    ],
)
def test_potsdam(tmp_path: Path, labels: str, ending: str):
    photograph(tmp_path / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif")
    label = colours((255, 255, 255), (255, 0, 0), (0, 0, 0))
    picture(tmp_path / labels / f"top_potsdam_2_13_{ending}", label)
    (sample,) = landcover.potsdam(tmp_path, "2_13")
    assert (sample.name, rows(sample)) == ("top_potsdam_2_13", [0, 5, IGNORE])
    with pytest.raises(DatasetError, match=r"no image .*top_potsdam_2_14_RGB\.tif"):
        list(landcover.potsdam(tmp_path))


def test_potsdam_without_labels(tmp_path: Path):
    photograph(tmp_path / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif")
    with pytest.raises(DatasetError, match="holds no labels: none of 5_Labels_all_noBoundary"):
        list(landcover.potsdam(tmp_path, "2_13"))


@pytest.mark.parametrize(
    ("images", "labels", "ending"),
    [
        (
            "ISPRS_semantic_labeling_Vaihingen/top",
            "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE",
            "_noBoundary",
        ),
        ("top", "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE", ""),
        ("top", "gts_for_participants", ""),
        (
            "ISPRS_semantic_labeling_Vaihingen/top",
            "ISPRS_semantic_labeling_Vaihingen/gts_for_participants",
            "",
        ),
    ],
)
def test_vaihingen(tmp_path: Path, images: str, labels: str, ending: str):
    photograph(tmp_path / images / "top_mosaic_09cm_area2.tif")
    label = colours((0, 0, 255), (0, 255, 0), (255, 255, 0))
    picture(tmp_path / labels / f"top_mosaic_09cm_area2{ending}.tif", label)
    (sample,) = landcover.vaihingen(tmp_path, "2")
    assert (sample.name, rows(sample)) == ("top_mosaic_09cm_area2", [1, 3, 4])
    picture(tmp_path / labels / f"top_mosaic_09cm_area2{ending}.tif", label // 2)
    with pytest.raises(DatasetError, match=r"area2(_noBoundary)?\.tif has the colour #00007F"):
        list(landcover.vaihingen(tmp_path, "2"))


def test_isprs_parts_do_not_overlap():
    for train, test in (
        (landcover.POTSDAM_TRAIN, landcover.POTSDAM_TEST),
        (landcover.VAIHINGEN_TRAIN, landcover.VAIHINGEN_TEST),
    ):
        assert len({*train, *test}) == len(train) + len(test)
    assert len(landcover.POTSDAM_TEST) == 14
    assert len(landcover.VAIHINGEN_TEST) == 17


def test_isaid(tmp_path: Path):
    folder = tmp_path / "val" / "images"
    photograph(folder / "P0003.png")
    label = colours((0, 0, 0), (0, 63, 63), (0, 100, 155))
    picture(folder / "P0003_instance_color_RGB.png", label)
    picture(folder / "P0003_instance_id_RGB.png", label)
    (sample,) = landcover.isaid(tmp_path)
    assert (sample.name, rows(sample)) == ("P0003", [0, 2, 15])
    (folder / "P0003.png").unlink()
    with pytest.raises(DatasetError, match=r"no image .*P0003\.png"):
        list(landcover.isaid(tmp_path))


def test_every_colour_is_one_class():
    assert sorted(ISAID_COLOURS.values()) == list(range(len(landcover.ISAID_CLASSES)))
    named = sorted(set(ISPRS_COLOURS.values()) - {IGNORE})
    assert named == list(range(len(landcover.ISPRS_CLASSES)))


def test_open_earth_map_leaves_out_regions_that_do_not_come_with_it(tmp_path: Path):
    listed = "aachen_1.tif\nsanta-rosa-wildfire_00000015.tif\n\ncoxs_bazar_2.tif\n"
    (tmp_path / "val.txt").write_text(listed, "utf-8")
    for region, number in (("aachen", 1), ("coxs_bazar", 2)):
        photograph(tmp_path / region / "images" / f"{region}_{number}.tif")
        picture(tmp_path / region / "labels" / f"{region}_{number}.tif", indices(0, 1, 8))
    samples = list(landcover.open_earth_map(tmp_path))
    assert [s.name for s in samples] == ["aachen_1", "coxs_bazar_2"]
    assert rows(samples[0]) == [IGNORE, 0, 7]
    (tmp_path / "aachen" / "labels" / "aachen_1.tif").unlink()
    with pytest.raises(DatasetError, match=r"no label .*aachen/labels/aachen_1\.tif"):
        list(landcover.open_earth_map(tmp_path))
    (tmp_path / "train.txt").write_text("elsewhere_1.tif\n", "utf-8")
    with pytest.raises(DatasetError, match=r"holds no region that train\.txt names"):
        list(landcover.open_earth_map(tmp_path, "train"))
    with pytest.raises(DatasetError, match=r"test\.txt cannot be read"):
        list(landcover.open_earth_map(tmp_path, "test"))
