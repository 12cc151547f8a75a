"""Train the starter weights: `make starter`.

A small open_clip ViT learns to tell, for regions of real and generated aerial images, which
sentence describes them. Three views of the same model are trained, since inference uses all three:
a patch alone, a region pooled from the dense pass, and a crop with context. Each is contrasted with
one sentence of every class of a vocabulary.

Resumable: the state is saved as it goes, and a second start with the same folder continues.
"""

import argparse
import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.classes import knowledge
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES
from dgl_rsis.evaluation.scores import IGNORE
from starter.scenes.types import CLASSES
from starter.training import targets, vocabularies, windows
from starter.training.trainer import LOG_FORMAT, Plan, Trainer, launch, rank
from starter.training.vocabularies import SOURCES, TargetClasses
from starter.training.windows import Bank

log = logging.getLogger("starter")

STARTER = Path(__file__).parents[1]
WEIGHTS = STARTER / "weights"
ARCHITECTURE = STARTER / "architecture"
CONFIG = "open_clip_config.json"
FIRST_REAL = 1 + SOURCES.index(f"dubai {DUBAI_CLASSES[0]}")  # label number, then in order
FIRST_TEMPERATURE = 14.0  # CLIP's own; at 50 from the start nothing is learnt (docs/LOG.md)
MOST_TEMPERATURE = 50.0


@dataclass(frozen=True)
class TowerPlan(Plan):
    """What to train the model on; see `Plan`.

    Attributes:
        batch: windows a step in each process, half of them real.
        side: of a window, pixels.
        cells: regions a window.
        crops: of each window.
        patches: of each window that are contrasted alone.
        balanced: share of windows centred on a class drawn uniformly.
    """

    batch: int = 32
    side: int = 128
    cells: int = 12
    crops: int = 1
    patches: int = 64
    balanced: float = 0.5


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder with tile1_001.jpg …")
    parser.add_argument("--scenes", type=int, default=1000, help="generated scenes, 512 px")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--tiles", type=tile_numbers, default="1,2,3,4", help="Dubai tiles to train on"
    )
    parser.add_argument(
        "--validate", type=tile_numbers, default="5", help="Dubai tiles that are only looked at"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=0, help="0: one a core, or one GPU")
    parser.add_argument("--state", type=Path, default=Path("var/starter"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format=LOG_FORMAT)
    plan = TowerPlan(minutes=options.minutes, batch=options.batch, seed=options.seed)
    torch.manual_seed(plan.seed)
    real = dubai_bank(options.dubai, options.tiles)
    held_out = dubai_bank(options.dubai, options.validate)
    generated = scene_bank(range(options.scenes), _scene)
    processes = options.processes or (1 if options.device != "cpu" else os.cpu_count() or 1)
    arguments = (plan, [real, generated], held_out, options.device, options.state, options.out)
    launch(train, processes, options.state, *arguments)


def tile_numbers(text: str) -> list[int]:
    """Of an option, as in "1,2,3"."""
    return [int(part) for part in text.split(",")]


def dubai_bank(folder: Path, tiles: Sequence[int]) -> Bank:
    """The real images of these tiles with their labels."""
    images, labels = [], []
    for sample in samples.dubai(folder, tiles):
        images.append(torch.tensor(sample.image))
        known = sample.truth != IGNORE
        numbers = np.where(known, sample.truth + np.uint16(FIRST_REAL), 0)
        labels.append(torch.from_numpy(numbers.astype(np.uint8)))
    log.info("%d real images", len(images))
    return windows.bank(images, labels)


def scene_bank(
    seeds: Sequence[int], draw: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> Bank:
    """Generated scenes with their labels, made on all cores.

    Args:
        seeds: of the scenes.
        draw: a seed → image and labels; a function that another process can import.
    """
    start = time.perf_counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        scenes = list(pool.map(draw, seeds, chunksize=8))
    log.info("%d scenes in %.0f s", len(scenes), time.perf_counter() - start)
    images, labels = zip(*scenes, strict=True)
    return windows.bank(
        [torch.from_numpy(x) for x in images], [torch.from_numpy(x) for x in labels]
    )


def _scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Even seeds may show every class, odd ones those of the evaluation only."""
    from starter.scenes.generate import generate
    from starter.scenes.types import EVALUATION_CLASSES

    scene = generate(seed, 512, EVALUATION_CLASSES if seed % 2 else None)
    return scene.image, source_numbers(scene.class_map)


def source_numbers(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes of a generated scene → label numbers, see `windows.Bank`."""
    offset = SOURCES.index(f"scene {CLASSES[0]}")
    return np.where(class_map > 0, class_map + offset, 0).astype(np.uint8)


def uses_bfloat16(device: str) -> bool:
    """Whether bfloat16 pays. On a CPU with AVX512-BF16: 1.5 times as fast; without it, slower."""
    return device.startswith("cuda") or torch.backends.cpu.get_cpu_capability() == "AVX512"


def new_model(device: str) -> ClipModel:
    """An untrained model of the starter's architecture."""
    config = json.loads((ARCHITECTURE / CONFIG).read_text("utf-8"))
    architecture = f"local-dir:{ARCHITECTURE}"
    model = open_clip.create_model(architecture, load_weights=False, device=device)
    torch.nn.init.constant_(model.logit_scale, math.log(FIRST_TEMPERATURE))
    return ClipModel(
        name="starter",
        model=model,
        tokenizer=open_clip.get_tokenizer(architecture),
        mean=tuple(config["preprocess_cfg"]["mean"]),
        std=tuple(config["preprocess_cfg"]["std"]),
        crop_side=config["model_cfg"]["vision_cfg"]["image_size"],
        dense_side=config["dgl_rsis"]["dense_side"],
        temperature=FIRST_TEMPERATURE,
        fingerprint="",
        device=device,
    )


@torch.no_grad()
def init_from_components(clip: ClipModel, banks: Sequence[Bank], count: int = 64) -> None:
    """Initialise the patch embedding as the principal components of patches, whitened.

    Random projections of pixels hardly tell textures apart, and learning better ones takes a
    third of a short training.
    """
    cut = [windows.sample(bank, count, clip.crop_side, 0.5)[0] for bank in banks]
    images = features.standardised(clip, windows.jitter(torch.cat(cut)))
    weight = clip.visual.conv1.weight  # (E, 3, patch, patch)
    patches = F.unfold(images, clip.patch, stride=clip.patch).transpose(1, 2).flatten(0, 1)
    _, spread, components = torch.linalg.svd(patches - patches.mean(dim=0), full_matrices=False)
    spread = spread[: len(weight), None] / math.sqrt(len(patches))
    weight.copy_((components[: len(weight)] / (spread + 0.05)).reshape(weight.shape))


def train(
    plan: TowerPlan, banks: Sequence[Bank], held_out: Bank, device: str, state: Path, out: Path
) -> None:
    """Train until the plan's minutes are spent; save as it goes."""
    torch.manual_seed(plan.seed)
    banks = [bank.to(device) for bank in banks]
    clip = new_model(device)
    init_from_components(clip, banks)
    trainer = Trainer(plan, clip.model, _optimizers(clip, plan), state)
    trainer.resume(device)
    torch.manual_seed(plan.seed + 1000 * rank() + trainer.step)
    objective = Objective(plan, clip, [vocabularies.coarse(), vocabularies.fine()], device)
    averaged = replace(clip, model=trainer.averaged.module)
    trainer.fit(lambda: objective.losses(banks), lambda: validate(averaged, held_out.to(device)))
    if rank() == 0:
        export(trainer.averaged.module.state_dict(), out)
        log.info("%d steps; weights in %s", trainer.step, out)


def _optimizers(clip: ClipModel, plan: TowerPlan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else.

    After 200 steps Muon's losses stood where AdamW's stood after 300 (docs/LOG.md).
    """
    trained = {n: p for n, p in clip.model.named_parameters() if p.requires_grad}
    blocks = [p for n, p in trained.items() if "resblocks" in n and p.ndim == 2]
    rest = [p for n, p in trained.items() if "resblocks" not in n or p.ndim != 2]
    return [
        torch.optim.Muon(blocks, lr=plan.matrix_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim >= 2], "weight_decay": plan.weight_decay},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        ),
    ]


class Objective:
    """What training makes smaller: losses of random batches."""

    def __init__(
        self, plan: TowerPlan, clip: ClipModel, known: Sequence[TargetClasses], device: str
    ) -> None:
        self.plan, self.clip, self.device = plan, clip, device
        self.known = known
        self.targets = [v.targets.to(device) for v in known]
        self.generator = torch.Generator().manual_seed(torch.initial_seed())
        self.kind = torch.bfloat16 if uses_bfloat16(device) else torch.float32

    def losses(self, banks: Sequence[Bank]) -> list[Tensor]:
        """Losses of patches, of regions and of crops on one batch, equally from every bank."""
        plan, clip = self.plan, self.clip
        per_bank = plan.batch // len(banks)
        cut = [windows.sample(bank, per_bank, plan.side, plan.balanced) for bank in banks]
        images = windows.jitter(torch.cat([c[0] for c in cut]))
        labels = torch.cat([c[1] for c in cut])
        regions = targets.regions(labels, len(SOURCES), plan.cells, clip.patch)
        crops, crop_labels = targets.context_crops(images, regions, plan.crops, clip.crop_side)
        kind = self.kind
        with torch.autocast(self.device.split(":")[0], kind, enabled=kind != torch.float32):
            texts = self._texts()
            values = features.patch_values(clip, features.standardised(clip, images)).flatten(1, 2)
            by_region = features.pool(clip, values, regions.weights)  # (B, J, D)
            some = torch.randperm(values.shape[1], device=self.device)[: plan.patches]
            alone = values[:, some].reshape(-1, 1, values.shape[-1])
            by_patch = features.pool(clip, alone, alone.new_ones(len(alone), 1, 1))[:, 0]
            by_crop = F.normalize(
                clip.model.encode_image(features.standardised(clip, crops)), dim=-1
            )
        patches = targets.patch_labels(labels, len(SOURCES), clip.patch)[:, some].reshape(-1)
        return [
            0.5 * self._contrast(by_patch, patches, texts),
            self._contrast(by_region.flatten(0, 1), regions.labels.reshape(-1), texts),
            self._contrast(by_crop, crop_labels, texts),
        ]

    def _texts(self) -> list[Tensor]:
        """One sentence for every class of each vocabulary: (C, D) each."""
        asked = [vocabularies.sentences(v, self.generator) for v in self.known]
        tokens = self.clip.tokenizer([s for group in asked for s in group]).to(self.device)
        encoded = F.normalize(self.clip.model.encode_text(tokens), dim=-1)
        return list(encoded.split([len(group) for group in asked]))

    def _contrast(self, vectors: Tensor, labels: Tensor, texts: Sequence[Tensor]) -> Tensor:
        """Mean cross-entropy over the vocabularies that know the labels."""
        total = torch.zeros((), device=self.device)
        temperature = self.clip.model.logit_scale.exp().clamp(max=MOST_TEMPERATURE)
        for text, known in zip(texts, self.targets, strict=True):
            target = known[labels]
            weight = class_weights(target, len(text))
            logits = temperature * vectors.float() @ text.float().T
            loss = F.cross_entropy(
                logits, target, weight, ignore_index=-1, label_smoothing=0.05, reduction="sum"
            )
            total = total + loss / weight[target.clamp_min(0)].mul(target >= 0).sum().clamp_min(1)
        return total / len(texts)


@torch.no_grad()
def validate(clip: ClipModel, held_out: Bank, count: int = 32) -> str:
    """IoU of single patches of unseen windows over Dubai's classes: to watch, not to report."""
    known = vocabularies.coarse()
    devices = [held_out.images.device] if held_out.images.is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(1)
        images, labels = windows.sample(held_out, count, clip.dense_side, 0.5)
    texts = features.text_features(clip, [knowledge.prompts(name) for name in known.names])
    truth = known.targets.to(labels.device)[
        targets.patch_labels(labels, len(SOURCES), clip.patch)
    ].reshape(-1)
    predicted = torch.cat(
        [
            (features.patch_features(clip, _dense(clip, part)) @ texts.T).argmax(-1).reshape(-1)
            for part in images.split(1)
        ]
    )[: len(truth)]
    return intersections(predicted, truth, known.names)


def intersections(predicted: Tensor, truth: Tensor, names: Sequence[str]) -> str:
    """IoU of classes in words, the mean first.

    Args:
        predicted: (...) int64 class indices.
        truth: the same; negative ones do not count.
        names: of the classes.
    """
    predicted, truth = predicted[truth >= 0], truth[truth >= 0]
    ious = []
    for index in range(len(names)):
        hits = ((predicted == index) & (truth == index)).sum()
        union = ((predicted == index) | (truth == index)).sum()
        ious.append(float(hits / union.clamp_min(1)))
    by_class = " ".join(f"{n} {x:.2f}" for n, x in zip(names, ious, strict=True))
    return f"IoU {np.mean(ious):.3f} ({by_class})"


def _dense(clip: ClipModel, image: Tensor) -> features.DenseFeatures:
    values = features.patch_values(clip, features.standardised(clip, image))[0]
    return features.DenseFeatures(values, clip.dense_side, clip.dense_side, clip.patch)


def export(state: dict[str, Tensor], out: Path) -> None:
    """Write the weights as open_clip reads them, in half precision, and their config."""
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((ARCHITECTURE / CONFIG).read_text("utf-8"))
    temperature = min(MOST_TEMPERATURE, math.exp(float(state["logit_scale"])))
    config["dgl_rsis"]["temperature"] = round(temperature, 2)
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    half = {name: value.half().contiguous().cpu() for name, value in state.items()}
    save_file(half, out / "open_clip_model.safetensors")


def class_weights(target: Tensor, classes: int) -> Tensor:
    """(C,) float32: the rarer a class is in the batch, the more it counts, up to five times.

    Without it vegetation is never won from the roads and buildings around it (docs/LOG.md).
    """
    counts = torch.bincount(target[target >= 0], minlength=classes).clamp_min(1)
    return (counts.sum() / (classes * counts)).clamp(0.25, 5.0)


if __name__ == "__main__":
    main()
