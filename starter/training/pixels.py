"""Train the pixel tower of the starter weights: `python -m starter.training.pixels`.

Every pixel of random windows is contrasted with one sentence of every class of a vocabulary, as the
patches of the image tower are; image and text tower are those of the weights that are there, and
stay as they are. The borders of generated objects are learnt beside. Resumable, as `train`.

The generated scenes are others than those of the image tower: of scenes that it knows by heart, a
second tower would learn to believe it.
"""

import argparse
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.classes import knowledge
from dgl_rsis.clip import features, pixel_tower
from dgl_rsis.clip.model import PIXELS, ClipModel, load_clip
from dgl_rsis.clip.pixel_tower import PixelTower
from starter.scenes.evaluation import LAND
from starter.scenes.types import CLASSES
from starter.training import train, vocabularies, windows
from starter.training.train import WEIGHTS
from starter.training.trainer import LOG_FORMAT, FilterMuon, Plan, Trainer, launch, rank
from starter.training.vocabularies import TargetClasses
from starter.training.windows import Bank

log = logging.getLogger("starter")

BORDER = 128  # added to the label of a pixel at the border of its object
FIRST_SEED = 10_000
TILES = 8  # crops' worth of pixels that are encoded at a time
OBJECTS = frozenset(CLASSES) - LAND


@dataclass(frozen=True)
class PixelPlan(Plan):
    """What to train a pixel tower on; see `Plan`.

    Attributes:
        batch: windows a step in each process.
        side: of a window, pixels.
        real_share: share of windows of real images.
        unseen: share of the real windows whose patch features are hidden: the image tower knows
            the training images by heart, and of others less.
        balanced: share of windows centred on a class drawn uniformly.
        border_weight: of the borders' loss.
    """

    learning_rate: float = 3e-3
    matrix_rate: float = 0.05
    steady: float = 0.0
    save_seconds: float = 120.0
    batch: int = 16
    side: int = 128
    real_share: float = 0.1875
    unseen: float = 0.6
    balanced: float = 0.75
    border_weight: float = 1.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder with tile1_001.jpg …")
    parser.add_argument(
        "--tiles", type=train.tile_numbers, default="1,2,3,4", help="Dubai tiles to train on"
    )
    parser.add_argument(
        "--validate", type=train.tile_numbers, default="5", help="Dubai tiles only looked at"
    )
    parser.add_argument("--scenes", type=int, default=2400, help="generated scenes, 512 px")
    parser.add_argument("--minutes", type=float, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, default=Path("var/pixels"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="of the other towers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format=LOG_FORMAT)
    plan = PixelPlan(minutes=options.minutes, batch=options.batch, seed=options.seed)
    torch.manual_seed(plan.seed)
    real = train.dubai_bank(options.dubai, options.tiles)
    held_out = train.dubai_bank(options.dubai, options.validate)
    scenes = train.scene_bank(range(FIRST_SEED, FIRST_SEED + options.scenes), _scene)
    generated = with_patches(load_clip(str(options.weights)), scenes)
    arguments = (plan, real, generated, held_out, options.weights, options.state)
    launch(train_tower, options.processes, options.state, *arguments)


def _scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Every third scene shows the classes of the evaluation only, the others may show any."""
    from starter.scenes.generate import generate
    from starter.scenes.types import EVALUATION_CLASSES

    scene = generate(seed, 512, EVALUATION_CLASSES if seed % 3 == 1 else None)
    bordered = np.uint8(BORDER) * borders(scene.objects[0].owners)
    return scene.image, train.source_numbers(scene.class_map) + bordered


def borders(owners: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(H, W), whether a pixel touches another object's along an edge."""
    border = np.zeros(owners.shape, dtype=np.bool_)
    across, down = owners[:, 1:] != owners[:, :-1], owners[1:] != owners[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border


def train_tower(
    plan: PixelPlan, real: Bank, generated: Bank, held_out: Bank, weights: Path, state: Path
) -> None:
    """Train until the plan's minutes are spent; then write the tower beside the weights."""
    torch.manual_seed(plan.seed)
    clip = replace(load_clip(str(weights)), pixels=None)
    texts = [Texts(clip, known) for known in (vocabularies.coarse(), vocabularies.fine())]
    tower = new_tower(clip, texts)
    trainer = Trainer(plan, tower, _optimizers(tower, plan), state)
    averaged = cast(PixelTower, trainer.averaged.module)
    trainer.resume("cpu")
    torch.manual_seed(plan.seed + 1000 * rank() + trainer.step)
    objective = Objective(plan, clip, tower, texts)
    trainer.fit(
        lambda: objective.losses(real, generated), lambda: validate(clip, averaged, held_out)
    )
    if rank() == 0:
        pixel_tower.save(pixel_tower.folded(averaged), weights / PIXELS)
        log.info("%d steps; tower in %s", trainer.step, weights / PIXELS)


class Texts:
    """Features of all words of a vocabulary in all templates, made once.

    Attributes:
        by_class: (n, D) float32 for each class.
        targets: see `TargetClasses`.
    """

    def __init__(self, clip: ClipModel, known: TargetClasses) -> None:
        templates = (*knowledge.templates(), *vocabularies.EXTRA_TEMPLATES)
        self.by_class = [
            features.text_features(
                clip, [(template.format(c=word),) for word in words for template in templates]
            ).clone()
            for words in known.words
        ]
        self.targets = known.targets

    def draw(self) -> Tensor:
        """One sentence a class: (C, D) float32."""
        return torch.stack([x[int(torch.randint(len(x), (1,)))] for x in self.by_class])


def new_tower(clip: ClipModel, texts: Sequence[Texts]) -> PixelTower:
    """An untrained tower, which says what the patches say, in the span of the texts.

    Texts lie in a narrow cone: what tells them apart is how they differ from their mean.
    """
    tower = PixelTower(int(clip.model.visual.output_dim))
    every = torch.cat([x for each in texts for x in each.by_class])
    _, _, components = torch.linalg.svd(every - every.mean(dim=0), full_matrices=False)
    with torch.no_grad():
        tower.basis.copy_(components[: len(tower.basis)])
        tower.known.weight.copy_(tower.basis[:, :, None, None])
    return tower.to(memory_format=torch.channels_last)


def _optimizers(tower: PixelTower, plan: PixelPlan) -> list[torch.optim.Optimizer]:
    """Muon for the filters, AdamW for everything else."""
    filters = [p for p in tower.parameters() if p.ndim == 4 and p.shape[-1] > 1]
    known = {id(p) for p in filters}
    rest = [p for p in tower.parameters() if id(p) not in known]
    return [
        FilterMuon(filters, plan.matrix_rate),
        torch.optim.AdamW(rest, plan.learning_rate, weight_decay=0.0),
    ]


class Objective:
    """What training makes smaller: losses of random batches."""

    def __init__(
        self, plan: PixelPlan, clip: ClipModel, tower: PixelTower, texts: Sequence[Texts]
    ) -> None:
        self.plan, self.clip, self.tower, self.texts = plan, clip, tower, texts
        self.objects = [i for i, name in enumerate(vocabularies.fine().names) if name in OBJECTS]

    def losses(self, real: Bank, generated: Bank) -> list[Tensor]:
        """Losses of both vocabularies and of the borders on one batch."""
        plan = self.plan
        count = round(plan.batch * plan.real_share)
        photographs, mapped = windows.sample(real, count, plan.side, plan.balanced)
        scenes, drawn, seen = windows.cut(generated, plan.batch - count, plan.side, plan.balanced)
        # Scenes have the light and the camera of their places already.
        photographs = windows.jitter(photographs)
        images = torch.cat([photographs, tinted(scenes)])
        labels = torch.cat([mapped, drawn])
        memorised = patch_features(self.clip, photographs)
        shown = (torch.rand(count, 1, 1, 1) > plan.unseen).float()
        patches = torch.cat([memorised * shown, seen])
        pixels = features.standardised(self.clip, images)
        with torch.autocast("cpu", torch.bfloat16, enabled=train.uses_bfloat16("cpu")):
            coordinates, border = self.tower(pixels.to(memory_format=torch.channels_last), patches)
        at_border = (labels[count:] >= BORDER).float()
        weight = torch.tensor(2.0)
        along = F.binary_cross_entropy_with_logits(
            border[count:, 0].float(), at_border, pos_weight=weight
        )
        # One pixel of each feature's four, another one in every batch: a quarter of the work.
        down, across = torch.randint(2, (2,)).tolist()
        known = labels[:, down::2, across::2] % BORDER
        return [*self._contrasts(coordinates.float(), known, count), plan.border_weight * along]

    def _contrasts(self, coordinates: Tensor, labels: Tensor, real: int) -> list[Tensor]:
        """Mean cross-entropy of the pixels over each vocabulary, and of bare ground.

        Ground that a scene leaves unlabelled is none of the objects that stand on it.
        """
        basis = self.tower.basis
        # Lengths in the space: the basis need not be orthonormal while it is learnt.
        squares = torch.einsum("brhw,rs,bshw->bhw", coordinates, basis @ basis.T, coordinates)
        unit = coordinates / squares.clamp_min(1e-8).sqrt()[:, None]
        losses = []
        for text in self.texts:
            directions = basis @ text.draw().T  # (R, C)
            logits = self.clip.temperature * torch.einsum("brhw,rc->bchw", unit, directions)
            target = text.targets[labels]
            weight = train.class_weights(target, logits.shape[1])
            losses.append(
                F.cross_entropy(logits, target, weight, ignore_index=-1, label_smoothing=0.02)
            )
        bare = (labels[real:] == 0).float()
        of_objects = logits[real:].softmax(dim=1)[:, self.objects].sum(dim=1).clamp_max(0.999)
        losses.append(-((1 - of_objects).log() * bare).sum() / bare.sum().clamp_min(1))
        return losses


def tinted(images: Tensor) -> Tensor:
    """Slightly other light: (B, 3, S, S) float32 in [0, 1]."""
    gains = 1 + 0.1 * (torch.rand(len(images), 3, 1, 1) - 0.5)
    return (images * gains + 0.04 * (torch.rand(len(images), 1, 1, 1) - 0.5)).clamp(0, 1)


def with_patches(clip: ClipModel, bank: Bank) -> Bank:
    """A bank with the patch features of its images, which fill their canvas."""
    start = time.perf_counter()
    blind = replace(clip, pixels=None)
    kept = torch.empty(0)
    for i, image in enumerate(bank.images):
        with torch.autocast("cpu", torch.bfloat16, enabled=train.uses_bfloat16("cpu")):
            dense = features.dense_features(blind, image.numpy(), TILES)
            patches = features.patch_features(blind, dense).half()
        if not i:
            kept = patches.new_empty(len(bank.images), *patches.shape)
        kept[i] = patches
    log.info("their patch features in %.0f s", time.perf_counter() - start)
    return replace(bank, patches=kept)


@torch.no_grad()
def patch_features(clip: ClipModel, images: Tensor) -> Tensor:
    """Patch features of windows: (B, 3, S, S) float32 in [0, 1] → (B, D, h, w), L2 norm 1."""
    with torch.autocast("cpu", torch.bfloat16, enabled=train.uses_bfloat16("cpu")):
        values = features.patch_values(clip, features.standardised(clip, images))  # (B, h, w, E)
        alone = values.reshape(-1, 1, values.shape[-1])
        pooled = features.pool(clip, alone, alone.new_ones(len(alone), 1, 1))[:, 0]
    return pooled.reshape(*values.shape[:3], -1).permute(0, 3, 1, 2).float()


@torch.no_grad()
def validate(clip: ClipModel, tower: PixelTower, held_out: Bank, count: int = 64) -> str:
    """IoU of pixels of unseen windows over Dubai's classes: to watch, not to report."""
    known = vocabularies.coarse()
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        images, labels = windows.sample(held_out, count, 128, 0.5)
    texts = features.text_features(clip, [knowledge.prompts(name) for name in known.names])
    tower.eval()
    classes = []
    for part in images.split(8):
        pixels, _ = tower(features.standardised(clip, part), patch_features(clip, part))
        cosines = torch.einsum("brhw,rc->bchw", pixels, tower.basis @ texts.T)
        classes.append(F.interpolate(cosines, scale_factor=2, mode="bilinear").argmax(dim=1))
    return train.intersections(torch.cat(classes), known.targets[labels], known.names)


if __name__ == "__main__":
    main()
