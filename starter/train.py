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
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import features, knowledge
from dgl_rsis.models import ClipModel
from starter import targets, vocabularies, windows
from starter.scene_types import CLASSES
from starter.vocabularies import DUBAI, SOURCES, Vocabulary
from starter.windows import Bank

log = logging.getLogger("starter")

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = "open_clip_config.json"
DUBAI_COLOURS = {
    "building": (0x3C, 0x10, 0x98),
    "land": (0x84, 0x29, 0xF6),
    "road": (0x6E, 0xC1, 0xE4),
    "vegetation": (0xFE, 0xDD, 0x3A),
    "water": (0xE2, 0xA9, 0x29),
}
FIRST_TEMPERATURE = 14.0  # CLIP's own; at 50 from the start nothing is learnt (docs/LOG.md)
MOST_TEMPERATURE = 50.0


@dataclass(frozen=True)
class Plan:
    """What to train on and for how long.

    Attributes:
        minutes: of training, counted over all starts; the learning rate follows them.
        batch: windows a step, half of them real.
        side: of a window, pixels.
        cells: regions a window.
        crops: of each window.
        patches: of each window that are contrasted alone.
        balanced: share of windows centred on a class drawn uniformly.
        learning_rate: peak.
        weight_decay: of the matrices.
        averaging: decay of the averaged weights, which are the ones saved.
        save_seconds: between two saved states.
        seed: of everything random.
    """

    minutes: float
    batch: int = 32
    side: int = 128
    cells: int = 12
    crops: int = 2
    patches: int = 64
    balanced: float = 0.5
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    averaging: float = 0.998
    save_seconds: float = 240.0
    seed: int = 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True, help="folder with tile1_001.jpg …")
    parser.add_argument("--scenes", type=int, default=300, help="generated scenes, 512 px")
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tiles", default="1,2,3,4", help="Dubai tiles to train on")
    parser.add_argument("--validate", default="5", help="Dubai tiles that are only looked at")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", type=Path, default=Path("var/starter"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    plan = Plan(minutes=options.minutes, batch=options.batch, seed=options.seed)
    torch.manual_seed(plan.seed)
    real = dubai_bank(options.dubai, _numbers(options.tiles), options.device)
    held_out = dubai_bank(options.dubai, _numbers(options.validate), options.device)
    generated = scene_bank(range(options.scenes), options.device)
    train(plan, [real, generated], held_out, options.device, options.state, options.out)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def dubai_bank(folder: Path, tiles: Sequence[int], device: str) -> Bank:
    """The real images of these tiles with their labels."""
    images, labels = [], []
    for tile in tiles:
        for path in sorted(folder.glob(f"tile{tile}_*.jpg")):
            images.append(torch.from_numpy(np.array(Image.open(path).convert("RGB"))))
            colours = np.array(Image.open(path.with_suffix(".png")).convert("RGB"))
            numbers = np.zeros(colours.shape[:2], dtype=np.uint8)
            for name in DUBAI:
                same = (colours == DUBAI_COLOURS[name]).all(axis=2)
                numbers[same] = 1 + SOURCES.index(f"dubai {name}")
            labels.append(torch.from_numpy(numbers))
    if not images:
        raise SystemExit(f"no tile*.jpg of tiles {list(tiles)} in {folder}")
    log.info("%d real images", len(images))
    return windows.bank(images, labels, device)


def scene_bank(seeds: Sequence[int], device: str) -> Bank:
    """Generated scenes with their labels, made on all cores."""
    start = time.perf_counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        scenes = list(pool.map(_scene, seeds, chunksize=8))
    log.info("%d scenes in %.0f s", len(scenes), time.perf_counter() - start)
    images, labels = zip(*scenes, strict=True)
    return windows.bank(
        [torch.from_numpy(x) for x in images], [torch.from_numpy(x) for x in labels], device
    )


def _scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from starter.scenes import generate  # in the worker process only

    scene = generate(seed, 512)
    offset = SOURCES.index(f"scene {CLASSES[0]}")
    numbers = np.where(scene.class_map > 0, scene.class_map + offset, 0).astype(np.uint8)
    return scene.image, numbers


def new_model(device: str) -> ClipModel:
    """An untrained model of the starter's architecture."""
    config = json.loads((WEIGHTS / CONFIG).read_text("utf-8"))
    architecture = f"local-dir:{WEIGHTS}"
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


def train(
    plan: Plan, banks: Sequence[Bank], held_out: Bank, device: str, state: Path, out: Path
) -> None:
    """Train until the plan's minutes are spent; save as it goes."""
    clip = new_model(device)
    averaged = torch.optim.swa_utils.AveragedModel(
        clip.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.averaging)
    )
    optimizer = _optimizer(clip, plan)
    trainer = Trainer(plan, clip, [vocabularies.coarse(), vocabularies.fine()], device)
    step, spent = _resume(state, clip, averaged, optimizer)
    start = saved = time.perf_counter()
    losses: list[list[float]] = []
    while (elapsed := spent + time.perf_counter() - start) < plan.minutes * 60:
        _set_rate(optimizer, plan, step, elapsed / (plan.minutes * 60))
        parts = trainer.losses(banks)
        optimizer.zero_grad(set_to_none=True)
        sum(parts, torch.zeros((), device=device)).backward()
        torch.nn.utils.clip_grad_norm_(clip.model.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(clip.model)
        step += 1
        if step % 50 == 0:
            losses.append([float(part.detach()) for part in parts])
            mean = " ".join(f"{x:.3f}" for x in np.mean(losses[-10:], axis=0))
            log.info("step %d, %.0f s, losses %s", step, elapsed, mean)
        if time.perf_counter() - saved > plan.save_seconds:
            _save_state(state, clip, averaged, optimizer, step, elapsed)
            seen = replace(clip, model=averaged.module)
            log.info("held-out patches, IoU: %s", validate(seen, held_out))
            saved = time.perf_counter()
    _save_state(state, clip, averaged, optimizer, step, elapsed)
    export(averaged.module.state_dict(), out)
    log.info("%d steps; weights in %s", step, out)


class Trainer:
    """Losses of random batches."""

    def __init__(
        self, plan: Plan, clip: ClipModel, known: Sequence[Vocabulary], device: str
    ) -> None:
        self.plan, self.clip, self.device = plan, clip, device
        self.known = known
        self.targets = [v.targets.to(device) for v in known]
        self.generator = torch.Generator().manual_seed(plan.seed)
        # Measured on a CPU with AVX512-BF16: 1.5 times as fast as float32; without it, slower.
        fast = device.startswith("cuda") or torch.backends.cpu.get_cpu_capability() == "AVX512"
        self.kind = torch.bfloat16 if fast else torch.float32

    def losses(self, banks: Sequence[Bank]) -> list[Tensor]:
        """Losses of patches, of regions and of crops on one batch, equally from every bank."""
        plan, clip = self.plan, self.clip
        per_bank = plan.batch // len(banks)
        cut = [windows.sample(bank, per_bank, plan.side, plan.balanced) for bank in banks]
        images = windows.jitter(torch.cat([c[0] for c in cut]))
        labels = torch.cat([c[1] for c in cut])
        found = targets.regions(labels, len(SOURCES), plan.cells, clip.patch)
        crops, crop_labels = targets.context_crops(images, found, plan.crops, clip.crop_side)
        kind = self.kind
        with torch.autocast(self.device.split(":")[0], kind, enabled=kind != torch.float32):
            texts = self._texts()
            values = features.patch_values(clip, features.standardised(clip, images)).flatten(1, 2)
            by_region = features.pool(clip, values, found.weights)  # (B, J, D)
            some = torch.randperm(values.shape[1], device=self.device)[: plan.patches]
            alone = values[:, some].reshape(-1, 1, values.shape[-1])
            by_patch = features.pool(clip, alone, alone.new_ones(len(alone), 1, 1))[:, 0]
            by_crop = F.normalize(
                clip.model.encode_image(features.standardised(clip, crops)), dim=-1
            )
        patches = targets.patch_labels(labels, len(SOURCES), clip.patch)[:, some].reshape(-1)
        return [
            0.5 * self._contrast(by_patch, patches, texts),
            self._contrast(by_region.flatten(0, 1), found.labels.reshape(-1), texts),
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
            weight = _class_weights(target, len(text))
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
    found = torch.cat(
        [
            (features.patch_features(clip, _dense(clip, part)) @ texts.T).argmax(-1).reshape(-1)
            for part in images.split(1)
        ]
    )[: len(truth)]
    found, truth = found[truth >= 0], truth[truth >= 0]
    ious = []
    for index in range(len(known.names)):
        hits = ((found == index) & (truth == index)).sum()
        union = ((found == index) | (truth == index)).sum()
        ious.append(float(hits / union.clamp_min(1)))
    by_class = " ".join(f"{n} {x:.2f}" for n, x in zip(known.names, ious, strict=True))
    return f"{np.mean(ious):.3f} ({by_class})"


def _dense(clip: ClipModel, image: Tensor) -> features.DenseFeatures:
    values = features.patch_values(clip, features.standardised(clip, image))[0]
    return features.DenseFeatures(values, clip.dense_side, clip.dense_side, clip.patch)


def export(state: dict[str, Tensor], out: Path) -> None:
    """Write the weights as open_clip reads them, in half precision, and their config."""
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((WEIGHTS / CONFIG).read_text("utf-8"))
    temperature = min(MOST_TEMPERATURE, math.exp(float(state["logit_scale"])))
    config["dgl_rsis"]["temperature"] = round(temperature, 2)
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    half = {name: value.half().contiguous().cpu() for name, value in state.items()}
    save_file(half, out / "open_clip_model.safetensors")


def _class_weights(target: Tensor, classes: int) -> Tensor:
    """(C,) float32: rare classes of a batch count more, by the square root and at most four times.

    Fully balanced, land would lose: half of all pixels are land.
    """
    counts = torch.bincount(target[target >= 0], minlength=classes).clamp_min(1)
    return (counts.sum() / (classes * counts)).sqrt().clamp(0.5, 4.0)


def _optimizer(clip: ClipModel, plan: Plan) -> torch.optim.AdamW:
    trained = [p for p in clip.model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": plan.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _set_rate(optimizer: torch.optim.Optimizer, plan: Plan, step: int, progress: float) -> None:
    """Linear warm-up over 100 steps, then a cosine to a hundredth over the minutes."""
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * min(1.0, (step + 1) / 100) * cosine


def _save_state(
    folder: Path,
    clip: ClipModel,
    averaged: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    elapsed: float,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "state.tmp"
    torch.save(
        {
            "model": clip.model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "elapsed": elapsed,
        },
        temporary,
    )
    temporary.rename(folder / "state.pt")


def _resume(
    folder: Path, clip: ClipModel, averaged: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """The step and the seconds already spent."""
    if not (folder / "state.pt").is_file():
        return 0, 0.0
    saved = torch.load(folder / "state.pt", map_location=clip.device, weights_only=True)
    clip.model.load_state_dict(saved["model"])
    averaged.load_state_dict(saved["averaged"])
    optimizer.load_state_dict(saved["optimizer"])
    log.info("resumed at step %d after %.0f s", saved["step"], saved["elapsed"])
    return saved["step"], saved["elapsed"]


if __name__ == "__main__":
    main()
