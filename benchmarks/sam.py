"""Segment Anything: seconds to encode, to answer one point, and for a grid before and after.

    python -m benchmarks.sam --device cuda:0
    python -m benchmarks.sam --points 4 --side 512

Speed does not depend on what a model knows, so weights are random. "before" is
`SamAutomaticMaskGenerator` at its own 64 points a batch, "after" `sam.proposals.propose`; both get
the same grid over the image alone, features that are encoded already, and thresholds of predicted
IoU and stability that a third of the masks passes each.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.utils import amg
from torch import Tensor, nn

from dgl_rsis.sam import proposals
from dgl_rsis.sam.model import SamEmbedding, SamModel, decode, encode, ready, refine
from dgl_rsis.sam.proposals import SamParameters
from dgl_rsis.types import RGB, Prompt
from starter.scenes import evaluation


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--architecture", default="vit_b", choices=("vit_b", "vit_l", "vit_h"))
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--side", type=int, default=1024, help="of the image, pixels")
    parser.add_argument("--points", type=int, default=24, help="of the grid, along a side")
    parser.add_argument("--batch", type=int, nargs="*", help="points decoded at a time")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = ready(sam_model_registry[options.architecture](), "random", "0" * 64, options.device)
    scene = next(iter(evaluation.samples(1))).image
    rows = np.arange(options.side) * len(scene) // options.side
    image: RGB = np.ascontiguousarray(scene[rows][:, rows % scene.shape[1]])
    run(model, image, options.points, options.batch or [None], options.repeats)


def run(model: SamModel, image: RGB, points: int, batches: list[int | None], repeats: int) -> None:
    """Time all and say it."""
    name = torch.cuda.get_device_name() if model.device.startswith("cuda") else "CPU"
    _say(f"{name}, {torch.get_num_threads()} threads, image {image.shape[1]} × {image.shape[0]}")
    encoding, embedding = _timed(lambda: encode(model, image), repeats)
    _say(f"encode {encoding:.3f} s")
    centre = np.array([[image.shape[1] / 2, image.shape[0] / 2]], dtype=np.float32)
    pointing, _ = _timed(lambda: refine(model, embedding, Prompt(positive=centre)), max(3, repeats))
    _say(f"one point {pointing:.3f} s")
    pred_iou, stability = thresholds(model, embedding)
    model.model.image_encoder = _Remembered(model.side, embedding.features)
    generator = SamAutomaticMaskGenerator(
        model.model,
        points_per_side=points,
        pred_iou_thresh=pred_iou,
        stability_score_thresh=stability,
        box_nms_thresh=0.5,
    )
    before, theirs = _timed(lambda: generator.generate(image), repeats)
    _say(f"grid {points} × {points} before: {before:.2f} s, {len(theirs)} masks")
    for batch in batches:
        parameters = SamParameters(
            points_per_side=points,
            pred_iou=pred_iou,
            stability=stability,
            crop_layers=0,
            batch=batch,
        )
        after, ours = _timed(lambda p=parameters: proposals.propose(image, model, p), repeats)
        _say(f"after, {batch or 'default'} a batch: {after:.2f} s, {len(ours)} masks")
        _say(f"{before / after:.2f} times as fast")


class _Remembered(nn.Module):
    """An encoder that has seen the image."""

    def __init__(self, side: int, features: Tensor) -> None:
        super().__init__()
        self.img_size, self.features = side, features

    def forward(self, image: Tensor) -> Tensor:
        """The features, whatever is shown."""
        return self.features


def thresholds(model: SamModel, embedding: SamEmbedding) -> tuple[float, float]:
    """Predicted IoU and stability that a third of the masks passes each.

    The last layer of what makes masks is scaled first, since untrained logits all lie close to 0,
    where no mask is stable.
    """
    grid = amg.build_point_grid(3) * (embedding.width, embedding.height)
    with torch.inference_mode():
        low, iou = decode(model, embedding, grid, -np.inf)
        spread = float(low.std())
    for network in model.model.mask_decoder.output_hypernetworks_mlps:
        network.layers[-1].weight.data *= 8 / spread
        network.layers[-1].bias.data *= 8 / spread
    stability = amg.calculate_stability_score(low * (8 / spread), model.threshold, 1.0)
    return float(iou.quantile(2 / 3)), float(stability.nan_to_num().quantile(2 / 3))


def _timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds, and what the last call returned."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
