"""Scenes of any size: seconds per megapixel, peak memory, and what the windows' size changes.

    python -m benchmarks.scenes --sides 2000 5000 10000 20000

A scene is a mosaic of generated ones (starter.scenes.generate), each turned and mirrored at
random, written block by block. Each size runs in a process of its own, whose peak memory is
read at its end. `--sparse 200` adds a scene of holes: 60,000 × 40,000 pixels, of which so many
pieces of 512² are stored, each in a window of its own.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneJob, SceneOptions
from dgl_rsis.clip.model import load_clip
from dgl_rsis.scenes.pipeline import WindowParameters, segment_scene
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import Label
from starter.scenes.generate import generate
from workers.engine.loading import load_segmenter
from workers.processes.memory import keep_freed_memory
from workers.settings import WorkerSettings

PIECE = 1000  # pixels of a generated scene
PIECES = 16  # different ones
FIRST_SEED = 3_000_000  # training never draws these
LABELS = ("building", "road", "water", "forest", "grassland", "farmland", "bare land")
AGREEMENT_SIDE = 2000
COMPARED = (512, 1024, 1536)
SPARSE = (60_000, 40_000)  # pixels
STORED_SIDE = 512  # pixels of a piece
STRIDE, OFFSET = 2496, 400  # between places of pieces: each lies inside a window of its own


def main() -> int:
    """Command line; 1 when a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="*", default=[2000, 5000, 10000])
    parser.add_argument("--folder", type=Path, help="keeps the scenes; else a temporary folder")
    parser.add_argument("--sparse", type=int, default=0, help="pieces in a scene of holes")
    parser.add_argument("--no-agreement", action="store_true")
    parser.add_argument("--labels", default=",".join(LABELS))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    labels = options.labels.split(",")
    if options.child:
        _segment(options.child, labels)
        return 0
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-scenes-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for side in options.sides:
            if not _measure(make_scene(folder, side), options.labels):
                return 1
        if options.sparse and not _measure(make_sparse(folder, options.sparse), options.labels):
            return 1
        if not options.no_agreement:
            _agree(make_scene(folder, AGREEMENT_SIDE), labels)
    return 0


def make_scene(folder: Path, side: int) -> Path:
    """An RGB GeoTIFF of side², tiled and deflated; one that is there already is kept."""
    path = folder / f"scene-{side}.tif"
    if path.exists():
        return path
    count = min(PIECES, math.ceil(side / PIECE) ** 2)
    pieces = [generate(FIRST_SEED + i, PIECE).image for i in range(count)]
    rng = np.random.default_rng(0)
    place = Affine(0.5, 0, 326_000, 0, -0.5, 2_788_000)
    part = path.with_suffix(".part")
    with rasterio.open(
        part, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32640", transform=place, tiled=True, blockxsize=512, blockysize=512,
        compress="deflate", photometric="RGB", bigtiff="IF_SAFER",
    ) as dataset:  # fmt: skip
        for number, (row, column) in enumerate(
            (r, c) for r in range(0, side, PIECE) for c in range(0, side, PIECE)
        ):
            piece = _turned(pieces[number % len(pieces)], rng)
            height, width = min(PIECE, side - row), min(PIECE, side - column)
            window = Window(column, row, width, height)
            dataset.write(piece[:height, :width].transpose(2, 0, 1), window=window)
    part.rename(path)
    return path


def _turned(piece: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    turned = np.rot90(piece, int(rng.integers(4)))
    return turned[:, ::-1] if rng.random() < 0.5 else turned


def make_sparse(folder: Path, pieces: int) -> Path:
    """An RGB GeoTIFF of `SPARSE` pixels, of which so many pieces are stored, spread over it."""
    path = folder / f"scene-sparse-{pieces}.tif"
    if path.exists():
        return path
    width, height = SPARSE
    across, down = width // STRIDE, height // STRIDE
    image = np.maximum(generate(FIRST_SEED, STORED_SIDE).image, 1).transpose(2, 0, 1)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
        crs="EPSG:32640", transform=Affine(0.5, 0, 326_000, 0, -0.5, 2_788_000), nodata=0,
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", photometric="RGB",
        bigtiff="IF_SAFER", sparse_ok=True,
    ) as dataset:  # fmt: skip
        for i in np.random.default_rng(0).choice(across * down, pieces, replace=False).tolist():
            row, column = STRIDE * (i // across) + OFFSET, STRIDE * (i % across) + OFFSET
            dataset.write(image, window=Window(column, row, STORED_SIDE, STORED_SIDE))
    return path


def _measure(path: Path, labels: str) -> bool:
    command = [sys.executable, "-m", "benchmarks.scenes", "--child", str(path)]
    done = subprocess.run([*command, "--labels", labels], capture_output=True, text=True)
    if done.returncode:
        _say(f"{path.stem}: failed\n{done.stderr}")
        return False
    run = json.loads(done.stdout.splitlines()[-1])
    stages = ", ".join(f"{stage} {value:.0f} s" for stage, value in run["seconds"].items())
    _say(
        f"{path.stem} ({run['megapixels']:.0f} Mpx): {run['rate']:.2f} s/Mpx wall, "
        f"{run['processor']:.2f} s/Mpx processor ({run['processor'] * run['megapixels']:.0f} s), "
        f"peak {run['peak']:.2f} GiB, {run['polygons']} polygons, "
        f"{run['bytes'] / 1e6:.1f} MB of results ({stages})"
    )
    return True


def _segment(path: Path, labels: list[str]) -> None:
    """The child: all outputs of a scene."""
    settings = WorkerSettings(model="starter", device="cpu")
    segmenter = LocalSceneSegmenter(load_segmenter(settings))
    keep_freed_memory()
    options = SceneOptions(polygons="gpkg", probability=True)
    job = SceneJob([Label(name) for name in labels], {}, options)
    out = path.with_suffix("")
    out.mkdir(exist_ok=True)
    processor = time.process_time()
    report = segmenter.segment(path, out, job, lambda done, total: None)
    processor = time.process_time() - processor
    run = {
        "megapixels": report.megapixels,
        "rate": sum(report.seconds.values()) / report.megapixels,
        "processor": processor / report.megapixels,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "polygons": report.polygons,
        "bytes": sum(file.stat().st_size for file in report.files),
        "seconds": report.seconds,
    }
    sys.stdout.write(json.dumps(run) + "\n")


def _agree(path: Path, labels: list[str]) -> None:
    """Pixels that get the same class from windows of both sizes."""
    maps = [_classes(path, labels, side) for side in COMPARED]
    for side, smaller, larger in zip(COMPARED, maps, maps[1:], strict=False):
        _say(
            f"{AGREEMENT_SIDE}², windows of {side} against the next larger ones: "
            f"{(smaller == larger).mean():.2%} of the pixels agree"
        )


def _classes(path: Path, labels: list[str], window: int) -> NDArray[np.uint16]:
    clip = load_clip("starter")
    windows = WindowParameters(side=window)
    start = time.process_time()
    with open_scene(path) as scene:
        class_map = np.zeros((scene.grid.height, scene.grid.width), dtype=np.uint16)
        for block in segment_scene(scene, [Label(x) for x in labels], clip, windows=windows):
            h, w = block.classes.shape
            class_map[block.row : block.row + h, block.column : block.column + w] = block.classes
    spent = time.process_time() - start
    _say(f"windows of {window}: {spent / (class_map.size / 1e6):.1f} s/Mpx processor")
    return class_map


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
