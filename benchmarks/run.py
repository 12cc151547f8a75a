"""`make bench`: every number of docs/LOG.md in one go, with the machine it was got on."""

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import torch


def main() -> int:
    """Command line; 1 when a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dubai", type=Path, required=True, help="folder of the Dubai tiles")
    parser.add_argument("--tiles", default="6", help="Dubai tiles to score")
    parser.add_argument("--scenes", default="40", help="generated scenes to score")
    options = parser.parse_args()
    _say(
        f"machine: {_processor()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    failed = 0
    if options.dubai.is_dir():
        failed += _run("bench_ovss", "--dubai", str(options.dubai), "--tiles", options.tiles)
    else:
        _say(f"no {options.dubai}: the Dubai numbers are left out")
    failed += _run("bench_ovss", "--scenes", options.scenes)
    for name in ("bench_serving", "bench_brush", "bench_web", "bench_queue"):
        failed += _run(name)
    return 1 if failed else 0


def _run(name: str, *arguments: str) -> int:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    _say(f"\n$ python -m benchmarks.{name} {' '.join(arguments)}")
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
