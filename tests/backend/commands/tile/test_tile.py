"""`dgl-rsis tile`."""

import json
import logging
import warnings
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
import typer
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from typer.testing import CliRunner

from backend.commands.tile import command
from backend.commands.tile.tile import TileRun, TilingError, run
from dgl_rsis.scenes.tiles import TileParameters

TRANSFORM = rasterio.Affine(0.5, 0, 733601, 0, -0.5, 3725139)


def scene(path, width=70, height=50, count=3, **profile):
    values = np.random.default_rng(0).integers(1, 256, (count, height, width), dtype=np.uint8)
    profile = {"crs": "EPSG:32616", "transform": TRANSFORM} | profile
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype="uint8", **profile) as file:
        file.write(values)
    return path


def cli(*arguments, **environment):
    app = typer.Typer()
    app.command()(command.tile)
    return CliRunner(env=environment).invoke(app, list(map(str, arguments)))


def tasks_in(folder):
    return [task["data"] for task in json.loads((folder / "import.json").read_text())]


def test_tasks_carry_where_their_tiles_lie(tmp_path):
    path, out = scene(tmp_path / "my scene.tif"), tmp_path / "tiles"
    assert cli(path, "--out", out, "--size", 32, "--overlap", 4).exit_code == 0
    tasks = tasks_in(out)
    assert len(tasks) == 6
    with rasterio.open(path) as file:
        whole = file.read().transpose(1, 2, 0)
    for data in tasks:
        column, row, width, height = data["window"]
        assert (data["scene"], data["crs"], data["scene_size"]) == (
            "my scene.tif", "EPSG:32616", [70, 50],
        )  # fmt: skip
        assert data["metres_per_pixel"] == pytest.approx(0.5, rel=0.005)
        assert rasterio.Affine(*data["transform"]) @ (0, 0) == TRANSFORM @ (column, row)
        shown = parse_qs(urlsplit(data["image"]).query)["d"][0]
        tile = np.asarray(Image.open(tmp_path / shown))  # seen from the folder that holds --out
        assert tile.dtype == np.uint8
        assert (tile == whole[row : row + height, column : column + width]).all()
    assert tasks[0]["image"].startswith("/data/local-files/?d=tiles/my%20scene_00000_00000_32x32")
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".png") == sorted(
        parse_qs(urlsplit(data["image"]).query)["d"][0].split("/")[1] for data in tasks
    )


def test_tiles_without_a_valid_pixel_are_left_out_and_counted(tmp_path, caplog):
    path = scene(tmp_path / "a.tif", nodata=0)
    with rasterio.open(path, "r+") as file:
        values = file.read()
        values[:, :32, :32] = 0
        file.write(values)
    with caplog.at_level(logging.INFO):
        assert run(TileRun([path], tmp_path / "out", TileParameters(32, 0))) == 0
    assert [0, 0, 32, 32] not in [data["window"] for data in tasks_in(tmp_path / "out")]
    assert "a.tif: 5 tiles; 1 more hold no valid pixel and are left out" in caplog.text


def test_a_bad_scene_is_reported_and_the_others_go_on(tmp_path, caplog):
    good, last, out = scene(tmp_path / "a.tif"), scene(tmp_path / "z.tif"), tmp_path / "out"
    cut = scene(tmp_path / "cut.tif", 700, 500)
    cut.write_bytes(cut.read_bytes()[:600_000])
    assert run(TileRun([good, cut, tmp_path / "no.tif", last], out, TileParameters(64, 0))) == 1
    assert {data["scene"] for data in tasks_in(out)} == {"a.tif", "z.tif"}
    assert not list(out.glob("cut*"))
    assert "cut.tif is damaged" in caplog.text
    assert "there is no file" in caplog.text


def test_bands_are_those_asked_for(tmp_path):
    path = scene(tmp_path / "a.tif", 20, 20, 4, photometric="minisblack")
    result = cli(path, "--out", tmp_path / "out", "--bands", "4,3,2")
    assert result.exit_code == 0
    with rasterio.open(path) as file:
        wanted = file.read([4, 3, 2]).transpose(1, 2, 0)
    (tile,) = (tmp_path / "out").glob("*.png")
    assert (np.asarray(Image.open(tile)) == wanted).all()


def test_eight_bits_are_stretched_on_demand(tmp_path):
    path = scene(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.write(file.read() // 4)
    for flag, brightest in ([], 63), (["--stretch"], 255):
        out = tmp_path / f"out{len(flag)}"
        assert cli(path, "--out", out, *flag).exit_code == 0
        (tile,) = out.glob("*.png")
        assert np.asarray(Image.open(tile)).max() == brightest


@pytest.mark.parametrize(
    ("prefix", "reference"),
    [
        ("https://example.org/t", "https://example.org/t/a%20b_00000_00000_70x50.png"),
        ("s3://bucket/t", "s3://bucket/t/a b_00000_00000_70x50.png"),  # no address: a key
        ("/data/local-files/?d=", "/data/local-files/?d=a%20b_00000_00000_70x50.png"),
    ],
)
def test_tiles_may_lie_elsewhere(tmp_path, prefix, reference):
    path = scene(tmp_path / "a b.tif")
    assert cli(path, "--out", tmp_path / "out", "--image-prefix", prefix).exit_code == 0
    assert [data["image"] for data in tasks_in(tmp_path / "out")] == [reference]


def test_the_root_of_local_files_comes_from_the_environment(tmp_path):
    path, out = scene(tmp_path / "a.tif"), tmp_path / "x" / "ü" / "out"
    result = cli(path, "--out", out, LOCAL_FILES_DOCUMENT_ROOT=str(tmp_path))
    assert result.exit_code == 0
    (data,) = tasks_in(out)
    assert parse_qs(urlsplit(data["image"]).query)["d"] == ["x/ü/out/a_00000_00000_70x50.png"]


def test_a_folder_outside_the_root_is_refused(tmp_path):
    path = scene(tmp_path / "a.tif")
    result = cli(path, "--out", tmp_path / "out", "--root", tmp_path / "other")
    assert result.exit_code == 2
    assert "is not inside --root" in result.output


def test_scenes_of_one_name_have_tiles_and_names_of_their_own(tmp_path):
    (tmp_path / "b").mkdir()
    paths = [scene(tmp_path / "a.tif"), scene(tmp_path / "b" / "a.tif", width=60)]
    assert run(TileRun(paths, tmp_path / "out", TileParameters(1024, 64))) == 0
    tasks = tasks_in(tmp_path / "out")
    assert [data["scene"] for data in tasks] == ["a.tif", "b_a.tif"]
    assert (
        len({data["image"] for data in tasks}) == len(list((tmp_path / "out").glob("*.png"))) == 2
    )


def test_what_was_not_measured_is_black_in_tiles(tmp_path, caplog):
    path = scene(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        values = file.read()
        values[:, :, :20] = 255
        file.write(values)
    assert cli(path, "--out", tmp_path / "told").exit_code == 0
    assert "say so by --nodata 255" in caplog.text
    assert cli(path, "--out", tmp_path / "out", "--nodata", 255).exit_code == 0
    (tile,) = (tmp_path / "out").glob("*.png")
    assert not np.asarray(Image.open(tile))[:, :20].any()
    assert np.asarray(Image.open(tile))[:, 20:].any()


@pytest.mark.parametrize("text", ["red", "1,,2", "1;2;3"])
def test_bands_must_be_numbers(tmp_path, text):
    result = cli(scene(tmp_path / "a.tif"), "--out", tmp_path / "out", "--bands", text)
    assert result.exit_code == 2
    assert "numbers from 1" in result.output


def test_the_tasks_of_an_earlier_run_are_not_replaced(tmp_path):
    assert (
        run(TileRun([scene(tmp_path / "a.tif")], tmp_path / "out", TileParameters(1024, 64))) == 0
    )
    before = tasks_in(tmp_path / "out")
    with pytest.raises(TilingError, match="tasks of an earlier run"):
        run(TileRun([scene(tmp_path / "b.tif")], tmp_path / "out", TileParameters(1024, 64)))
    assert tasks_in(tmp_path / "out") == before


def test_an_overlap_that_does_not_fit_is_refused(tmp_path):
    path = scene(tmp_path / "a.tif")
    result = cli(path, "--out", tmp_path / "out", "--size", 64, "--overlap", 64)
    assert result.exit_code == 2
    assert "cannot overlap by 64" in result.output


def test_a_scene_without_crs_has_none_in_its_tasks(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 10), (1, 2, 3)).save(path)
    assert run(TileRun([path], tmp_path / "out", TileParameters(1024, 64))) == 0
    (data,) = tasks_in(tmp_path / "out")
    assert (data["crs"], data["transform"], data["window"]) == ("", None, [0, 0, 20, 10])


def test_ground_control_points_are_not_lost_in_silence(tmp_path, caplog):
    points = [GroundControlPoint(r, c, 10 + c, 50 - r, 0) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = scene(tmp_path / "a.tif", crs="EPSG:4326", transform=None, gcps=points)
    assert run(TileRun([path], tmp_path / "out", TileParameters(1024, 64))) == 0
    assert "untile --scene" in caplog.text
    assert tasks_in(tmp_path / "out")[0]["transform"] is None


@pytest.mark.parametrize(
    ("options", "metres"), [((), None), (("--metres-per-pixel", "30 cm"), 0.3)]
)
def test_of_a_scene_without_a_place_somebody_else_must_say_the_metres(tmp_path, options, metres):
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        path = scene(tmp_path / "a.tif", crs=None, transform=None)
    assert cli(path, "--out", tmp_path / "out", *options).exit_code == 0
    assert {data.get("metres_per_pixel") for data in tasks_in(tmp_path / "out")} == {metres}


def test_metres_that_nobody_understands_end_the_command(tmp_path):
    path = scene(tmp_path / "a.tif")
    answer = cli(path, "--out", tmp_path / "out", "--metres-per-pixel", "one foot")
    assert answer.exit_code == 2
    assert "'one foot' are no metres a pixel" in " ".join(answer.output.split())
