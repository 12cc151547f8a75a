"""How large the images are, added up from their parts.

    .venv/bin/python -m tests.rehearsal web FOLDER --install
    .venv/bin/python -m tests.rehearsal worker FOLDER --install --argument HF=no
    .venv/bin/python deploy/sizes.py FOLDER

The first two install what the images hold; this measures it, unpacked and as the layer of an image,
compressed by gzip. Not measured, but stated, is the base. A worker is installed with CUDA, from the
lock, and without CUDA is what is left of it: PyTorch's wheels for processors lack only those.
"""

import argparse
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# python:3.11-slim-trixie for amd64, as Docker Hub's page of tags shows it, rounded up.
BASE = ("base image (stated)", 48_000_000, 135_000_000)
CUDA = re.compile(r"(nvidia|triton|cuda)|torch/lib/lib.*(cuda|nvshmem|cupti|nvrtc)")
PYTORCH = re.compile(r"(torch|torchvision|torchgen|functorch)[./-]")
OURS = re.compile(r"(backend|workers|dgl_rsis|starter)[./-]")
MB = 1_000_000


@dataclass(frozen=True)
class Limit:
    """What an image may take.

    Attributes:
        stage: of the Dockerfile.
        compressed: bytes to pull; None for any.
        unpacked: bytes on disk; None for any.
    """

    stage: str
    compressed: int | None = None
    unpacked: int | None = None


LIMITS = (Limit("web", compressed=250 * MB), Limit("worker", unpacked=1_500 * MB))


@dataclass(frozen=True)
class Size:
    """A part of an image, in bytes."""

    part: str
    compressed: int
    unpacked: int


def part_of(path: str) -> str:
    """Which part a file belongs to, by its path in site-packages."""
    if CUDA.match(path):
        return "CUDA"
    if PYTORCH.match(path):
        return "PyTorch"
    return "this project" if OURS.match(path) else "other packages"


def files(environment: Path) -> Iterator[tuple[str, Path]]:
    """The part and the path of each file of an environment."""
    (site,) = environment.glob("lib/python*/site-packages")
    for path in sorted(environment.rglob("*")):
        if path.is_file() and not path.is_symlink():
            inside = path.is_relative_to(site)
            yield part_of(str(path.relative_to(site)) if inside else ""), path


def measured(part: str, paths: Iterable[Path]) -> Size:
    """What files take, unpacked and as one layer."""
    packer = zlib.compressobj(level=6, wbits=31)
    compressed = unpacked = 0
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                unpacked += len(chunk)
                compressed += len(packer.compress(chunk))
    return Size(part, compressed + len(packer.flush()), unpacked)


def sizes(environment: Path) -> list[Size]:
    """The parts of an image without CUDA, the base first.

    Args:
        environment: what the image has in /opt/dgl-rsis.
    """
    parts: dict[str, list[Path]] = {}
    for part, path in files(environment):
        parts.setdefault(part, []).append(path)
    parts.pop("CUDA", None)
    return [Size(*BASE), *(measured(part, parts[part]) for part in sorted(parts))]


def table(stage: str, parts: list[Size], cuda: int) -> str:
    """The parts and their sum, in MB.

    Args:
        stage: name of the image.
        parts: its parts.
        cuda: bytes of what only a GPU needs, unpacked; 0 for none.
    """
    total = Size("together", *(sum(sizes) for sizes in zip(*map(_bytes, parts), strict=True)))
    lines = [f"{stage:<24}{'to pull':>9}{'unpacked':>10}  MB"]
    lines += [f"  {p.part:<22}{p.compressed / MB:>9.0f}{p.unpacked / MB:>10.0f}" for p in parts]
    lines.append(f"  {total.part:<22}{total.compressed / MB:>9.0f}{total.unpacked / MB:>10.0f}")
    if cuda:
        lines.append(f"  {'with CUDA':<31}{(total.unpacked + cuda) / MB:>10.0f}")
    return "\n".join(lines)


def _bytes(size: Size) -> tuple[int, int]:
    return size.compressed, size.unpacked


def excess(limit: Limit, parts: list[Size]) -> str:
    """By what an image breaks its limit; empty when it holds it."""
    for kind in ("compressed", "unpacked"):
        most, is_ = getattr(limit, kind), sum(getattr(each, kind) for each in parts)
        if most is not None and is_ > most:
            return f"{limit.stage} has {is_ / MB:.0f} MB {kind}, more than {most / MB:.0f}"
    return ""


def main() -> int:
    """Measure what was built, and say whether it holds its limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where tests.rehearsal built the stages")
    folder = parser.parse_args().folder
    status = 0
    for limit in LIMITS:
        environment = (folder / limit.stage / "opt/dgl-rsis").resolve()
        if not environment.is_dir():
            sys.stderr.write(f"{limit.stage} is not there: build it by tests.rehearsal first\n")
            status = 1
            continue
        parts = sizes(environment)
        cuda = sum(path.stat().st_size for part, path in files(environment) if part == "CUDA")
        sys.stdout.write(table(limit.stage, parts, cuda) + "\n")
        if problem := excess(limit, parts):
            sys.stderr.write(f"{problem}\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
