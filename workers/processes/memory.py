"""How much memory a worker's process takes, and a limit on it.

With a limit, an image that needs too much is refused in an instant. Without, the machine swaps
until the kernel kills a process, which may be another than the worker.
"""

import ctypes
import logging
import os
import resource
import sys
from pathlib import Path

log = logging.getLogger(__name__)

SHARE = 0.9
COMPILER = "triton"
STATISTICS = Path("/proc/self/statm")  # the sixth number: pages of data and stack
MAPPED = 2**20  # bytes
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # of glibc's malloc.h
KEPT, STEP = 2**31 - 1, 2**26  # bytes: freed ones that stay, and those taken at a time
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def leave_out_compiler() -> None:
    """Keep PyTorch from loading its compiler for GPUs, 70 MiB: nothing is compiled here.

    Where that is installed, torchvision would have it loaded as soon as it is imported, also for a
    model on the CPU. To be called before that; for a process that is a worker and nothing else.
    """
    sys.modules.setdefault(COMPILER, None)  # type: ignore[arg-type]  # Python's own way to say so


def return_freed_memory() -> None:
    """Give back what large arrays took as soon as they are freed.

    glibc learns from the first large one that is freed to keep later ones, up to 32 MiB each, and
    what lies among them keeps them from being given back. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED)


def keep_freed_memory() -> None:
    """The opposite: hold what is freed for what is needed next, which is as large.

    For scenes, each window of which takes what the last one took. Else pages of as many gigabytes
    would be mapped and cleared anew for each, which is a tenth of the time. Other C libraries are
    left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_TOP_PAD, STEP)


def limit_memory() -> int:
    """Limit this process to `SHARE` of the memory of its machine or container.

    What counts is private and writable (RLIMIT_DATA). Not for a process with a CUDA device, which
    maps much more than it uses.

    Returns:
        The limit, bytes.
    """
    most = int(SHARE * machine_bytes())
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    log.info("memory is limited to %.1f GiB", most / 2**30)
    return most


def room() -> int:
    """Bytes that this process may still take, by its limit and by the memory of the machine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    most = machine_bytes() if soft == resource.RLIM_INFINITY else min(soft, machine_bytes())
    return max(0, most - _held())


def _held() -> int:
    """Bytes that this process holds, as RLIMIT_DATA counts; 0 where the system does not say."""
    try:
        pages = STATISTICS.read_text().split()[5]
    except (OSError, IndexError):  # not Linux
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def machine_bytes() -> int:
    """Bytes of the machine, or of the container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return machine
