"""How much of what is like one thing is found, and how much else.

    python -m benchmarks.exemplars --boxes ../shared/data/open/estonia_ortho_objects

Of a folder of images with `boxes.json` ({name: [[left, top, right, bottom, label], …]}). The
exemplar is the region whose box is most like a labelled one; what is found is right where its box
has an IoU of 0.3 with another box of the label, each of which counts once.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import EncodedImage
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation.detection import BOX_IOU
from dgl_rsis.evaluation.scores import box_ious, matched
from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions.exemplars import ExemplarParameters
from dgl_rsis.rasters import read_rgb
from dgl_rsis.regions import proposals
from dgl_rsis.regions.tree import build_tree
from dgl_rsis.types import RGB, Mask

Boxes = NDArray[np.float32]  # (N, 4) XYXY pixels
SHOWN = 0.5  # least IoU of an exemplar with its box
FEWEST = 5  # boxes of the label in an image


@dataclass(frozen=True)
class Outcome:
    """What one exemplar gave.

    Attributes:
        found: masks.
        right: of them.
        others: boxes that there were to find.
        seconds: of the search, beside encoding.
    """

    found: int
    right: int
    others: int
    seconds: float


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--boxes", type=Path, required=True, help="folder with boxes.json")
    parser.add_argument("--label", default="car")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--exemplars", type=int, default=3, help="of each image")
    parser.add_argument("--model", default="starter")
    options = parser.parse_args()
    clip, parameters = load_clip(options.model), ExemplarParameters()
    outcomes: list[Outcome] = []
    for name, boxes in _chosen(options.boxes, options.label, options.images):
        image = read_rgb((options.boxes / "images" / name).read_bytes())
        own = list(_outcomes(image, boxes, clip, parameters, options.exemplars))
        outcomes += own
        _say(f"{name}: {len(boxes)} boxes; {_summary(own)}")
    _say(f"all: {_summary(outcomes)}")
    return 0


def _chosen(folder: Path, label: str, most: int) -> Iterator[tuple[str, Boxes]]:
    """Images with enough boxes of a label, evenly over their names."""
    every = json.loads((folder / "boxes.json").read_text())
    boxes = {name: [box[:4] for box in each if box[4] == label] for name, each in every.items()}
    names = sorted(name for name, each in boxes.items() if len(each) >= FEWEST)
    for name in names[:: max(1, len(names) // most)][:most]:
        yield name, np.array(boxes[name], dtype=np.float32)


def _outcomes(
    image: RGB, boxes: Boxes, clip: ClipModel, parameters: ExemplarParameters, most: int
) -> Iterator[Outcome]:
    """What the first boxes that some region is like give as exemplars."""
    dense = features.dense_features(clip, image, parameters.encoding.batch)
    tree = build_tree(image, parameters.encoding.regions)
    left = most
    for number, box in enumerate(boxes):
        encoding = exemplars.encoding(_filled(box, image), parameters)
        proposed = proposals.cut(tree, encoding.regions)
        by_mask = pipeline.encode_masks(image, proposed, dense, clip, encoding)
        encoded = EncodedImage(image, proposed, dense, by_mask, {})
        overlaps = box_ious(encoded.proposed.boxes, box[None])[:, 0]
        best = int(overlaps.argmax())
        if overlaps[best] < SHOWN or not left:
            continue
        left -= 1
        exemplar = encoded.proposed.at_full_size(encoded.proposed.masks[best])
        yield _outcome(encoded, clip, exemplar, np.delete(boxes, number, axis=0), parameters)


def _outcome(
    encoded: EncodedImage,
    clip: ClipModel,
    exemplar: Mask,
    others: Boxes,
    parameters: ExemplarParameters,
) -> Outcome:
    started = time.perf_counter()
    alike = exemplars.like(encoded, clip, exemplar, exemplar, parameters)
    seconds = time.perf_counter() - started
    right = matched(box_ious(alike.found.boxes, others), BOX_IOU)  # best first
    return Outcome(len(alike), right, len(others), seconds)


def _filled(box: Boxes, image: RGB) -> Mask:
    mask = np.zeros(image.shape[:2], dtype=np.bool_)
    left, top, right, bottom = box.round().astype(int).tolist()
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask


def _summary(outcomes: list[Outcome]) -> str:
    found, right, others = (
        sum(getattr(each, name) for each in outcomes) for name in ("found", "right", "others")
    )
    if not outcomes:
        return "no region is like a box"
    return (
        f"{len(outcomes)} exemplars, {found} found, precision {right / max(found, 1):.2f}, "
        f"recall {right / max(others, 1):.2f}, "
        f"{np.median([each.seconds for each in outcomes]):.2f} s"
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
