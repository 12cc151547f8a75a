"""What training a pixel tower makes smaller: losses of windows whose labels are partial.

A pixel is contrasted with texts of all concepts, and with those of a vocabulary that is drawn anew
each time, so that words stay open; right is any of those that its judgement leaves.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_rsis.classes import knowledge
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_tower import PixelTower
from starter.training import train, vocabularies
from starter.training.concepts import COMMON, CONCEPTS, NAMES, NUMBERS, WIDER, Judgements
from starter.training.sampling import Batch


class Towers(nn.Module):
    """What is trained: a pixel tower, and the text tower of a CLIP model.

    Args:
        tower: for pixels.
        model: of open_clip; its image tower is left as it is.
    """

    def __init__(self, tower: PixelTower, model: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.model: Any = model


class Objective:
    """What training makes smaller: losses of random batches.

    Args:
        clip: the model; its tokenizer and temperature are used.
        towers: what is trained.
        before: the model as it was, for the words that it knows.
        known: the judgements of all sources.
        seed: of batches, words and templates.
        teacher: a trained tower of the model `before`, whose opinion counts where labels leave
            several concepts; None for no opinion.
    """

    def __init__(
        self,
        clip: ClipModel,
        towers: Towers,
        before: Any,
        known: Judgements,
        seed: int,
        teacher: PixelTower | None = None,
    ) -> None:
        self.clip, self.towers, self.before = clip, towers, before
        self.teacher = teacher
        self.rng, self.random = np.random.default_rng(seed), random.Random(seed)
        self.may_be = torch.zeros(len(known.sets), len(NAMES), dtype=torch.bool)
        for number, judgement in enumerate(known.sets):
            for name in judgement:
                self.may_be[number, NUMBERS[name]] = True
        self.counts = torch.ones(len(known.sets))  # of pixels, a running mean
        words = [*vocabularies.coarse().words, *vocabularies.fine().words]
        self.old_words = frozenset(word for each in words for word in each)
        self.templates = (*knowledge.templates(), *vocabularies.EXTRA_TEMPLATES)

    def losses(self, batch: Batch) -> list[Tensor]:
        """Of pixels twice, a teacher, bags, presence, scale, borders, and of texts that moved."""
        tower = self.towers.tower
        # Statistics of ImageNet are better than those of a few windows.
        tower.backbone.eval()
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=train.uses_bfloat16("cpu")):
            said = tower(images)
        vocabulary = self._vocabulary()
        words = [self.random.choice(CONCEPTS[name]) for name in NAMES]
        texts, were, moved = self._texts([*words, *(word for word, _ in vocabulary)])
        fine, coarse = texts.split([len(NAMES), len(vocabulary)])
        basis = tower.basis
        # One pixel of sixteen, others in every batch: the losses would take a third of the time.
        down, across, first, second = torch.randint(2, (4,)).tolist()
        coordinates = said.coordinates[:, :, first::2, second::2].permute(0, 2, 3, 1).float()
        # Lengths in the space: the basis need not be orthonormal while it is learnt.
        squares = ((coordinates @ (basis @ basis.T)) * coordinates).sum(dim=-1, keepdim=True)
        unit = coordinates / squares.clamp_min(1e-8).sqrt()  # (B, s, s, R)
        truth = batch.truth[:, 2 * first + down :: 4, 2 * second + across :: 4]  # (B, s, s)
        by_concept = self._log_shares(unit, fine)
        pixel = self._partial(by_concept, truth, self.may_be)
        members = torch.zeros(len(vocabulary), len(NAMES), dtype=torch.bool)
        for row, (_, group) in zip(members, vocabulary, strict=True):
            row[[NUMBERS[name] for name in group]] = True
        covered = (self.may_be & ~members.any(dim=0)).sum(dim=1) == 0
        allowed = ((self.may_be[:, None] & members[None]).any(dim=2)) & covered[:, None]
        grouped = self._partial(self._log_shares(unit, coarse), truth, allowed)
        opinion = by_concept.new_zeros(())
        if self.teacher is not None:
            thought = self._thought(self.teacher, batch.clean, were[: len(NAMES)])
            opinion = self._opinion(by_concept, thought[:, first::2, second::2], truth)
        bags = self._bags(by_concept, batch.shows)
        presence = self._presence(said.presence.float(), fine, batch)
        scale, border = self._scale(said.scale.float(), batch), said.outline.float()
        return [pixel, 0.5 * grouped, 0.5 * opinion, bags, presence, scale,
                self._borders(border, batch), moved]  # fmt: skip

    def _vocabulary(self) -> list[tuple[str, frozenset[str]]]:
        """Words and what each of them stands for, without overlap."""
        if self.random.random() < 0.4:
            groups = list(self.random.choice(COMMON))
        else:
            groups, taken = [], frozenset[str]()
            wider = list(WIDER)
            self.random.shuffle(wider)
            for group in wider:
                if not group & taken and self.random.random() < 0.5:
                    groups.append(group)
                    taken |= group
            groups += [
                frozenset({n}) for n in NAMES if n not in taken and self.random.random() < 0.9
            ]
        return [(self._word(group), group) for group in groups]

    def _word(self, group: frozenset[str]) -> str:
        if len(group) == 1:
            return self.random.choice(CONCEPTS[next(iter(group))])
        return self.random.choice(WIDER[group])

    def _texts(self, words: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Directions of words in random sentences, now and before, (P, D) each.

        And how far known ones have moved.
        """
        sentences = [self.random.choice(self.templates).format(c=word) for word in words]
        tokens = self.clip.tokenizer(sentences)
        texts = F.normalize(self.towers.model.encode_text(tokens), dim=-1)
        old = torch.tensor([word in self.old_words for word in words])
        with torch.no_grad():
            were = F.normalize(self.before.encode_text(tokens), dim=-1)
        moved = (1 - (texts * were).sum(dim=1))[old].mean()
        return texts, were, 10 * moved

    def _log_shares(self, unit: Tensor, texts: Tensor) -> Tensor:
        """(B, s, s, R) and (P, D) → (B, s, s, P), logarithms of the probabilities."""
        directions = self.towers.tower.basis @ texts.T  # (R, P)
        return (self.clip.temperature * unit @ directions).log_softmax(dim=-1)

    def _partial(self, log_shares: Tensor, truth: Tensor, allowed: Tensor) -> Tensor:
        """Mean over the pixels of −ln of the probability of what they may be.

        Rare judgements weigh more, by the root of how rare they are.
        """
        count = allowed.shape[1]
        says = allowed.any(dim=1) & ~allowed.all(dim=1)  # judgements that say something here
        flat, shares = truth.reshape(-1), log_shares.reshape(-1, count)
        seen = torch.bincount(flat, minlength=len(allowed)).float()
        self.counts.mul_(0.99).add_(0.01 * seen)
        weights = (self.counts.mean() / self.counts.clamp_min(1)).sqrt().clamp(0.2, 4) * says
        kept = says[flat]
        flat, shares = flat[kept], shares[kept]
        if not len(flat):
            return log_shares.sum() * 0
        right = torch.logsumexp(shares.masked_fill(~allowed[flat], -30.0), dim=1)
        # Not below what a hundredth of doubt costs: labels are wrong now and then.
        loss = -torch.logaddexp(right, torch.tensor(math.log(0.01)))
        weight = weights[flat]
        return (loss * weight).sum() / weight.sum()

    def _thought(self, teacher: PixelTower, images: Tensor, texts: Tensor) -> Tensor:
        """What a trained tower sees in images, at their size and at half of it: (B, h, w, P).

        Shares, which sum to 1; of cosines that are the mean of both sizes.
        """
        with torch.no_grad():
            planes = []
            for x in (images, F.avg_pool2d(images, 2)):
                x = x.to(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16, enabled=train.uses_bfloat16("cpu")):
                    said = teacher(x).coordinates
                unit = F.normalize(said.float(), dim=1)  # the basis is orthonormal
                cosines = torch.einsum("brhw,pr->bphw", unit, texts @ teacher.basis.T)
                planes.append(F.interpolate(cosines, scale_factor=images.shape[2] / x.shape[2],
                                            mode="bilinear"))  # fmt: skip
            mean = (planes[0] + planes[1]) / 2
            return (self.clip.temperature * mean).softmax(dim=1).permute(0, 2, 3, 1)

    def _opinion(self, log_shares: Tensor, thought: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy with a teacher's shares of what labels leave, where they leave several.

        A teacher that thinks of what labels exclude is not heard.
        """
        may_be = self.may_be[truth]  # (B, s, s, P)
        left = thought * may_be
        heard = left.sum(dim=-1)  # (B, s, s)
        target = left / heard[..., None].clamp_min(1e-6)
        weight = heard * (may_be.sum(dim=-1) > 1)
        loss = -(target * log_shares).sum(dim=-1)
        return (loss * weight).sum() / weight.sum().clamp_min(1)

    def _bags(self, log_shares: Tensor, shows: Tensor) -> Tensor:
        """−ln of the mean probability of the likeliest fiftieth of the pixels of what is shown."""
        total, count = log_shares.sum() * 0, 0
        for i, concept in shows.nonzero().tolist():
            plane = log_shares[i, :, :, concept].reshape(-1)
            best = plane.topk(max(1, len(plane) // 50)).values
            total, count = total - (best.exp().mean() + 1e-4).log(), count + 1
        return 0.1 * total / max(1, count)

    def _presence(self, presence: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of what windows show and what they cannot show."""
        logits = self.towers.tower.presence_logits(presence, texts)  # (B, concepts)
        count = len(batch.images)
        there = batch.shows.clone()
        never = torch.ones_like(there)
        sizes = self.may_be.sum(dim=1)
        for i in range(count):
            numbers, pixels = batch.truth[i].unique(return_counts=True)
            for number, amount in zip(numbers.tolist(), pixels.tolist(), strict=True):
                never[i] &= ~self.may_be[number]
                if sizes[number] == 1 and amount >= 24:
                    there[i] |= self.may_be[number]
        known = there | never
        loss = F.binary_cross_entropy_with_logits(logits, there.float(), reduction="none")
        weight = known * (1 + 2 * there.float())
        return 0.5 * (loss * weight).sum() / weight.sum().clamp_min(1)

    def _scale(self, scale: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of ln(metres)."""
        known = ~batch.metres.isnan()
        if not known.any():
            return scale.sum() * 0
        mean, spread = scale[known, 0], scale[known, 1].clamp(-3, 2)
        error = (batch.metres[known].log() - mean) / spread.exp()
        return 0.05 * (error.square().clamp_max(50) / 2 + spread).mean()

    def _borders(self, outline: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the borders of objects, where they are known."""
        known = ~batch.borders.isnan()
        if not known.any():
            return outline.sum() * 0
        return F.binary_cross_entropy_with_logits(
            outline[:, 0][known], batch.borders[known], pos_weight=torch.tensor(2.0)
        )
