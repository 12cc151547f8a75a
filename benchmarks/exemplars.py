"""How much of what is like one thing is found, and how much else.

    python -m benchmarks.exemplars --boxes ../shared/data/open/estonia_ortho_objects
    python -m benchmarks.exemplars --boxes … --across --label building --images 16 --exemplars 6

Of a folder of images with `boxes.json` ({name: [[left, top, right, bottom, label], …]}). The
exemplar is the region whose box is most like a labelled one; what is found is right where its box
has an IoU of 0.3 with another box of the label, each of which counts once. With `--across` one
exemplar of an image is sought in all others, also in those that have none of its kind, and each
threshold of likeness has its line.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.clip import features
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation.detection import BOX_IOU
from dgl_rsis.evaluation.scores import box_ious, matched
from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions.exemplars import Alike, ExemplarParameters, Look
from dgl_rsis.rasters import read_rgb
from dgl_rsis.regions import proposals
from dgl_rsis.regions.tree import RegionTree, build_tree
from dgl_rsis.types import RGB, Mask

Boxes = NDArray[np.float32]  # (N, 4) XYXY pixels
SHOWN = 0.5  # least IoU of an exemplar with its box
FEWEST = 5  # boxes of the label in an image
THRESHOLDS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


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


@dataclass(frozen=True)
class Seen:
    """An image, with what every question about it shares.

    Attributes:
        image: (H, W, 3) uint8.
        boxes: of the label.
        tree: of its regions.
        dense: features.
    """

    image: RGB
    boxes: Boxes
    tree: RegionTree
    dense: DenseFeatures

    @classmethod
    def of(cls, image: RGB, boxes: Boxes, clip: ClipModel, parameters: OvssParameters) -> "Seen":
        """Look at an image."""
        dense = features.dense_features(clip, image, parameters.batch)
        return cls(image, boxes, build_tree(image, parameters.regions), dense)

    def encoded(self, clip: ClipModel, encoding: OvssParameters) -> EncodedImage:
        """With the regions that an encoding wants."""
        proposed = proposals.cut(self.tree, encoding.regions)
        by_mask = pipeline.encode_masks(self.image, proposed, self.dense, clip, encoding)
        return EncodedImage(self.image, proposed, self.dense, by_mask, {})


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--boxes", type=Path, required=True, help="folder with boxes.json")
    parser.add_argument("--label", default="car")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--exemplars", type=int, default=3, help="of each image")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--across", action="store_true", help="seek them in the other images")
    options = parser.parse_args()
    clip, parameters = load_clip(options.model), ExemplarParameters()
    if options.across:
        return _across(options, clip, parameters)
    outcomes: list[Outcome] = []
    for name, boxes in _chosen(options.boxes, options.label, options.images):
        image = read_rgb((options.boxes / "images" / name).read_bytes())
        own = list(_outcomes(image, boxes, clip, parameters, options.exemplars))
        outcomes += own
        _say(f"{name}: {len(boxes)} boxes; {_summary(own)}")
    _say(f"all: {_summary(outcomes)}")
    return 0


def _across(options: argparse.Namespace, clip: ClipModel, parameters: ExemplarParameters) -> int:
    """One exemplar of each of some images, sought in all others."""
    every = json.loads((options.boxes / "boxes.json").read_text())
    names = sorted(every)[:: max(1, len(every) // options.images)][: options.images]
    images = []
    for name in names:
        boxes = [box[:4] for box in every[name] if box[4] == options.label]
        image = read_rgb((options.boxes / "images" / name).read_bytes())
        own = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        images.append(Seen.of(image, own, clip, parameters.encoding))
    candid = replace(parameters, least_elsewhere=min(THRESHOLDS))
    looks = _looks(images, clip, candid)
    outcomes: dict[float, list[Outcome]] = {threshold: [] for threshold in THRESHOLDS}
    for number, look in looks[:: max(1, len(looks) // options.exemplars)][: options.exemplars]:
        for other in images[:number] + images[number + 1 :]:
            started = time.perf_counter()
            encoding = exemplars.encoding_elsewhere(look, other.image.shape[:2], None, candid)
            alike = exemplars.elsewhere(other.encoded(clip, encoding), clip, look, candid)
            seconds = time.perf_counter() - started
            for threshold, each in outcomes.items():
                each.append(_above(alike, threshold, other.boxes, seconds))
        _say(f"{names[number]}: {_summary(outcomes[parameters.least])}")
    for threshold, each in outcomes.items():
        _say(f"at {threshold:.2f}: {_summary(each)}")
    return 0


def _looks(
    images: list[Seen], clip: ClipModel, parameters: ExemplarParameters
) -> list[tuple[int, Look]]:
    """The look of one exemplar of each image that has a region like a box, with its number."""
    looks = []
    for number, seen in enumerate(images):
        for box in seen.boxes:
            encoded = seen.encoded(clip, exemplars.encoding(_filled(box, seen.image), parameters))
            exemplar = _exemplar(encoded, box)
            if exemplar is not None:
                looks.append((number, exemplars.look_of(encoded, clip, exemplar, parameters)))
                break
    return looks


def _above(alike: Alike, threshold: float, boxes: Boxes, seconds: float) -> Outcome:
    """What is left at a threshold; the rest does not change by it, since the best come first."""
    count = int((alike.scores >= threshold).sum())
    right = matched(box_ious(alike.found.boxes[:count], boxes), BOX_IOU)
    return Outcome(count, right, len(boxes), seconds)


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
    seen, left = Seen.of(image, boxes, clip, parameters.encoding), most
    for number, box in enumerate(boxes):
        encoded = seen.encoded(clip, exemplars.encoding(_filled(box, image), parameters))
        exemplar = _exemplar(encoded, box)
        if exemplar is None or not left:
            continue
        left -= 1
        yield _outcome(encoded, clip, exemplar, np.delete(boxes, number, axis=0), parameters)


def _exemplar(encoded: EncodedImage, box: Boxes) -> Mask | None:
    """The region that is most like a box; None where none is like it."""
    overlaps = box_ious(encoded.proposed.boxes, box[None])[:, 0]
    best = int(overlaps.argmax())
    if overlaps[best] < SHOWN:
        return None
    exemplar: Mask = encoded.proposed.at_full_size(encoded.proposed.masks[best])
    return exemplar


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
