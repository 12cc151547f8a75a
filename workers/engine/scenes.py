"""Windows of scenes that lie in a folder which all hosts share: opened, checked, judged."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes import pipeline
from dgl_rsis.scenes.cells import Cells
from dgl_rsis.scenes.identity import Stamp, identity, stamp
from dgl_rsis.scenes.pipeline import SceneWork, WindowParameters
from dgl_rsis.scenes.reading import Scene, open_scene
from dgl_rsis.types import InputError
from workers import blocking
from workers.engine.segmenter import Segmenter
from workers.queue.windows import WindowRequest


class SceneRefusedError(InputError):
    """This worker cannot read the scene; another one may."""


@dataclass
class _Opened:
    """The scene of the last window, and its files as they were when they were checked."""

    key: str
    scene: Scene
    stamp: Stamp
    work: SceneWork


@dataclass
class SceneJudge:
    """Judges windows of scenes below a folder.

    The last scene stays open: its windows come one after the other.

    Attributes:
        root: the folder, resolved; None refuses every scene.
        max_pixels: of a window with its surroundings.
    """

    root: Path | None
    max_pixels: int
    _opened: _Opened | None = field(init=False, default=None)

    def judge(
        self, request: WindowRequest, segmenter: Segmenter, say: Callable[[str], None]
    ) -> Cells | None:
        """What a window says; None where nothing of it is valid.

        Args:
            request: the window.
            segmenter: the model.
            say: is told which stage begins.

        Raises:
            SceneRefusedError: the scene is not there, not allowed, or another one than was meant.
            InputError: a window too large, or one that the scene does not have.
        """
        side = request.side + 2 * request.surroundings
        if side * side > self.max_pixels:
            raise InputError(
                f"windows of {request.side} pixels are too large for a worker that takes "
                f"{self.max_pixels:,} pixels: give a smaller --window, or raise MAX_IMAGE_PIXELS"
            )
        opened = self._work(request, segmenter)
        work = opened.work
        rows, columns = work.plan.windows
        if request.row >= len(rows) or request.column >= len(columns):
            raise InputError(
                f"{request.scene} has {len(rows)} × {len(columns)} windows, and none at row "
                f"{request.row}, column {request.column}"
            )
        say("judging a window")
        cells = work.judge((request.row, request.column))
        if _stamp(work.scene) != opened.stamp:  # it was written while it was read
            self.close()
            raise _changed(request)
        return cells

    def close(self) -> None:
        """Close the scene that is open."""
        if self._opened is not None:
            self._opened.scene.close()
            self._opened = None

    def _work(self, request: WindowRequest, segmenter: Segmenter) -> _Opened:
        """The request's scene, as it is open or opened anew."""
        opened = self._opened
        if opened is not None:
            if opened.key == request.scene_key and _stamp(opened.scene) == opened.stamp:
                return opened
            self.close()
        with blocking.waiting():  # for the disks of another host
            scene = self._open(request)
        try:
            with blocking.waiting():
                seen = stamp(scene)
                if identity(scene) != request.identity:
                    raise _changed(request)
            work = _prepared(scene, request, segmenter)
        except BaseException:
            scene.close()
            raise
        self._opened = _Opened(request.scene_key, scene, seen, work)
        return self._opened

    def _open(self, request: WindowRequest) -> Scene:
        if self.root is None:
            raise SceneRefusedError(
                "SCENES_ROOT is not set there: name the folder that all hosts share"
            )
        path = (self.root / request.scene).resolve()
        if not path.is_relative_to(self.root):
            raise SceneRefusedError(
                f"{request.scene} leads out of SCENES_ROOT: put it there itself"
            )
        try:
            return open_scene(
                path, request.bands, nir=request.nir, swir=request.swir, nodata=request.nodata
            )
        except (InputError, OSError) as error:
            raise SceneRefusedError(str(error)) from error


def _stamp(scene: Scene) -> Stamp | None:
    """None where a file is gone: as good as changed."""
    try:
        return stamp(scene)
    except InputError:
        return None


def _prepared(scene: Scene, request: WindowRequest, segmenter: Segmenter) -> SceneWork:
    windows = WindowParameters(request.side, request.overlap, request.context, request.surroundings)
    known = None if request.resolution is None else Resolution(*request.resolution)
    return pipeline.prepare(
        scene,
        segmenter.vocabulary(request.labels),
        segmenter.clip,
        segmenter.parameters,
        windows,
        segmenter.propose,
        known,
        request.costs,
    )


def _changed(request: WindowRequest) -> SceneRefusedError:
    return SceneRefusedError(
        f"{request.scene} is another file there than where the command runs, or was changed "
        "meanwhile: give all hosts the same one"
    )
