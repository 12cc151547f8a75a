"""Scores of partial truth, boxes, tags and lists as text for people and as JSON for programs."""

from collections.abc import Mapping, Sequence

from dgl_rsis.evaluation.concepts import ConceptScores, mean
from dgl_rsis.evaluation.detection import FEW, SOME, Answer, Claims, Detections
from dgl_rsis.evaluation.scores import Tally, total
from dgl_rsis.evaluation.tables import calibration_json, calibration_text, number, plain, table
from dgl_rsis.types import Json

MICRO = "all"


# ---- partial truth -------------------------------------------------------------------------------


def concept_text(scores: ConceptScores) -> str:
    """A line a rung, a line a concept, the mean, and calibration."""
    rows = [
        [
            name,
            number(tally.iou),
            number(tally.precision),
            number(tally.recall),
            str(scores.known[name]),
            number(tally.real / max(1, scores.known[name])),
        ]
        for name, tally in scores.tallies.items()
    ]
    rows.append(["mean", number(scores.miou), "", "", "", ""])
    head = ["concept", "IoU", "precision", "recall", "judged pixels", "share"]
    calibrated = calibration_text(scores.pixels, scores.masks)
    return "\n\n".join([_concept_ladder(scores), table(head, rows), calibrated])


def _concept_ladder(scores: ConceptScores) -> str:
    rows = [
        [
            rung,
            *(number(tally.iou) for tally in tallies.values()),
            number(scores.seconds[rung], 2),
        ]
        for rung, tallies in scores.ladder.items()
    ]
    return table(["rung", *(f"IoU {name}" for name in scores.tallies), "s/image"], rows)


def concept_json(scores: ConceptScores) -> Json:
    """Every number; a concept that never occurs has null."""
    return {
        "images": scores.images,
        "mIoU": plain(scores.miou),
        "concepts": {
            name: {
                "IoU": plain(tally.iou),
                **_tally_json(tally),
                "judged": scores.known[name],
            }
            for name, tally in scores.tallies.items()
        },
        "rungs": {
            rung: {
                "seconds": scores.seconds[rung],
                "IoU": {name: plain(tally.iou) for name, tally in tallies.items()},
            }
            for rung, tallies in scores.ladder.items()
        },
        "calibration": calibration_json(scores.pixels, scores.masks),
        "worst": [{"name": case.name, "mIoU": case.score} for case in scores.worst],
    }


# ---- boxes and presence --------------------------------------------------------------------------


def box_text(scores: Detections) -> str:
    """A line a class, then all together."""
    every = dict(scores.tallies) | {MICRO: total(scores.tallies.values())}
    return _tally_table(every, "found", "boxes")


def box_json(scores: Detections) -> Json:
    """Every number."""
    return {
        "images": scores.images,
        "classes": _tallies_json(scores),
        "micro": _tally_json(total(scores.tallies.values())),
    }


def presence_text(scores: Detections) -> str:
    """A line a class, the mean F1 of the first ones, and how often those are seen where none is."""
    few, some = list(scores.tallies)[:FEW], list(scores.tallies)[:SOME]
    return "\n".join(
        [
            _tally_table(scores.tallies, "claimed", "present"),
            "",
            f"mean F1 of {', '.join(few)}: {number(_mean_f1(scores, FEW))}",
            f"mean F1 of these and {', '.join(some[FEW:])}: {number(_mean_f1(scores, SOME))}",
            f"false ones of the first {len(few)}, an image: {number(_false(scores))}",
        ]
    )


def presence_json(scores: Detections) -> Json:
    """Every number."""
    return {
        "images": scores.images,
        "classes": _tallies_json(scores),
        f"mean_F1_of_{FEW}": plain(_mean_f1(scores, FEW)),
        f"mean_F1_of_{SOME}": plain(_mean_f1(scores, SOME)),
        "false_per_image": _false(scores),
    }


def _mean_f1(scores: Detections, first: int) -> float:
    return mean(tally.f1 for tally in list(scores.tallies.values())[:first])


def _false(scores: Detections) -> float:
    whole = total(list(scores.tallies.values())[:FEW])
    return (whole.claimed - whole.hits) / scores.images


def _tally_table(tallies: Mapping[str, Tally], claimed: str, real: str) -> str:
    rows = [
        [
            name,
            number(tally.precision),
            number(tally.recall),
            number(tally.f1),
            str(tally.hits),
            str(tally.claimed),
            str(tally.real),
        ]
        for name, tally in tallies.items()
    ]
    return table(["class", "precision", "recall", "F1", "right", claimed, real], rows)


def _tally_json(tally: Tally) -> Json:
    return {
        "precision": plain(tally.precision),
        "recall": plain(tally.recall),
        "F1": plain(tally.f1),
        "hits": tally.hits,
        "claimed": tally.claimed,
        "real": tally.real,
    }


def _tallies_json(scores: Detections) -> Json:
    return {name: _tally_json(tally) for name, tally in scores.tallies.items()}


# ---- lists ---------------------------------------------------------------------------------------


def absent_text(answers: Sequence[Answer]) -> str:
    """The share that got a mask, and each of them."""
    given = [each for each in answers if each.answered]
    lines = [f"  {each.score:.2f}  {each.sentence}  ({each.name})" for each in given]
    share = len(given) / len(answers)
    return "\n".join([f"answered with a mask: {len(given)} of {len(answers)}, {share:.3f}", *lines])


def absent_json(answers: Sequence[Answer]) -> Json:
    """The share, and every question."""
    return {
        "questions": len(answers),
        "answered": sum(each.answered for each in answers) / len(answers),
        "answers": [
            {
                "name": each.name,
                "sentence": each.sentence,
                "score": None if each.score is None else round(each.score, 4),
                "reason": each.reason,
            }
            for each in answers
        ],
    }


def claim_text(claims: Sequence[Claims]) -> str:
    """For each image how many things are claimed, and how many there are about."""
    names = list(claims[0].objects)
    rows = [
        [each.name, *(f"{len(each.objects[n])} of {each.counts[n]}" for n in names)]
        for each in claims
    ]
    sums = [
        f"{sum(len(c.objects[n]) for c in claims)} of {sum(c.counts[n] for c in claims)}"
        for n in names
    ]
    head = ["claimed, of about", *names]
    note = "Count the false ones by eye: --plot FOLDER draws a numbered box around each."
    return f"{table(head, [*rows, [MICRO, *sums]])}\n\n{note}"


def claim_json(claims: Sequence[Claims]) -> Json:
    """Every object that is claimed."""
    return {
        "images": [
            {
                "name": each.name,
                "there_are_about": dict(each.counts),
                "claimed": {
                    name: [{"box": list(o.box), "score": round(o.score, 4)} for o in objects]
                    for name, objects in each.objects.items()
                },
            }
            for each in claims
        ]
    }
