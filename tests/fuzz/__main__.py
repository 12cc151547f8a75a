"""`python -m tests.fuzz`: what strangers write, fuzzed by coverage, and a ledger at the end.

Each target (`targets.py`) runs in a process of its own under libFuzzer (atheris), which keeps what
reaches code that nothing else reached, begins with the corpus in `tests/security/corpus/` and ends
at a fault: another exception than the documented ones, an input of more than `SLOWEST` seconds, or
a process of more than `MOST_MIB`. The same seed and corpus begin alike; how far it gets depends on
the machine. What is worth keeping goes into the corpus with --keep, which `make test` tries again.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "security" / "corpus"
NAMES = ("label_config", "brush", "prompt", "regions", "reference", "event")
SLOWEST = 5  # seconds of one input
MOST_MIB = 1536
LONGEST = 4096  # bytes of an input
MOST_KEPT = 40  # files of a target in the corpus
LONGEST_KEPT = 1024
PACKAGES = ["backend", "workers.images", "workers.messages", "dgl_rsis.decoupling", "tests.fuzz"]


@dataclass(frozen=True)
class Ledger:
    """What became of one target.

    Attributes:
        name: of the target.
        runs: inputs that were tried.
        seconds: wall clock.
        distinct: inputs that each reached something new, those of the corpus among them.
        covered: edges of code that were reached.
        peak: MiB of its process.
        crash: the file of the input that ended it, and what was said; empty for none.
    """

    name: str
    runs: int
    seconds: float
    distinct: int
    covered: int
    peak: int
    crash: str = ""


def main() -> int:
    """Fuzz; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=NAMES, action="append", help="these targets alone")
    parser.add_argument("--keep", action="store_true", help="add what is new to the corpus")
    parser.add_argument("--target", choices=NAMES, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.target:
        return _fuzz(given.target, rest)
    ledgers = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only or NAMES:
            ledgers.append(_supervise(name, Path(folder) / name, given))
            print(_line(ledgers[-1]), flush=True)  # noqa: T201
    found = sum(bool(each.crash) for each in ledgers)
    runs, seconds = sum(each.runs for each in ledgers), sum(each.seconds for each in ledgers)
    print(f"seed {given.seed}: {runs:,} runs in {seconds:.0f} s, {found} faults")  # noqa: T201
    return 1 if found else 0


def _fuzz(name: str, options: list[str]) -> int:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.targets import TARGETS
    import logging

    logging.disable(logging.CRITICAL)
    atheris.Setup([name, *options], TARGETS[name])
    atheris.Fuzz()
    return 0


def _supervise(name: str, folder: Path, given: argparse.Namespace) -> Ledger:
    """Run one target in a process, and read what libFuzzer says at its end."""
    kept, grown = CORPUS / name, folder / "corpus"
    grown.mkdir(parents=True)
    for file in sorted(kept.glob("*")):
        shutil.copy(file, grown)
    options = [
        f"-max_total_time={given.seconds}", f"-seed={given.seed}", f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MOST_MIB}", f"-max_len={LONGEST}", "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
    ]  # fmt: skip
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--target", name, *options, str(grown)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    crash = _crash(folder, ran.stderr + ran.stdout) if ran.returncode else ""
    if given.keep:
        _keep(grown, kept)
    distinct = len(list(grown.iterdir()))
    said = ran.stderr
    covered = max(map(int, re.findall(r"cov: (\d+)", said)), default=0)
    runs = max(_stat(said, "number_of_executed_units"), *map(int, re.findall(r"#(\d+)\s", said)), 0)
    return Ledger(name, runs, seconds, distinct, covered, _stat(said, "peak_rss_mb"), crash)


def _stat(said: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", said)
    return int(found[1]) if found else 0


def _crash(folder: Path, said: str) -> str:
    """Where the input lies that ended the target, and the last lines of what was said."""
    files = [file for file in folder.iterdir() if file.is_file()]
    for file in files:
        shutil.copy(file, Path(tempfile.gettempdir()))
    names = ", ".join(str(Path(tempfile.gettempdir()) / file.name) for file in files)
    traces = [
        line for line in said.splitlines() if re.match(r"\s+File |\w+(Error|Exception)", line)
    ]
    return f"{names or 'no input'}\n" + "\n".join(traces[-6:] or said.splitlines()[-6:])


def _keep(grown: Path, kept: Path) -> None:
    """Add to the corpus what is short, evenly from all that reached something new."""
    kept.mkdir(parents=True, exist_ok=True)
    there = len(list(kept.iterdir()))
    every = sorted(grown.iterdir(), key=lambda file: (file.stat().st_mtime_ns, file.name))
    short = [file for file in every if file.stat().st_size <= LONGEST_KEPT]
    new = [file for file in short if not (kept / file.name).exists()]
    wanted = max(0, MOST_KEPT - there)
    step = max(1, len(new) // wanted) if wanted else 0
    for file in new[:: step or len(new) + 1][:wanted]:
        shutil.copy(file, kept / file.name)


def _line(ledger: Ledger) -> str:
    line = (
        f"{ledger.name:13} {ledger.runs:>9,} runs {ledger.seconds:6.1f} s {ledger.distinct:>6,} "
        f"distinct {ledger.covered:>6,} edges {ledger.peak:>5} MiB "
    )
    return line + ("no fault" if not ledger.crash else f"FAULT {ledger.crash}")


if __name__ == "__main__":
    raise SystemExit(main())
