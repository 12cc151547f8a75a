"""Every reader on a tree in its real layout, and what it says when the tree is wrong."""

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco

from dgl_rsis import dataset_catalogue, dataset_landcover, dataset_referring, datasets, masks
from dgl_rsis.dataset_catalogue import CLASS_SETS, REFERRAL_SETS
from dgl_rsis.dataset_landcover import ISAID_COLOURS, ISPRS_COLOURS
from dgl_rsis.datasets import DUBAI_COLOURS, DatasetError, Sample
from dgl_rsis.metrics import IGNORE

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SIZE = (4, 3)  # width and height of every picture here


def photograph(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def indices(*rows: int) -> np.ndarray:
    """A label of one channel, one value a row."""
    return np.repeat(np.array(rows, np.uint8)[:, None], SIZE[0], axis=1)


def colours(*rows: tuple[int, int, int]) -> np.ndarray:
    """A label of three channels, one colour a row."""
    return np.repeat(np.array(rows, np.uint8)[:, None, :], SIZE[0], axis=1)


def rows(sample: Sample) -> list[int]:
    """The class of each row."""
    assert sample.image.shape == (3, 4, 3)
    assert sample.truth.shape == (3, 4)
    assert sample.truth.dtype == np.uint16
    assert (sample.truth == sample.truth[:, :1]).all()
    return sample.truth[:, 0].tolist()


# ---- Dubai ---------------------------------------------------------------------------------------


def write(folder: Path, label: np.ndarray) -> None:
    Image.new("RGB", SIZE, "grey").save(folder / "tile1_001.jpg")
    Image.fromarray(label).save(folder / "tile1_001.png")


def test_colours_become_classes(tmp_path: Path):
    write(tmp_path, colours((0x3C, 0x10, 0x98), (0xE2, 0xA9, 0x29), (0, 0, 0)))
    (sample,) = datasets.dubai(tmp_path, [1])
    assert sample.name == "tile1_001"
    assert rows(sample) == [0, 4, IGNORE]


def test_a_colour_not_in_the_table_is_named_with_its_file(tmp_path: Path):
    write(tmp_path, np.full((3, 4, 3), (1, 2, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png has the colour #010203"):
        list(datasets.dubai(tmp_path, [1]))


def test_a_label_of_another_size_is_named(tmp_path: Path):
    write(tmp_path, np.zeros((5, 4, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png is \(5, 4\), its image \(3, 4\)"):
        list(datasets.dubai(tmp_path, [1]))


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no tile1_"):
        list(datasets.dubai(tmp_path, [1]))
    Image.new("RGB", SIZE).save(tmp_path / "tile1_001.jpg")
    with pytest.raises(DatasetError, match=r"no label .*tile1_001\.png"):
        list(datasets.dubai(tmp_path, [1]))


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    write(tmp_path, colours((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    (tmp_path / "tile1_001.jpg").write_text("no image")
    with pytest.raises(DatasetError, match=r"tile1_001\.jpg: not an image"):
        list(datasets.dubai(tmp_path, [1]))


@pytest.mark.skipif(not (SHARED / "dubai").is_dir(), reason=f"needs the tiles in {SHARED}/dubai")
def test_the_real_tiles_are_read():
    samples = list(datasets.dubai(SHARED / "dubai", [2]))
    assert len(samples) == 9
    assert set(np.unique(samples[0].truth)) <= {*DUBAI_COLOURS.values()}


# ---- fAIr and plain folders ----------------------------------------------------------------------


def test_buildings_are_what_is_not_zero(tmp_path: Path):
    photograph(tmp_path / "images" / "OAM-1.png")
    picture(tmp_path / "masks" / "OAM-1.png", indices(0, 1, 255))
    (sample,) = datasets.fair(tmp_path)
    assert (sample.name, rows(sample)) == ("OAM-1", [1, 0, 0])
    picture(tmp_path / "masks" / "OAM-1.png", colours((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with pytest.raises(DatasetError, match=r"masks/OAM-1\.png has RGB pixels"):
        list(datasets.fair(tmp_path))
    (tmp_path / "masks" / "OAM-1.png").unlink()
    with pytest.raises(DatasetError, match=r"no label .*masks/OAM-1\.png"):
        list(datasets.fair(tmp_path))


@pytest.mark.skipif(
    not (SHARED / "fair-buildings").is_dir(), reason=f"needs {SHARED}/fair-buildings"
)
def test_the_real_buildings_are_read():
    samples = list(datasets.fair(SHARED / "fair-buildings"))
    assert len(samples) == 90
    assert {s.image.shape for s in samples} == {(256, 256, 3)}
    share = np.mean([(s.truth == 0).mean() for s in samples])
    assert 0.05 < share < 0.6


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A plain folder with two images."""
    (tmp_path / "classes.txt").write_text("field\nroad\n\nbackground\n", "utf-8")
    photograph(tmp_path / "images" / "b.jpg")
    photograph(tmp_path / "images" / "a.tif")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    picture(tmp_path / "labels" / "a.png", indices(0, 1, 2))
    picture(tmp_path / "labels" / "b.png", indices(255, 1, 1))
    return tmp_path


def test_a_plain_folder_is_read(own: Path):
    assert datasets.plain_classes(own) == ("field", "road", "background")
    assert [(s.name, rows(s)) for s in datasets.plain(own)] == [
        ("a", [0, 1, 2]),
        ("b", [IGNORE, 1, 1]),
    ]


def test_labels_with_a_palette_and_with_sixteen_bits_count_by_their_index(own: Path):
    paletted = Image.fromarray(indices(2, 1, 255)).convert("P")
    paletted.putpalette([9, 9, 9] * 256)
    paletted.save(own / "labels" / "a.png")
    picture(own / "labels" / "b.png", indices(0, 1, 2).astype(np.uint16) + np.uint16(0))
    deep = indices(0, 1, 2).astype(np.uint16)
    deep[2] = 65535
    picture(own / "labels" / "b.png", deep)
    assert [rows(s) for s in datasets.plain(own)] == [[2, 1, IGNORE], [0, 1, IGNORE]]


def test_with_256_classes_255_is_a_class(tmp_path: Path):
    names = [f"class {i}" for i in range(256)]
    (tmp_path / "classes.txt").write_text("\n".join(names), "utf-8")
    photograph(tmp_path / "images" / "a.png")
    picture(tmp_path / "labels" / "a.png", indices(255, 0, 1))
    (sample,) = datasets.plain(tmp_path)
    assert rows(sample) == [255, 0, 1]


def test_what_is_wrong_in_a_plain_folder_is_named(own: Path):
    picture(own / "labels" / "b.png", indices(0, 7, 1))
    with pytest.raises(DatasetError, match=r"labels/b\.png has the value 7"):
        list(datasets.plain(own))
    (own / "labels" / "b.png").write_text("no image")
    with pytest.raises(DatasetError, match=r"labels/b\.png cannot be read as an image"):
        list(datasets.plain(own))
    (own / "classes.txt").write_text("road\nfield\nroad\n", "utf-8")
    with pytest.raises(DatasetError, match=r"classes\.txt names 'road' twice"):
        list(datasets.plain(own))
    (own / "classes.txt").write_text("\n", "utf-8")
    with pytest.raises(DatasetError, match=r"classes\.txt names 0 classes"):
        list(datasets.plain(own))
    (own / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read"):
        list(datasets.plain(own))
    (own / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read"):
        list(datasets.plain(own))


def test_a_plain_folder_without_images_is_named(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("road\n", "utf-8")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="images holds no image"):
        list(datasets.plain(tmp_path))


# ---- land cover ----------------------------------------------------------------------------------


def test_loveda(tmp_path: Path):
    for area, name in (("Urban", "1"), ("Rural", "2")):
        photograph(tmp_path / "Val" / area / "images_png" / f"{name}.png")
        picture(tmp_path / "Val" / area / "masks_png" / f"{name}.png", indices(0, 1, 7))
    samples = list(dataset_landcover.loveda(tmp_path))
    assert [(s.name, rows(s)) for s in samples] == [
        ("Urban_1", [IGNORE, 0, 6]),
        ("Rural_2", [IGNORE, 0, 6]),
    ]
    picture(tmp_path / "Val" / "Rural" / "masks_png" / "2.png", indices(0, 1, 8))
    with pytest.raises(DatasetError, match=r"Rural/masks_png/2\.png has the value 8"):
        list(dataset_landcover.loveda(tmp_path))
    with pytest.raises(DatasetError, match=r"Test/Urban/images_png holds no"):
        list(dataset_landcover.loveda(tmp_path, "test"))


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
    (sample,) = dataset_landcover.potsdam(tmp_path, "2_13")
    assert (sample.name, rows(sample)) == ("top_potsdam_2_13", [0, 5, IGNORE])
    with pytest.raises(DatasetError, match=r"no image .*top_potsdam_2_14_RGB\.tif"):
        list(dataset_landcover.potsdam(tmp_path))


def test_potsdam_without_labels(tmp_path: Path):
    photograph(tmp_path / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif")
    with pytest.raises(DatasetError, match="holds no labels: none of 5_Labels_all_noBoundary"):
        list(dataset_landcover.potsdam(tmp_path, "2_13"))


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
    (sample,) = dataset_landcover.vaihingen(tmp_path, "2")
    assert (sample.name, rows(sample)) == ("top_mosaic_09cm_area2", [1, 3, 4])
    picture(tmp_path / labels / f"top_mosaic_09cm_area2{ending}.tif", label // 2)
    with pytest.raises(DatasetError, match=r"area2(_noBoundary)?\.tif has the colour #00007F"):
        list(dataset_landcover.vaihingen(tmp_path, "2"))


def test_isprs_parts_do_not_overlap():
    for train, test in (
        (dataset_landcover.POTSDAM_TRAIN, dataset_landcover.POTSDAM_TEST),
        (dataset_landcover.VAIHINGEN_TRAIN, dataset_landcover.VAIHINGEN_TEST),
    ):
        assert len({*train, *test}) == len(train) + len(test)
    assert len(dataset_landcover.POTSDAM_TEST) == 14
    assert len(dataset_landcover.VAIHINGEN_TEST) == 17


def test_isaid(tmp_path: Path):
    folder = tmp_path / "val" / "images"
    photograph(folder / "P0003.png")
    label = colours((0, 0, 0), (0, 63, 63), (0, 100, 155))
    picture(folder / "P0003_instance_color_RGB.png", label)
    picture(folder / "P0003_instance_id_RGB.png", label)
    (sample,) = dataset_landcover.isaid(tmp_path)
    assert (sample.name, rows(sample)) == ("P0003", [0, 2, 15])
    (folder / "P0003.png").unlink()
    with pytest.raises(DatasetError, match=r"no image .*P0003\.png"):
        list(dataset_landcover.isaid(tmp_path))


def test_every_colour_is_one_class():
    assert sorted(ISAID_COLOURS.values()) == list(range(len(dataset_landcover.ISAID_CLASSES)))
    named = sorted(set(ISPRS_COLOURS.values()) - {IGNORE})
    assert named == list(range(len(dataset_landcover.ISPRS_CLASSES)))


def test_open_earth_map_leaves_out_regions_that_do_not_come_with_it(tmp_path: Path):
    listed = "aachen_1.tif\nsanta-rosa-wildfire_00000015.tif\n\ncoxs_bazar_2.tif\n"
    (tmp_path / "val.txt").write_text(listed, "utf-8")
    for region, number in (("aachen", 1), ("coxs_bazar", 2)):
        photograph(tmp_path / region / "images" / f"{region}_{number}.tif")
        picture(tmp_path / region / "labels" / f"{region}_{number}.tif", indices(0, 1, 8))
    samples = list(dataset_landcover.open_earth_map(tmp_path))
    assert [s.name for s in samples] == ["aachen_1", "coxs_bazar_2"]
    assert rows(samples[0]) == [IGNORE, 0, 7]
    (tmp_path / "aachen" / "labels" / "aachen_1.tif").unlink()
    with pytest.raises(DatasetError, match=r"no label .*aachen/labels/aachen_1\.tif"):
        list(dataset_landcover.open_earth_map(tmp_path))
    (tmp_path / "train.txt").write_text("elsewhere_1.tif\n", "utf-8")
    with pytest.raises(DatasetError, match=r"holds no region that train\.txt names"):
        list(dataset_landcover.open_earth_map(tmp_path, "train"))
    with pytest.raises(DatasetError, match=r"test\.txt cannot be read"):
        list(dataset_landcover.open_earth_map(tmp_path, "test"))


# ---- pieces and objects --------------------------------------------------------------------------


@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    st.integers(1, 50),
)
def test_pieces_hold_every_pixel_once(truth: np.ndarray, side: int):
    image = np.repeat((truth % 251).astype(np.uint8)[:, :, None], 3, axis=2)
    pieces = list(datasets.cut([Sample("whole", image, truth)], side))
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert all(max(piece.truth.shape) <= side for piece in pieces)
    assert all(piece.image.shape[:2] == piece.truth.shape for piece in pieces)
    kept = np.concatenate([piece.truth.ravel() for piece in pieces] or [np.zeros(0, np.uint16)])
    known = np.sort(truth[truth != IGNORE])
    assert np.array_equal(np.sort(kept[kept != IGNORE]), known)


def test_pieces_without_truth_are_left_out_and_small_images_keep_their_name():
    truth = np.full((4, 8), IGNORE, np.uint16)
    truth[:, 5:] = 1
    image = np.zeros((4, 8, 3), np.uint8)
    (piece,) = datasets.cut([Sample("a", image, truth)], 4)
    assert (piece.name, piece.truth.shape) == ("a_0_1", (4, 4))
    (piece,) = datasets.cut([Sample("a", image, truth)], 8)
    assert piece.name == "a"


def test_objects_are_connected_parts_of_a_class():
    truth = np.array([[0, 0, 2, 0], [2, 2, 0, 2], [0, 2, 2, 2]], np.uint16)
    image = np.zeros((3, 4, 3), np.uint8)
    (found,) = datasets.objects([Sample("a", image, truth)], 0)
    assert found.numbers.tolist() == [[1, 1, 0, 1], [0, 0, 1, 0], [2, 0, 0, 0]]


# ---- RRSIS-D -------------------------------------------------------------------------------------

MASKS = np.zeros((2, 3, 4), np.uint8)
MASKS[0, :2, :2] = 1
MASKS[1, 1, 1:] = 1  # overlaps the first in one pixel, where the sum is 2


def runs(mask: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.fixture
def rrsisd(tmp_path: Path) -> Path:
    """Two images with one referred object each."""
    for name in ("00002.jpg", "00001.jpg"):
        photograph(tmp_path / "images" / "rrsisd" / "JPEGImages" / name)
    instances = {
        "images": [
            {"id": 7, "file_name": "00002.jpg", "height": 3, "width": 4},
            {"id": 8, "file_name": "00001.jpg", "height": 3, "width": 4},
        ],
        "annotations": [
            # The boxes are in the scale of other images.
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [runs(MASKS[0])],
             "bbox": [0, 0, 900, 900]},
            {"id": 2, "image_id": 8, "category_id": 4, "segmentation": list(map(runs, MASKS)),
             "bbox": [0, 0, 900, 900]},
        ],
        "categories": [{"id": 3, "name": "dam"}, {"id": 4, "name": "golffield"}],
    }  # fmt: skip
    refs = [
        {"ref_id": 1, "ann_id": 1, "image_id": 7, "category_id": 3, "split": "test",
         "sentences": [{"raw": "The dam", "sent": "the dam", "sent_id": 1, "tokens": ["the"]},
                       {"raw": "", "sent": "a dam below", "sent_id": 2, "tokens": []}],
         "sent_ids": [1, 2]},
        {"ref_id": 2, "ann_id": 2, "image_id": 8, "category_id": 4, "split": "test",
         "sentences": [{"raw": "The golf field", "sent": "the golf field", "sent_id": 3}]},
        {"ref_id": 3, "ann_id": 1, "image_id": 7, "category_id": 3, "split": "val",
         "sentences": [{"raw": "not asked", "sent": "not asked", "sent_id": 4}]},
    ]  # fmt: skip
    (tmp_path / "rrsisd").mkdir()
    (tmp_path / "rrsisd" / "instances.json").write_text(json.dumps(instances), "utf-8")
    (tmp_path / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    return tmp_path


def change(folder: Path, **values: object) -> None:
    """Change the first annotation."""
    path = folder / "rrsisd" / "instances.json"
    instances = json.loads(path.read_text("utf-8"))
    instances["annotations"][0] |= values
    path.write_text(json.dumps(instances), "utf-8")


def test_rrsisd_is_read_by_image_with_every_sentence(rrsisd: Path):
    found = list(dataset_referring.rrsisd(rrsisd))
    assert [(r.name, r.expression, r.category) for r in found] == [
        ("00001", "The golf field", "golffield"),
        ("00002", "The dam", "dam"),
        ("00002", "a dam below", "dam"),
    ]
    assert np.array_equal(found[1].mask, MASKS[0] == 1)
    assert found[1].image is found[2].image


def test_the_mask_is_where_the_sum_is_one(rrsisd: Path):
    (field, *_) = dataset_referring.rrsisd(rrsisd)
    assert np.array_equal(field.mask, MASKS.sum(axis=0) == 1)
    assert not field.mask[1, 1]


def test_uncompressed_runs_are_read_too(rrsisd: Path):
    change(rrsisd, segmentation=[{"size": [3, 4], "counts": [0, 2, 1, 2, 7]}])
    found = {r.name: r for r in dataset_referring.rrsisd(rrsisd)}
    assert np.array_equal(found["00002"].mask, MASKS[0] == 1)


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
        list(dataset_referring.rrsisd(rrsisd))


def test_missing_files_of_rrsisd_are_named(rrsisd: Path):
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p has no expressions of the split 'all'"):
        list(dataset_referring.rrsisd(rrsisd, "all"))
    (rrsisd / "images" / "rrsisd" / "JPEGImages" / "00001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no image .*00001\.jpg"):
        list(dataset_referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps([{"split": "test"}]))
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p does not fit instances\.json"):
        list(dataset_referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "refs(unc).p").unlink()
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p cannot be read: No such file"):
        list(dataset_referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").write_text('{"images": []}')
    with pytest.raises(DatasetError, match=r"instances\.json lacks 'categories'"):
        list(dataset_referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").write_text("{")
    with pytest.raises(DatasetError, match=r"instances\.json is not JSON"):
        list(dataset_referring.rrsisd(rrsisd))
    (rrsisd / "rrsisd" / "instances.json").unlink()
    with pytest.raises(DatasetError, match=r"instances\.json cannot be read: No such file"):
        list(dataset_referring.rrsisd(rrsisd))


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
        list(dataset_referring.rrsisd(rrsisd))
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
    assert dataset_referring._PlainUnpickler(stream).load() == value


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=60)))
def test_run_lengths_of_the_coco_api_are_decoded(mask: np.ndarray):
    encoded = runs(mask.astype(np.uint8))
    counts = dataset_referring.decode_counts(encoded["counts"])
    height, width = mask.shape
    assert np.array_equal(masks.from_runs(counts, width, height).T, mask)


# ---- lists of phrases ----------------------------------------------------------------------------


def test_refsegrs(tmp_path: Path):
    photograph(tmp_path / "images" / "0001.tif")
    picture(tmp_path / "masks" / "0001.tif", indices(0, 255, 1))
    lines = "0001 road  along the trees\n\n0001 vehicle in the parking area\n"
    (tmp_path / "output_phrase_test.txt").write_text(lines, "utf-8")
    found = list(dataset_referring.refsegrs(tmp_path))
    assert [(r.name, r.expression) for r in found] == [
        ("0001", "road  along the trees"),
        ("0001", "vehicle in the parking area"),
    ]
    assert found[0].mask.tolist() == [[False] * 4, [True] * 4, [True] * 4]
    assert found[0].image is found[1].image


def test_risbench(tmp_path: Path):
    for name in ("00006_0000.png", "00007.png"):
        photograph(tmp_path / "img_rgb" / name)
        picture(tmp_path / "mask" / name, indices(0, 0, 255))
    lines = "00006_0000.png The large dam.\n00007 the harbor on the left\n"
    (tmp_path / "output_phrase_val.txt").write_text(lines, "utf-8")
    found = list(dataset_referring.risbench(tmp_path, "val"))
    assert [(r.name, r.expression) for r in found] == [
        ("00006_0000", "The large dam."),
        ("00007", "the harbor on the left"),
    ]


def test_what_is_wrong_in_a_list_of_phrases_is_named(tmp_path: Path):
    path = tmp_path / "output_phrase_test.txt"
    with pytest.raises(DatasetError, match=r"output_phrase_test\.txt cannot be read"):
        list(dataset_referring.refsegrs(tmp_path))
    path.write_text("0001 road\n0002\n", "utf-8")
    with pytest.raises(DatasetError, match=r"no image .*images/0001\.tif"):
        list(dataset_referring.refsegrs(tmp_path))
    photograph(tmp_path / "images" / "0001.tif")
    with pytest.raises(DatasetError, match=r"no label .*masks/0001\.tif"):
        list(dataset_referring.refsegrs(tmp_path))
    picture(tmp_path / "masks" / "0001.tif", indices(0, 1))
    with pytest.raises(DatasetError, match=r"masks/0001\.tif is \(2, 4\), its image \(3, 4\)"):
        list(dataset_referring.refsegrs(tmp_path))
    picture(tmp_path / "masks" / "0001.tif", indices(0, 1, 0))
    with pytest.raises(DatasetError, match=r"output_phrase_test\.txt, line 2"):
        list(dataset_referring.refsegrs(tmp_path))


def test_sentences(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"sentence": "A dam", "category": "dam", "split": "val"}\n\n', "utf-8")
    (row,) = dataset_referring.sentences(path)
    assert (row.text, row.category) == ("A dam", "dam")
    path.write_text('{"sentence": "A dam", "category": "dam"}\n{"sentence": "x"}\n', "utf-8")
    with pytest.raises(DatasetError, match=r"rows\.jsonl, line 2"):
        list(dataset_referring.sentences(path))


@pytest.mark.skipif(
    not (SHARED / "expressions").is_dir(), reason=f"needs the sentences in {SHARED}/expressions"
)
def test_the_real_sentences_are_read():
    (file,) = (SHARED / "expressions").glob("*.jsonl")
    found = list(dataset_referring.sentences(file))
    assert len(found) == 13_921
    assert len({row.category for row in found}) == 20


# ---- the catalogue -------------------------------------------------------------------------------


def test_the_catalogue_opens_what_the_readers_read(own: Path):
    data = dataset_catalogue.open_classes("folder", own, None)
    assert data.names == ("field", "road", "background")
    assert [s.name for s in data.samples] == ["a", "b"]
    things = dataset_catalogue.open_objects("folder", own, None, "road")
    assert [t.numbers.max() for t in things.images] == [1, 1]


def test_larger_images_are_cut_before_objects_are_looked_for(tmp_path: Path):
    photograph(tmp_path / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif", (1000, 4))
    label = np.zeros((4, 1000, 3), np.uint8)
    label[:, :] = (0, 0, 255)
    picture(tmp_path / "5_Labels_all" / "top_potsdam_2_13_label.tif", label)
    data = dataset_catalogue.open_objects("potsdam", tmp_path, "2_13", "building")
    assert [i.image.shape[:2] for i in data.images] == [(4, 500), (4, 500)]


def test_expressions_and_sentences_are_opened(rrsisd: Path, tmp_path: Path):
    data = dataset_catalogue.open_referrals("rrsisd", rrsisd, None)
    assert (data.title, data.side, len(list(data.referrals))) == ("RRSIS-D test", 480, 3)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"sentence": "A dam", "category": "dam"}\n', "utf-8")
    sentences = dataset_catalogue.open_sentences("expressions", file, None)
    assert len(list(sentences.sentences)) == 1


def test_what_cannot_be_opened_is_said_with_the_way_out(own: Path):
    with pytest.raises(DatasetError, match=r"called 'lovda': choose one of dubai, fair, .*scenes"):
        dataset_catalogue.open_classes("lovda", own, None)
    with pytest.raises(DatasetError, match="called 'dubai': choose one of rrsisd"):
        dataset_catalogue.open_referrals("dubai", own, None)
    with pytest.raises(DatasetError, match="Give the data set as fair:FOLDER"):
        dataset_catalogue.open_classes("fair", None, None)
    with pytest.raises(DatasetError, match="elsewhere does not exist"):
        dataset_catalogue.open_classes("fair", own / "elsewhere", None)
    with pytest.raises(DatasetError, match="no split 'test': give tile numbers"):
        dataset_catalogue.open_classes("dubai", own, "test")
    with pytest.raises(DatasetError, match="no class 'pool': choose one of field, road"):
        dataset_catalogue.open_objects("folder", own, None, "pool")


def test_the_table_of_the_catalogue_names_every_data_set():
    text = dataset_catalogue.__doc__ or ""
    assert all(f" {name}" in text for name in (*CLASS_SETS, *REFERRAL_SETS, "expressions"))


def test_readers_are_lazy(tmp_path: Path):
    write(tmp_path, np.full((3, 4, 3), (1, 2, 3), dtype=np.uint8))
    samples = dataset_catalogue.open_classes("dubai", tmp_path, "1").samples
    assert isinstance(samples, Iterator)  # nothing is read yet, or it would have raised
