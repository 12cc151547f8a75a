"""What pyproject.toml cannot say yet: the inner loops of the region tree are compiled."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("dgl_rsis/regions/native")

setup(
    ext_modules=[
        Extension(
            "dgl_rsis.regions._native",
            sources=sorted(map(str, SOURCES.glob("*.c"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            # Products and sums are not fused, so that every machine grows the same tree.
            extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},  # one file for every Python from 3.11 on
)
