from pathlib import Path

import pytest

from deploy.sizes import Limit, Size, excess, measured, part_of, sizes, table


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("nvidia/cublas/lib/libcublas.so", "CUDA"),
        ("torch/lib/libtorch_cuda.so", "CUDA"),
        ("torch/lib/libtorch_cpu.so", "PyTorch"),
        ("torch/cuda/__init__.py", "PyTorch"),
        ("torchvision-0.29.2.dist-info/METADATA", "PyTorch"),
        ("torchmetrics/__init__.py", "other packages"),
        ("workers/messages.py", "this project"),
        ("numpy/__init__.py", "other packages"),
        ("", "other packages"),
    ],
)
def test_a_file_belongs_to_a_part(path: str, part: str):
    assert part_of(path) == part


def test_parts_add_up_without_cuda_and_links(tmp_path: Path):
    site = tmp_path / "lib/python3.11/site-packages"
    held = {"numpy/a.py": 30_000, "torch/lib/libtorch_cuda.so": 7, "workers/a": 5}
    for name, count in held.items():
        (site / name).parent.mkdir(parents=True)
        (site / name).write_bytes(bytes(count))
    (site / "numpy" / "b.py").symlink_to(site / "numpy" / "a.py")
    base, others, ours = sizes(tmp_path)
    assert "stated" in base.part
    assert (ours.part, ours.unpacked) == ("this project", 5)
    assert (others.part, others.unpacked) == ("other packages", 30_000)
    assert others.compressed < 300  # zeros
    assert "together" in table("web", [base, ours, others], cuda=7)


def test_a_layer_is_compressed_as_one(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    alone, both = (measured("x", [tmp_path / n for n in names]) for names in ("a", "ab"))
    assert both.unpacked == 2 * alone.unpacked
    assert both.compressed < 1.5 * alone.compressed


def test_a_limit_that_is_broken_is_said():
    parts = [Size("a", 10_000_000, 40_000_000), Size("b", 1_000_000, 1_000_000)]
    assert excess(Limit("web", compressed=11_000_000), parts) == ""
    assert "41 MB unpacked, more than 40" in excess(Limit("web", unpacked=40_000_000), parts)
