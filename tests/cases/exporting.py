"""`dgl-rsis export` as a user calls it, and what it wrote as the COCO API reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.commands.export.command import export

DATA = Path(__file__).parent / "data/annotations"
APP = typer.Typer()
APP.command()(export)


@dataclass(frozen=True)
class Exported:
    """What came of a call.

    Attributes:
        status: of the process.
        output: of the process.
        masks: label and mask of each annotation; (H, W) bool.
        images: how many there are.
    """

    status: int
    output: str
    masks: tuple[tuple[str, NDArray[np.bool_]], ...] = ()
    images: int = 0


def exported(out: Path, source: Path, *options: object, images: Path = DATA) -> Exported:
    """Export a file as COCO into an empty folder."""
    words = [source, "--out", out, "--images", images, "--split", "1,0,0", *options]
    result = CliRunner().invoke(APP, [str(word) for word in words])
    written = out / "coco/annotations/instances_train.json"
    if not written.exists():
        return Exported(result.exit_code, result.output)
    coco = COCO(written)
    return Exported(result.exit_code, result.output, tuple(_masks(coco)), len(coco.imgs))


def _masks(coco: COCO) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for one in coco.anns.values():
        yield coco.cats[one["category_id"]]["name"], coco.annToMask(one).astype(np.bool_)
