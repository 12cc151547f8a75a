"""The descent of a training: its plan, its optimizers, its state on disk, several processes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from dgl_rsis.models import ClipModel

log = logging.getLogger("starter")


@dataclass(frozen=True)
class Plan:
    """What to train on and for how long.

    Attributes:
        minutes: of training, counted over all starts; the learning rate follows them.
        batch: windows a step in each process, half of them real.
        side: of a window, pixels.
        cells: regions a window.
        crops: of each window.
        patches: of each window that are contrasted alone.
        balanced: share of windows centred on a class drawn uniformly.
        learning_rate: peak, of AdamW.
        matrix_rate: peak, of Muon, which trains the matrices of the blocks.
        weight_decay: of the embeddings and projections.
        averaging: decay of the averaged weights, which are the ones saved.
        save_seconds: between two saved states.
        seed: of everything random.
    """

    minutes: float
    batch: int = 32
    side: int = 128
    cells: int = 12
    crops: int = 1
    patches: int = 64
    balanced: float = 0.5
    learning_rate: float = 1e-3
    matrix_rate: float = 0.005
    weight_decay: float = 0.1
    averaging: float = 0.998
    save_seconds: float = 180.0
    seed: int = 0


class Run:
    """Weights, optimizers and clock of one training, which goes on where it was stopped."""

    def __init__(self, plan: Plan, clip: ClipModel, folder: Path) -> None:
        self.plan, self.clip, self.folder = plan, clip, folder
        self.averaged = torch.optim.swa_utils.AveragedModel(
            clip.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.averaging)
        )
        self.optimizers = _optimizers(clip, plan)
        self.step, self.seconds = 0, 0.0

    def descend(self, loss: Tensor, elapsed: float) -> None:
        """One step down, `elapsed` seconds after the start of the training."""
        _set_rates(self.optimizers, self.plan, self.step, elapsed / (self.plan.minutes * 60))
        self.clip.model.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(self.clip)
        torch.nn.utils.clip_grad_norm_(self.clip.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.averaged.update_parameters(self.clip.model)
        self.step, self.seconds = self.step + 1, elapsed

    def save(self) -> None:
        """Write everything that `resume` reads; a stop while it writes harms nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "state.tmp"
        torch.save(
            {
                "model": self.clip.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "elapsed": self.seconds,
            },
            temporary,
        )
        temporary.rename(self.folder / "state.pt")

    def resume(self) -> None:
        """Take up what the folder holds, if anything."""
        if not (self.folder / "state.pt").is_file():
            return
        saved = torch.load(
            self.folder / "state.pt", map_location=self.clip.device, weights_only=True
        )
        self.clip.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        for optimizer, content in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        self.step, self.seconds = saved["step"], saved["elapsed"]
        log.info("resumed at step %d after %.0f s", self.step, self.seconds)


def rank() -> int:
    """Number of this process, 0 for the first or only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def agreed(seconds: float) -> float:
    """The first process's clock, so that all of them stop at the same step."""
    if not distributed.is_initialized():
        return seconds
    clock = torch.tensor([seconds], dtype=torch.float64)
    distributed.broadcast(clock, 0)
    return float(clock)


def _average_gradients(clip: ClipModel) -> None:
    if not distributed.is_initialized():
        return
    found = [p.grad for p in clip.model.parameters() if p.grad is not None]
    flat = torch.cat([grad.reshape(-1) for grad in found])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for grad, mean in zip(found, flat.split([g.numel() for g in found]), strict=True):
        grad.copy_(mean.reshape(grad.shape))


def _optimizers(clip: ClipModel, plan: Plan) -> list[torch.optim.Optimizer]:
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


def _set_rates(
    optimizers: Sequence[torch.optim.Optimizer], plan: Plan, step: int, progress: float
) -> None:
    """Linear warm-up over 50 steps; from six tenths of the minutes on the rates fall to nothing.

    Twice with a higher rate of the matrices, and a cosine, the losses stood still until it had
    fallen (docs/LOG.md).
    """
    factor = min(1.0, (step + 1) / 50, max(0.01, (1 - progress) / 0.4))
    for optimizer, peak in zip(optimizers, (plan.matrix_rate, plan.learning_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
