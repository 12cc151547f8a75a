"""What Dubai's classes look like: the prototypes that ship beside the starter weights.

    python -m starter.training.prototypes --dubai ../shared/data/dubai

They are made of the same images that the weights were trained on (tiles 1 to 4), as if an annotator
had submitted their labels; see `dgl_rsis.classes.prototypes`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dgl_rsis.classes import prototypes
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.clip.model import PROTOTYPES
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from starter.training.train import WEIGHTS
from starter.training.vocabularies import DUBAI

TRAINING_TILES = (1, 2, 3, 4)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder of the tiles")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    union = prototypes.joined(list(examples(options.dubai)))
    prototypes.save(union, options.out / PROTOTYPES)
    sys.stdout.write(f"{len(union)} examples in {options.out / PROTOTYPES}\n")


def examples(folder: Path) -> Iterator[Prototypes]:
    """Of each training image."""
    for sample in samples.dubai(folder, TRAINING_TILES):
        truth = sample.truth.astype(np.int32)
        marked = np.where(truth < len(DUBAI), truth, -1).astype(np.int32)
        proposed = proposals.propose(sample.image, RegionParameters())
        yield prototypes.from_masks(sample.image, proposed, marked, DUBAI)


if __name__ == "__main__":
    main()
