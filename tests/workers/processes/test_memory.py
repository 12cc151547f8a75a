import subprocess
import sys
from pathlib import Path

import pytest

from workers.processes import memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not enforce RLIMIT_DATA"
)
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from workers.processes import memory

memory.CONTAINER_LIMIT = Path(sys.argv[1])
print(memory.limit_memory())
np.ones(10**8, dtype=np.uint8)
try:
    np.ones(10**9, dtype=np.uint8)
except MemoryError:
    print("refused")
"""


def test_what_needs_more_than_the_container_has_is_refused(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000000\n")
    command = [sys.executable, "-c", PROGRAM, str(limit)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["900000000", "refused"]


@pytest.mark.parametrize("content", [None, "max\n"])
def test_without_a_container_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    limit = tmp_path / "memory.max"
    if content is not None:
        limit.write_text(content)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    (kib,) = [
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    ]
    assert memory.machine_bytes() == pytest.approx(kib * 1024, rel=0.01)


def test_a_worker_does_without_a_compiler():
    """In a process of its own: what is loaded stays."""
    program = """
import sys
from workers.processes.memory import leave_out_compiler
leave_out_compiler()
from workers.processes import segment
import torchvision
assert not [name for name in sys.modules if name.startswith("triton.")], "loaded"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_freed_arrays_leave_nothing_behind():
    """In a process of its own: it changes how memory is given out."""
    program = """
import numpy as np, psutil
from workers.processes.memory import return_freed_memory
return_freed_memory()
np.ones(2**22)[0]  # 32 MiB: when it is freed, glibc would learn to keep what is smaller
before = psutil.Process().memory_info().rss
large, small = [], []
for _ in range(30):
    large.append(np.ones(2**20)), small.append(np.ones(2**12))
del large
assert psutil.Process().memory_info().rss - before < 40 * 2**20, "kept"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_kept_memory_is_used_again_without_new_pages():
    """In a process of its own: it changes how memory is given out."""
    program = """
import resource
import numpy as np
from workers.processes.memory import keep_freed_memory
keep_freed_memory()
def faults():
    for _ in range(10):
        np.ones(2**23)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
assert faults() - before < 1000, "mapped anew"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
