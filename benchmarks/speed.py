"""One commit against another: a warm 1024² image by stages, its proposals on one core, memory.

`git worktree add ../base 2c08d65 && python -m benchmarks.speed --base ../base` loads the starter
model from both trees into processes of their own, which answer in turn, so that whatever else the
machine does slows both. In brackets behind the seconds of a clock are those of processors, among
which other work does not count. First comes what the machine can do at the most: operations, by a
product of matrices, and bytes read and written, by a copy. Exits 1 when an aim is missed: 0.6 s for
proposals, half of the base's time for the image.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TILE = ROOT.parents[1] / "shared" / "data" / "dubai" / "tile5_001.jpg"
LABELS = ("building", "road", "vegetation", "water", "land")
SIDE = 1024  # pixels
IMAGE, PROPOSALS = "image", "proposals on one thread"
PROPOSAL_SECONDS, FACTOR = 0.6, 2.0  # the aims

Times = dict[str, tuple[float, float]]  # stage → seconds of a clock, of processors


def main() -> int:
    """Command line; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", type=Path, help="folder of a commit to compare with")
    parser.add_argument("--image", type=Path, default=TILE)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels that it is resized to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the whole image")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        _answer(options)
        return 0
    if not options.image.is_file():
        sys.stdout.write(f"no {options.image}: give --image\n")
        return 1
    _say_peaks(options.threads)
    trees = {"here": ROOT} | ({"base": options.base.resolve()} if options.base else {})
    children = {name: _started(tree, options) for name, tree in trees.items()}
    try:
        return _report(*_measured(children, options.rounds))
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait(timeout=60)


def _say_peaks(threads: int) -> None:
    import torch

    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        square, long = torch.rand(2048, 2048), torch.rand(2**26)
        target = torch.empty_like(long)
        product = min(_timed(partial(torch.matmul, square, square))[1][0] for _ in range(5))
        copy = min(_timed(partial(target.copy_, long))[1][0] for _ in range(5))
        sys.stdout.write(
            f"the machine, {count} threads: {2 * 2048**3 / product / 1e9:.0f} GFLOP/s, "
            f"{2 * long.nbytes / copy / 1e9:.0f} GB/s\n"
        )


# ---- who asks -------------------------------------------------------------------------------


def _started(tree: Path, options: argparse.Namespace) -> Any:
    arguments = ("--image", options.image.resolve(), "--side", options.side)
    return subprocess.Popen(
        [sys.executable, "-P", __file__, "--answer", *map(str, arguments)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(options.threads)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _measured(children: dict[str, Any], rounds: int) -> tuple[dict[str, Times], dict[str, int]]:
    """Medians by tree and stage, and the most memory by tree, KiB."""
    answers: dict[str, list[Times]] = {name: [] for name in children}
    memory = dict.fromkeys(children, 0)
    for _ in range(rounds + 1):
        for name, child in children.items():
            child.stdin.write("\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            memory[name] = answer.pop("memory")
            answers[name].append(answer)
    middle: dict[str, Times] = {}
    for name, (_, *warm) in answers.items():  # the first time everything is cold
        stages = {stage for answer in warm for stage in answer}
        middle[name] = {
            stage: tuple(
                statistics.median(times)
                for times in zip(*(a[stage] for a in warm if stage in a), strict=True)
            )
            for stage in sorted(stages)
        }
    return middle, memory


def _report(middle: dict[str, Times], memory: dict[str, int]) -> int:
    here, base = middle["here"], middle.get("base", {})
    for stage, (clock, own) in here.items():
        sys.stdout.write(f"{stage}: {_shown(clock, own, ' s')}")
        if stage in base:
            before, spent = base[stage]
            ratios = _shown(before / max(clock, 1e-3), spent / max(own, 1e-3))
            sys.stdout.write(f"; base {_shown(before, spent, ' s')}: {ratios} times as fast")
        sys.stdout.write("\n")
    for name, size in memory.items():
        sys.stdout.write(f"peak memory (RSS) {name}: {size / 2**20:.2f} GiB\n")
    met = here[PROPOSALS][0] <= PROPOSAL_SECONDS
    if base:
        met &= base[IMAGE][0] >= FACTOR * here[IMAGE][0]
    return 0 if met else 1


def _shown(clock: float, own: float, unit: str = "") -> str:
    return f"{clock:.2f}{unit}" + (f" ({own:.2f})" if own else "")


# ---- who answers, from either tree ----------------------------------------------------------


def _answer(options: argparse.Namespace) -> None:
    """A line of JSON for each line that is read."""
    import numpy as np
    import torch
    from PIL import Image

    segment, propose = _loaded()
    size = (options.side, options.side)
    image = np.asarray(Image.open(options.image).convert("RGB").resize(size))
    threads = torch.get_num_threads()
    for _ in sys.stdin:
        segmentation, whole = _timed(lambda: segment(image))
        torch.set_num_threads(1)
        _, alone = _timed(lambda: propose(image))
        torch.set_num_threads(threads)
        # Stages know the clock alone: processors count as nothing.
        stages = {f"image: {name}": (s, 0.0) for name, s in segmentation.seconds.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = {**stages, IMAGE: whole, PROPOSALS: alone, "memory": peak}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _loaded() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What segments an image, and what proposes its regions; also of commits before the folders."""
    try:
        from dgl_rsis.classes import pipeline
        from dgl_rsis.clip.model import load_clip
        from dgl_rsis.regions import proposals
    except ImportError:
        from dgl_rsis.models import load_clip  # type: ignore[import-not-found,no-redef]

        from dgl_rsis import pipelines as pipeline  # type: ignore[attr-defined,no-redef]
        from dgl_rsis import proposals  # type: ignore[attr-defined,no-redef]
    from dgl_rsis.types import Label

    clip, labels = load_clip("starter"), [Label(name) for name in LABELS]
    parameters = proposals.RegionParameters()
    return (
        lambda image: pipeline.segment_classes(image, labels, clip),
        lambda image: proposals.propose(image, parameters),
    )


def _timed(call: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    clock, own = time.perf_counter(), time.process_time()
    result = call()
    return result, (time.perf_counter() - clock, time.process_time() - own)


if __name__ == "__main__":
    sys.exit(main())
