"""`make bench`: quality, speed and memory in one go, with the machine they were got on.

Sentences are measured on fewer scenes, and large scenes up to a smaller side, than in the tables of
README and docs/MODELS.md, which has the commands for the rest.
"""

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import torch

DATA = Path("../shared/data")
CARS = DATA / "open" / "estonia_ortho_objects"
SENTENCES = DATA / "expressions" / "rrsisd_train_val.jsonl"


def main() -> int:
    """Command line; 1 when a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder of the Dubai tiles")
    parser.add_argument("--tiles", default="6", help="Dubai tiles to score")
    parser.add_argument("--fair", type=Path, default=DATA / "fair-buildings")
    parser.add_argument("--fair-images", default="30", help="of them, for the class masks")
    parser.add_argument("--expressions", type=Path, default=SENTENCES)
    parser.add_argument("--scenes", default="40", help="generated scenes to score")
    parser.add_argument("--referred", default="60", help="generated scenes with an expression each")
    options = parser.parse_args()
    _say(
        f"machine: {_processor()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    failed = 0
    if options.dubai.is_dir():
        failed += _evaluate("ovss", f"dubai:{options.dubai}", "--split", options.tiles)
        failed += _bench("prototypes", "--dubai", str(options.dubai))
    else:
        _say(f"no {options.dubai}: the Dubai numbers are left out")
    if options.fair.is_dir():
        failed += _evaluate("ovss", f"fair:{options.fair}", "--limit", options.fair_images)
        failed += _evaluate("proposals", f"fair:{options.fair}")
        failed += _evaluate("clicks", f"fair:{options.fair}")
    if options.expressions.is_file():
        failed += _evaluate("parser", f"expressions:{options.expressions}")
    if CARS.is_dir():
        failed += _bench("exemplars", "--boxes", str(CARS))
    failed += _evaluate("ovss", "scenes", "--split", options.scenes)
    failed += _evaluate("res", "scenes", "--split", options.referred, "--per-image", "1")
    for name in (
        "speed",
        "operations",
        "masks",
        "referring",
        "serving",
        "clicks",
        "brush",
        "web",
        "opens",
        "queue",
        "prelabel",
        "scenes",
        "sam",
    ):
        failed += _bench(name)
    return 1 if failed else 0


def _bench(name: str, *arguments: str) -> int:
    return _run(sys.executable, "-m", f"benchmarks.{name}", *arguments)


def _evaluate(*arguments: str) -> int:
    return _run(str(Path(sys.executable).with_name("dgl-rsis")), "evaluate", *arguments)


def _run(*command: str) -> int:
    _say(f"\n$ {' '.join((Path(command[0]).name, *command[1:]))}")
    return subprocess.run(command, check=False).returncode != 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
