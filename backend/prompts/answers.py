"""The reply to a prompt → what Label Studio suggests to the person who waits.

What corrects a mask comes back under the id of that mask, whole: Label Studio then puts it in the
mask's place (measured on 1.23). A new mask gets an id that no other prompt and no other task gives:
of two suggestions with one id the second would delete the first.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from backend.project.controls import REASON
from backend.project.label_config import LabelConfig
from backend.prompts import stored
from backend.prompts.clicks import Correction
from backend.prompts.context import InteractivePrompt
from backend.prompts.stored import PATCH, StoredMask
from backend.regions import writing
from backend.regions.geometry import value_of
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json, Mask
from workers.messages import SegmentReply, SegmentResult

UNDO = "Ctrl + Z takes the point or box away."


class NoSuggestionError(Exception):
    """There is nothing to suggest; the message says why, and what to do."""


def suggest(reply: SegmentReply, prompt: InteractivePrompt, config: LabelConfig, seed: str) -> Json:
    """The prediction that answers a prompt: the best candidate, all of them, or masks corrected.

    Args:
        reply: to the prompt.
        prompt: what was asked.
        config: of the project.
        seed: the same for the same prompt on the same task, and for no other.

    Raises:
        NoSuggestionError: no candidate, or none that could be drawn.
    """
    best = next((each for each in reply.segments if each.level == "candidate"), None)
    if prompt.correction is not None:
        regions = _corrected(prompt, prompt.correction, best, reply.reason, seed)
    elif best is None:
        raise NoSuggestionError(reply.reason or "nothing was found")
    elif prompt.meant is not None:
        regions = _every(reply, config, seed, prompt.picture)
    else:
        regions = _new(reply, best, config, seed, prompt.picture)
    if not regions:
        raise NoSuggestionError(
            "the mask that was found is too small for a region, or its label has none"
        )
    score = max((region.get("score") or 0.0 for region in regions), default=0.0)
    if prompt.correction is not None:
        regions += _with_new_shapes(prompt.correction.written, regions)
    if prompt.meant is not None:
        regions = [*prompt.meant.pending, *regions]
    return {"result": regions, "score": score, "model_version": reply.model_version}


def refuse(cause: str, config: LabelConfig, model_version: str, *, drawn: bool) -> Json:
    """The answer to a prompt that gets no mask: the reason, where the project has a field for it.

    Label Studio shows text at once. Of an answer that is no prediction at all it shows nothing, and
    keeps the point even where suggestions are accepted by themselves.

    Args:
        cause: why; empty to say nothing.
        config: of the project.
        model_version: of the model that was asked.
        drawn: something was drawn, which stays in the annotation.
    """
    said = _sentence(cause)
    text = f"{said} {UNDO}" if drawn else said
    result = [_reason(config, [text])] if cause and config.reason_on else []
    return {"result": result, "score": 0.0, "model_version": model_version}


def tell(config: LabelConfig, text: str) -> list[Json]:
    """Text for the person beside the masks of an answer, where the project has a field for it."""
    return [_reason(config, [_sentence(text)])] if text and config.reason_on else []


def says(answer: Json) -> bool:
    """Whether an answer has text for the person."""
    return any(region.get("id") == REASON for region in answer["result"])


def unsaid(config: LabelConfig) -> list[Json]:
    """What takes a reason off the screen again, and goes itself with the next tick or cross."""
    return [{**_reason(config, []), "dynamic": True}] if config.reason_on else []


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _reason(config: LabelConfig, text: Sequence[str]) -> Json:
    return {
        "id": REASON,
        "from_name": REASON,
        "to_name": config.reason_on,
        "type": "textarea",
        "value": {"text": list(text)},
    }


def _new(
    reply: SegmentReply, candidate: SegmentResult, config: LabelConfig, seed: str, picture: int
) -> list[Json]:
    """A candidate as regions of its own."""
    regions = writing.to_regions(reply, candidate, config, seed, picture)
    # Accepted, it is what somebody asked for, not what nobody looked at: see `regions.touched`.
    return [{**region, "origin": writing.CHANGED} for region in regions]


def _every(reply: SegmentReply, config: LabelConfig, seed: str, picture: int) -> list[Json]:
    """All candidates, each under ids that no other has."""
    candidates = [each for each in reply.segments if each.level == "candidate"]
    return [
        region
        for number, each in enumerate(candidates)
        for region in _new(reply, each, config, f"{seed}\n{number}", picture)
    ]


def _corrected(
    prompt: InteractivePrompt,
    correction: Correction,
    best: SegmentResult | None,
    reason: str,
    seed: str,
) -> list[Json]:
    """The corrected mask, and those of other labels whose border with it moves.

    Raises:
        NoSuggestionError: nothing is left of the mask, or the click could not be answered.
    """
    target, score = correction.target, 0.0 if best is None else best.score
    before = from_runs(target.runs)
    # Where masks lie on each other, the clicks say whose the place is: of what they touched.
    right = _is_right(target, prompt)
    untouched = before if right else before & ~from_runs(correction.prior)
    after = untouched if right or best is None else untouched | from_runs(best.runs)
    if best is None and not after.any():
        raise NoSuggestionError(f"{reason or 'nothing was found'}, or delete the mask")
    changed = _redrawn(target, after, score, f"{seed}\n0")
    if not changed:
        raise NoSuggestionError("too little is left of the mask for a region: delete it instead")
    for number, other in enumerate(correction.others, 1):
        mask = _moved(from_runs(other.runs), before & ~after, after & ~untouched)
        changed += _redrawn(other, mask, score, f"{seed}\n{number}")
    return changed


def _redrawn(stored_mask: StoredMask, mask: Mask, score: float, seed: str) -> list[Json]:
    """A stored mask with other pixels; as it is, corner by corner, where they are the same."""
    runs = to_runs(mask)
    if runs == stored_mask.runs and isinstance(stored_mask.region.get("id"), str):
        return [stored_mask.region]
    return writing.to_changed(stored_mask.region, runs, score, seed)


def _with_new_shapes(written: Sequence[Json], changed: Sequence[Json]) -> list[Json]:
    """What is written of corrected masks, which Label Studio drops where an answer lacks it.

    Each repeats the shape of its region, as far as it has one.
    """
    values = {region["id"]: region["value"] for region in changed}
    kept = []
    for each in written:
        value, shape = value_of(each), values.get(each["id"], {})
        repeated = {key: shape[key] for key in shape if key in value}
        if each["id"] in values:
            kept.append({**each, "value": {**value, **repeated}})
    return kept


def _is_right(target: StoredMask, prompt: InteractivePrompt) -> bool:
    """Whether no click lies in the mask: all say what it is not, and it is not."""
    assert prompt.pointed is not None
    points = (*prompt.pointed.positive, *prompt.pointed.negative)
    return not any(stored.holds(target.runs, point) for point in points)


def _moved(other: Mask, given_up: Mask, taken: Mask) -> Mask:
    """The mask of another label: with what was given up beside it, without what was taken."""
    return (other | _touching(given_up, other)) & ~taken


def _touching(mask: Mask, other: Mask) -> Mask:
    """The connected parts of a mask that share a pixel or a border with another."""
    _, numbered = cv2.connectedComponents(mask.view(np.uint8), connectivity=PATCH)
    near = cv2.dilate(other.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    numbers: Sequence[int] = np.unique(numbered[near & mask]).tolist()
    return np.isin(numbered, numbers)
