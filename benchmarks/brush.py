"""Brush RLE against the SDK's encoder, both in one run: same bytes, how many times faster.

`python benchmarks/brush.py` prints a table and exits 1 when a byte differs or a median ratio
is below 5. Ours is timed from the mask (mask → runs → RLE), as the SDK's is, and also from runs,
which is what the backend starts with. 200 random masks and, where `../shared/data` is, 20 real
ones (classes of Dubai tiles); 1024² and 4096² each, the larger with fewer masks.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image
from rich.console import Console
from rich.table import Table

from backend.regions import brush
from dgl_rsis.runs import to_runs
from dgl_rsis.types import Mask

ROOT = Path(__file__).parents[1]
DUBAI = ROOT / "../shared/data/dubai"
DUBAI_CLASSES = (0x3C1098, 0x8429F6, 0x6EC1E4, 0xFEDD3A, 0xE2A929)
WANTED = 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds for one mask, best of three."""

    ours: float
    from_runs: float
    sdk: float


def random_masks(side: int, count: int) -> Iterator[Mask]:
    """From compact to ragged: smoothed noise of varied scale and share."""
    rng = np.random.default_rng(side)
    for _ in range(count):
        cell = int(rng.choice([4, 8, 16, 32, 64, 128, 256]))
        coarse = rng.random((side // cell + 1, side // cell + 1)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)
        yield np.asarray(smooth) > rng.uniform(0.3, 0.7)


def real_masks(side: int, count: int) -> Iterator[Mask]:
    """Class masks of Dubai tiles, scaled to the side without smoothing."""
    for path in sorted(DUBAI.glob("tile[1-4]_*.png"))[: count // len(DUBAI_CLASSES)]:
        tile = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
        pixels = np.asarray(tile, dtype=np.uint32)
        classes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        for colour in DUBAI_CLASSES:
            yield classes == colour


def best(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the best of three calls, and what the last returned."""
    seconds, result = [], None
    for _ in range(3):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def compare(mask: Mask) -> Timing:
    """Time both encoders on one mask.

    Raises:
        AssertionError: the bytes differ.
    """
    image = mask.astype(np.uint8) * 255
    runs = to_runs(mask)
    ours, rle = best(lambda: brush.encode(to_runs(mask)))
    from_runs, _ = best(lambda: brush.encode(runs))
    sdk, expected = best(lambda: mask2rle(image))  # type: ignore[no-untyped-call]
    assert rle == expected, f"other bytes than the SDK's for a mask of {mask.sum()} pixels"
    return Timing(ours, from_runs, sdk)


def main() -> int:
    """Run all, print the table, say whether the target is met."""
    table = Table(
        "masks", "side", "count", "ours ms", "SDK ms", "ratio: median", "least", "from runs"
    )
    met = True
    for name, make, side, count in (
        ("random", random_masks, 1024, 200),
        ("real", real_masks, 1024, 20),
        ("random", random_masks, 4096, 10),
        ("real", real_masks, 4096, 10),
    ):
        timings = [compare(mask) for mask in make(side, count)]
        if not timings:
            continue
        ratios = [t.sdk / t.ours for t in timings]
        median = statistics.median(ratios)
        met &= median >= WANTED
        table.add_row(
            name,
            str(side),
            str(len(timings)),
            f"{1e3 * statistics.median(t.ours for t in timings):.1f}",
            f"{1e3 * statistics.median(t.sdk for t in timings):.1f}",
            f"{median:.1f}",
            f"{min(ratios):.1f}",
            f"{statistics.median(t.sdk / t.from_runs for t in timings):.1f}",
        )
    Console().print(table)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
