"""The training loop: its plan, its optimizers, its state on disk, several processes."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing, nn

log = logging.getLogger("starter")
LOG_FORMAT = "%(asctime)s %(message)s"


@dataclass(frozen=True)
class Plan:
    """For how long to train, and how.

    Attributes:
        minutes: of training, counted over all starts; the learning rate follows them.
        learning_rate: peak, of AdamW.
        matrix_rate: peak, of Muon, which trains matrices or filters.
        weight_decay: of embeddings and projections, by AdamW.
        steady: share of the minutes after which the rates fall to nothing.
        averaging: decay of the averaged weights, which are the ones saved.
        save_seconds: between two saved states.
        seed: of everything random.
    """

    minutes: float
    learning_rate: float = 1e-3
    matrix_rate: float = 0.005
    weight_decay: float = 0.1
    steady: float = 0.6
    averaging: float = 0.998
    save_seconds: float = 180.0
    seed: int = 0


class Trainer:
    """Weights, optimizers and clock of one training, which goes on where it was stopped.

    Args:
        plan: see there.
        model: what is trained.
        optimizers: of it; each group's rate is its peak.
        folder: of the state.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        folder: Path,
    ) -> None:
        self.plan, self.model, self.folder = plan, model, folder
        self.averaged = torch.optim.swa_utils.AveragedModel(
            model,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.averaging),
            use_buffers=True,
        )
        self.optimizers = optimizers
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        self.step, self.seconds = 0, 0.0

    def fit(self, losses: Callable[[], Sequence[Tensor]], watch: Callable[[], str]) -> None:
        """Train until the plan's minutes are spent; save as it goes, and at the end.

        Args:
            losses: of the next batch; their sum is made smaller.
            watch: what to log when it was saved.
        """
        saved = time.perf_counter()
        start = saved - self.seconds
        seen: deque[list[float]] = deque(maxlen=100)
        while (elapsed := agreed(time.perf_counter() - start)) < self.plan.minutes * 60:
            parts = losses()
            self.update(torch.stack(tuple(parts)).sum(), elapsed)
            seen.append([float(part.detach()) for part in parts])
            if self.step % 50 == 0:
                mean = " ".join(f"{sum(x) / len(x):.3f}" for x in zip(*seen, strict=True))
                log.info("step %d, %.0f s, losses %s", self.step, elapsed, mean)
            if rank() == 0 and time.perf_counter() - saved > self.plan.save_seconds:
                self.save()
                log.info("held out: %s", watch())
                saved = time.perf_counter()
        if rank() == 0:
            self.save()

    def update(self, loss: Tensor, elapsed: float) -> None:
        """One step of the optimizers, `elapsed` seconds after the start of the training."""
        self._set_rates(elapsed / (self.plan.minutes * 60))
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.averaged.update_parameters(self.model)
        self.step, self.seconds = self.step + 1, elapsed

    def _set_rates(self, progress: float) -> None:
        """Linear warm-up over 50 steps; after the plan's steady part the rates fall to nothing.

        Twice with a higher rate of the matrices, and a cosine, the losses stood still until it had
        fallen (docs/LOG.md).
        """
        fall = (1 - progress) / (1 - self.plan.steady)
        factor = min(1.0, (self.step + 1) / 50, max(0.01, fall))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor

    def save(self) -> None:
        """Write everything that `resume` reads; a stop while it writes harms nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "state.tmp"
        torch.save(
            {
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "elapsed": self.seconds,
            },
            temporary,
        )
        temporary.rename(self.folder / "state.pt")

    def resume(self, device: str) -> None:
        """Take up what the folder holds, if anything."""
        if not (self.folder / "state.pt").is_file():
            return
        saved = torch.load(self.folder / "state.pt", map_location=device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        for optimizer, content in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        self.step, self.seconds = saved["step"], saved["elapsed"]
        log.info("resumed at step %d after %.0f s", self.step, self.seconds)


class FilterMuon(torch.optim.Optimizer):
    """Muon for the filters of convolutions, whose lengths it keeps.

    An update is the momentum, orthogonalised as a matrix of filters by their inputs; filters are
    scaled back to unit length before it, since batch norm follows them and takes any length.
    torch's own Muon takes matrices only. Update and constants: Jordan et al., "Muon", 2024.

    Args:
        filters: (O, I, k, k) each.
        lr: rate.
        momentum: decay of past gradients.
    """

    def __init__(self, filters: Sequence[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(filters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the filters."""
        for group in self.param_groups:
            for filters in group["params"]:
                state: dict[str, Any] = self.state[filters]
                past = state.setdefault("past", torch.zeros_like(filters))
                past.mul_(group["momentum"]).add_(filters.grad)
                ahead = filters.grad + group["momentum"] * past
                filters.mul_(len(filters) ** 0.5 / filters.norm())
                filters.sub_(group["lr"] * orthogonalised(ahead.flatten(1)).view_as(filters))


def orthogonalised(matrix: Tensor) -> Tensor:
    """(O, I) → about U Vᵀ of its singular value decomposition, by Newton and Schulz."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(5):
        squared = x @ x.T
        x = 3.4445 * x + (2.0315 * squared @ squared - 4.7750 * squared) @ x
    return x.T if tall else x


def launch(work: Callable[..., None], processes: int, folder: Path, *arguments: Any) -> None:
    """Call `work(*arguments)` in processes that average their gradients, a share of the cores each.

    Args:
        work: a function that another process can import.
        processes: 1 calls it in this one.
        folder: where they meet; made if need be.
        *arguments: of the work; tensors in them are shared, not copied.
    """
    if processes == 1:
        work(*arguments)
        return
    folder.mkdir(parents=True, exist_ok=True)
    meeting = (folder / "meeting").resolve()
    meeting.unlink(missing_ok=True)
    # Measured: two processes of one thread do 1.5 times the work of one process of two.
    multiprocessing.spawn(  # type: ignore[attr-defined,no-untyped-call]
        _member, (processes, meeting, work, arguments), processes
    )


def _member(
    rank: int, processes: int, meeting: Path, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """One of several processes; the first one saves and logs."""
    logging.basicConfig(level="INFO" if rank == 0 else "WARNING", format=LOG_FORMAT)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    work(*arguments)
    distributed.destroy_process_group()


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


def _average_gradients(model: nn.Module) -> None:
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([grad.reshape(-1) for grad in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for grad, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        grad.copy_(mean.reshape(grad.shape))
