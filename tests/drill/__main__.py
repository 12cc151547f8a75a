"""`make drill`: a thousand tasks while everything goes wrong, and a ledger of what came of them.

Real are `dgl-rsis up` with its web server, its workers with the starter weights, its delivery
worker and its Valkey with an append-only file. Label Studio is a stand-in that behaves as recorded,
its people are threads, and the service manager that starts `up` again is one, too. What goes wrong,
and when, is decided by the seed; how far the machine is at that moment is not.

    python -m tests.drill --seed 1
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.drill.disk import DiskError
from tests.drill.run import Drill, Plan


def main() -> int:
    """Command line; 0 when nothing was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1000, help="poison images among them")
    parser.add_argument("--poison", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=270.0, help="in which all goes wrong")
    parser.add_argument("--keep", type=Path, help="folder for the log of `up`")
    options = parser.parse_args()
    console = Console(highlight=False, width=120)
    plan = Plan(options.seed, options.tasks, options.poison, options.seconds)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-drill-") as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            clean = Drill(plan, folder, console).run()
        except DiskError as error:
            console.print(str(error), style="red")
            return 1
    console.print(f"{time.monotonic() - started:.0f} s in all")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
