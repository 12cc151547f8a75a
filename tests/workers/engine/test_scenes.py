from collections.abc import Iterator
from pathlib import Path

import pytest

from dgl_rsis.scenes.identity import identity
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import InputError
from tests.small_scene import picture, write_scene
from tests.workers.window_requests import request
from workers.engine.loading import load_segmenter
from workers.engine.scenes import SceneJudge, SceneRefusedError
from workers.engine.segmenter import Segmenter
from workers.queue.windows import WindowRequest
from workers.settings import WorkerSettings


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> Segmenter:
    return load_segmenter(WorkerSettings(model=str(model_folder)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    write_scene(root / "a.tif", picture(150, 160))
    return root.resolve()


@pytest.fixture
def judge(root: Path) -> Iterator[SceneJudge]:
    judge = SceneJudge(root, 10**6)
    yield judge
    judge.close()


def first(path: Path, **changes) -> WindowRequest:
    with open_scene(path) as scene:
        known = identity(scene)
    options = {"bands": None, "swir": None, "nodata": None, "row": 0, "column": 0, "costs": ()}
    return request(scene=path.name, identity=known, **options | changes)


def ask(judge: SceneJudge, segmenter: Segmenter, wanted: WindowRequest):
    return judge.judge(wanted, segmenter, lambda stage: None)


def test_a_window_is_judged(judge: SceneJudge, segmenter: Segmenter, root: Path) -> None:
    cells = ask(judge, segmenter, first(root / "a.tif"))
    assert cells is not None
    assert cells.cell.shape == (150, 160)


@pytest.mark.parametrize("place", [{"row": 1}, {"column": 1}])
def test_a_window_that_is_not_there(judge, segmenter, root, place) -> None:
    with pytest.raises(InputError, match=r"a\.tif has 1 × 1 windows, and none at row"):
        ask(judge, segmenter, first(root / "a.tif", **place))


def test_too_large_a_window(judge, segmenter, root) -> None:
    with pytest.raises(InputError, match="are too large for a worker that takes 1,000,000"):
        ask(judge, segmenter, first(root / "a.tif", side=1000))


def test_no_folder_no_scene(segmenter, root) -> None:
    with pytest.raises(SceneRefusedError, match="SCENES_ROOT is not set"):
        ask(SceneJudge(None, 10**6), segmenter, first(root / "a.tif"))


def test_nothing_leads_out_of_the_folder(judge, segmenter, root, tmp_path) -> None:
    outside = write_scene(tmp_path / "b.tif", picture(150, 160))
    (root / "b.tif").symlink_to(outside)
    with pytest.raises(SceneRefusedError, match=r"b\.tif leads out of SCENES_ROOT"):
        ask(judge, segmenter, first(outside))


def test_another_file(judge, segmenter, root) -> None:
    wanted = first(root / "a.tif")
    write_scene(root / "a.tif", picture(150, 160, 1))
    with pytest.raises(SceneRefusedError, match=r"a\.tif is another file there"):
        ask(judge, segmenter, wanted)


def test_a_file_that_changes_while_it_is_open(judge, segmenter, root) -> None:
    wanted = first(root / "a.tif")
    ask(judge, segmenter, wanted)
    write_scene(root / "a.tif", picture(150, 160, 1))
    with pytest.raises(SceneRefusedError, match="or was changed meanwhile"):
        ask(judge, segmenter, wanted)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_no_scene(judge, segmenter, root, content) -> None:
    wanted = first(root / "a.tif")
    (root / "a.tif").unlink()
    if content is not None:
        (root / "a.tif").write_bytes(content)
    with pytest.raises(SceneRefusedError, match=r"there is no file|is no raster"):
        ask(judge, segmenter, wanted)
