import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil

from dgl_rsis.scenes.identity import identity, stamp
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import InputError
from tests.small_scene import picture, write_scene


def known(path: Path) -> str:
    with open_scene(path) as scene:
        return identity(scene)


def test_a_copy_is_the_same_and_another_edition_is_not(tmp_path: Path) -> None:
    for name in ("here", "there", "other"):
        (tmp_path / name).mkdir()
    path = write_scene(tmp_path / "here" / "a.tif", picture(200, 220))
    copy = Path(shutil.copyfile(path, tmp_path / "there" / "a.tif"))
    os.utime(copy, (0, 0))
    assert known(copy) == known(path)
    changed = picture(200, 220)
    changed[150:, :] = 0
    write_scene(tmp_path / "other" / "a.tif", changed)
    assert known(tmp_path / "other" / "a.tif") != known(path)


def test_what_lies_beside_counts(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", picture(200, 220))
    before = known(path)
    text = "<PAMDataset><Metadata><MDI key='a'>b</MDI></Metadata></PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(text)
    assert known(path) != before


def test_sources_of_a_virtual_raster_count(tmp_path: Path) -> None:
    source = write_scene(tmp_path / "a.tif", picture(200, 220))
    virtual = tmp_path / "a.vrt"
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, virtual, driver="VRT")
    before = known(virtual)
    write_scene(source, np.flipud(picture(200, 220)))
    assert known(virtual) != before


def test_a_stamp_tells_a_file_that_was_written_anew(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", picture(80, 90))
    with open_scene(path) as scene:
        before = stamp(scene)
        assert stamp(scene) == before
        os.utime(path, (1, 1))
        assert stamp(scene) != before
        path.unlink()
        with pytest.raises(InputError, match=r"a\.tif cannot be read \(No such file"):
            stamp(scene)
        with pytest.raises(InputError, match="put it there"):
            identity(scene)
