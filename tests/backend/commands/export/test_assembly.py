import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands.export.assembly import Assembly, Source
from backend.commands.export.images import Images
from backend.commands.export.selection import Choice
from backend.regions.findings import Findings
from backend.regions.records import Annotation, Item, Region
from dgl_rsis import runs
from tests.backend.commands.export.examples import region
from tests.backend.studio.exports import H, W, box


def nothing(reference: str) -> bytes:
    raise RuntimeError(reference)


def item(identity: int, image: str, *regions: Region, size: tuple[int, int] = (H, W)) -> Item:
    return Item(identity, image, *size, (Annotation(1, "ann", "", regions),), ())


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in ("x/a.png", "y/a.png", "y/A.png", "b_1.png", "b_2.png", "odd name!.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (W, H)).save(tmp_path / name)
    return Source(Choice(), Images(tmp_path, nothing, tmp_path), re.compile(r"(b)_\d"))


def test_names_are_different_and_plain(source: Source, tmp_path: Path) -> None:
    mask = region(box(1, 1, 5, 5))
    names = ("x/a.png", "y/a.png", "y/A.png", "odd name!.png", "y/a.png")
    with Assembly(source, Findings(), tmp_path) as assembly:
        assembly.add_all(item(i, name, mask) for i, name in enumerate(names))
        examples = list(assembly.examples(dict.fromkeys(names, "train")))
    files = ["a.png", "a-1.png", "A-2.png", "odd_name_.png", "a-4.png"]
    assert [each.file for each in examples] == files
    assert [each.source.name for each in examples] == [Path(name).name for name in names]
    assert examples[0].annotation is not None
    assert examples[0].annotation.annotator == "ann"


def test_examples_come_as_often_as_wanted_and_by_scene(source: Source, tmp_path: Path) -> None:
    with Assembly(source, Findings(), tmp_path) as assembly:
        assembly.add_all(item(i, f"b_{i}.png", region(box(1, 1, 5, 5))) for i in (1, 2))
        assembly.add_all([item(3, "x/a.png")])
        assert assembly.scenes == {"b": 2, "x/a.png": 1}
        assert assembly.labels == {"road": 2}
        for _ in range(2):
            examples = list(assembly.examples({"b": "val", "x/a.png": "test"}))
            assert [each.split for each in examples] == ["val", "val", "test"]
            assert examples[1].item.task_id == 2
            assert examples[0].regions == (region(box(1, 1, 5, 5)),)


def test_another_image_than_the_one_that_was_marked(source: Source, tmp_path: Path) -> None:
    findings = Findings()
    with Assembly(source, findings, tmp_path) as assembly:
        assembly.add_all([item(4, "b_1.png", size=(9, 9)), item(5, "b_2.png")])
        assert assembly.scenes.total() == 1
    (problem,) = findings.problems
    assert problem.startswith("task 4: its image b_1.png has 60 × 40 pixels, its masks 9 × 9")


def test_does_not_hold_what_was_chosen(source: Source, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((H, W)) < 0.5
    held = len(runs.to_runs(noise).counts) * 8 * 2000

    def many() -> Iterator[Item]:
        for i in range(2000):
            yield item(i, "b_1.png", region(np.roll(noise, i)))

    tracemalloc.start()
    try:
        with Assembly(source, Findings(), tmp_path) as assembly:
            assembly.add_all(many())
            assert sum(len(each.regions) for each in assembly.examples({"b": "val"})) == 2000
        assert tracemalloc.get_traced_memory()[1] < held / 5
    finally:
        tracemalloc.stop()
