from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.commands.report.changes import (
    Report,
    Tally,
    compare,
    pair,
    shared_pixels,
    started_from,
)
from backend.regions.records import Annotation, Item, Prediction, Region
from dgl_rsis import runs
from dgl_rsis.types import Mask

SIZE = (8, 10)
LABELS = ("building", "road", "water")
PLANES = arrays.arrays(np.bool_, SIZE)
COUNTS = ("predicted", "corrected", "accepted", "changed", "added", "removed")


def box(top: int, left: int, bottom: int, right: int) -> Mask:
    mask: Mask = np.zeros(SIZE, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def region(mask: Mask, name: str = "r1", label: str = "building", origin: str = "manual") -> Region:
    return Region(name, label, runs.to_runs(mask), "brush", origin=origin)


def prediction(*regions: Region, version: str = "v1", identity: int = 1) -> Prediction:
    return Prediction(identity, version, 0.5, regions)


def annotation(*regions: Region, of: Prediction | None = None) -> Annotation:
    return Annotation(1, "ann", "2026-01-01", regions, of)


def item(annotations: Sequence[Annotation], predictions: Sequence[Prediction] = ()) -> Item:
    return Item(1, "a.png", *SIZE, tuple(annotations), tuple(predictions))


def corrected(before: Sequence[Region], after: Sequence[Region]) -> Report:
    start = prediction(*before)
    return compare([item([annotation(*after, of=start)], [start])])


def counts(tally: Tally) -> dict[str, int]:
    return {name: getattr(tally, name) for name in COUNTS}


@st.composite
def marked(draw: st.DrawFn) -> list[Region]:
    """Regions with some ids twice, overlapping, empty, and of several labels."""
    names, labels = st.sampled_from("abcde"), st.sampled_from(LABELS)
    return draw(st.lists(st.builds(region, PLANES, names, labels), max_size=6))


# ---- properties ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(marked())
def test_what_nobody_touched_is_accepted_whole(regions: list[Region]) -> None:
    version = corrected(regions, regions).versions["v1"]
    assert (version.pairs, version.untouched) == (1, 1)
    for tally in version.labels.values():
        assert tally.mean_iou == tally.total_iou == 1
        assert tally.accepted == tally.predicted == tally.corrected
        assert tally.accepted_share == 1
        assert (tally.changed, tally.added, tally.removed) == (0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(marked(), marked())
def test_the_other_way_round_added_is_removed(one: list[Region], other: list[Region]) -> None:
    there, back = (corrected(a, b).versions["v1"].labels for a, b in ((one, other), (other, one)))
    assert set(there) == set(back)
    for label, tally in there.items():
        mirror = back[label]
        assert tally.ious == mirror.ious
        assert tally.total_iou == mirror.total_iou
        swapped = replace(mirror, added=mirror.removed, removed=mirror.added,
                          predicted=mirror.corrected, corrected=mirror.predicted)  # fmt: skip
        assert counts(tally) == counts(swapped)


@settings(max_examples=60, deadline=None)
@given(marked(), marked())
def test_every_region_has_one_fate(one: list[Region], other: list[Region]) -> None:
    version = corrected(one, other).versions["v1"]
    for label, tally in version.labels.items():
        assert tally.predicted == sum(r.label == label for r in one)
        assert tally.predicted == tally.accepted + tally.changed + tally.removed
        assert tally.corrected == tally.accepted + tally.changed + tally.added
    total = version.total
    assert total.predicted == len(one)
    assert total.corrected == len(other)


@given(PLANES, PLANES)
def test_pixels_are_shared_as_the_masks_say(one: Mask, other: Mask) -> None:
    expected = int((one & other).sum())
    assert shared_pixels(runs.to_runs(one), runs.to_runs(other)) == expected


@settings(max_examples=60, deadline=None)
@given(marked(), marked())
def test_iou_is_that_of_the_unions(one: list[Region], other: list[Region]) -> None:
    for label, tally in corrected(one, other).versions["v1"].labels.items():
        a, b = (
            np.any([runs.from_runs(r.runs) for r in x if r.label == label] or [np.zeros(SIZE)], 0)
            for x in (one, other)
        )
        if (a | b).any():
            assert tally.ious == [pytest.approx((a & b).sum() / (a | b).sum())]


# ---- what becomes of regions ---------------------------------------------------------------------


def test_all_gone_is_removed() -> None:
    report = corrected([region(box(0, 0, 2, 2)), region(box(4, 4, 6, 6), "r2", "road")], [])
    version = report.versions["v1"]
    assert counts(version.labels["building"]) == dict.fromkeys(COUNTS, 0) | {
        "predicted": 1, "removed": 1,
    }  # fmt: skip
    assert version.labels["building"].mean_iou == 0
    assert version.total.removed == 2
    assert version.untouched == 0


def test_a_class_that_the_model_does_not_know_is_added() -> None:
    report = corrected([region(box(0, 0, 2, 2))], [region(box(4, 4, 6, 6), "new", "solar farm")])
    tally = report.versions["v1"].labels["solar farm"]
    assert counts(tally) == dict.fromkeys(COUNTS, 0) | {"corrected": 1, "added": 1}
    assert (tally.mean_iou, tally.total_iou, tally.accepted_share) == (0, 0, None)


def test_a_region_is_known_by_its_id_however_much_it_changed() -> None:
    pairing = pair([region(box(0, 0, 2, 2))], [region(box(5, 5, 8, 9))])
    assert (pairing.accepted, pairing.changed, pairing.removed, pairing.added) == (0, 1, (), ())


def test_a_region_that_was_drawn_anew_is_known_by_its_place() -> None:
    old, near, far = box(0, 0, 4, 4), box(0, 0, 4, 3), box(4, 5, 8, 9)
    pairing = pair([region(old, "a")], [region(far, "x"), region(near, "y")])
    assert (pairing.accepted, pairing.changed) == (0, 1)
    assert [r.id for r in pairing.added] == ["x"]
    pairing = pair([region(old, "a")], [region(old, "y")])
    assert (pairing.accepted, pairing.changed) == (1, 0)


def test_half_an_object_is_another_one() -> None:
    pairing = pair([region(box(0, 0, 4, 4), "a")], [region(box(0, 0, 4, 2), "b")])
    assert (len(pairing.removed), len(pairing.added)) == (1, 1)


def test_as_many_regions_as_possible_find_a_partner() -> None:
    """The best partner of the first is the only one of the second."""
    one, other = region(box(0, 0, 2, 7), "a"), region(box(0, 0, 2, 4), "b")
    left, right = region(box(0, 0, 2, 6), "x"), region(box(0, 2, 2, 9), "y")
    pairing = pair([one, other], [left, right])
    assert (pairing.changed, pairing.removed, pairing.added) == (2, (), ())
    assert pair([one], [left, right]).added == (right,)


def test_another_label_is_removed_here_and_added_there() -> None:
    mask = box(0, 0, 3, 3)
    version = corrected([region(mask)], [region(mask, label="road")]).versions["v1"]
    assert version.relabelled == {("building", "road"): 1}
    assert (version.labels["building"].removed, version.labels["road"].added) == (1, 1)


def test_an_empty_answer_to_an_empty_answer_is_accepted() -> None:
    version = corrected([], []).versions["v1"]
    assert (version.pairs, version.untouched, version.labels) == (1, 1, {})
    assert version.total.mean_iou is None


# ---- over images and versions --------------------------------------------------------------------


def test_sums_and_means_over_images() -> None:
    """A small image that is all wrong and a large one that is right: mean 0.5, total 8/10."""
    one, two = prediction(region(box(0, 0, 1, 1))), prediction(region(box(0, 0, 2, 4)))
    report = compare(
        [
            item([annotation(region(box(7, 7, 8, 8)), of=one)]),
            item([annotation(region(box(0, 0, 2, 4)), of=two)]),
        ]
    )
    version = report.versions["v1"]
    tally = version.labels["building"]
    assert tally.mean_iou == 0.5
    assert tally.total_iou == 0.8
    assert tally.accepted_share == 0.5
    assert (version.pairs, version.untouched) == (2, 1)
    assert (tally.predicted_pixels, tally.corrected_pixels, tally.shared_pixels) == (9, 9, 8)
    assert version.total.images == 2


def test_each_version_has_its_own_numbers() -> None:
    old, new = prediction(region(box(0, 0, 2, 2))), prediction(version="", identity=2)
    report = compare(
        [item([annotation(of=old), annotation(of=new)], [old, new]), item([], [old]), item([])]
    )
    assert set(report.versions) == {"v1", "unknown"}
    assert report.versions["v1"].labels["building"].removed == 1
    assert (report.tasks, report.annotations, report.waiting, report.unaided) == (3, 2, 1, 0)


def test_the_start_is_found_where_the_export_does_not_name_it() -> None:
    first = prediction(region(box(0, 0, 1, 1), "a"), identity=1)
    second = prediction(region(box(0, 0, 1, 1), "b"), identity=2)
    both = (first, second)
    assert started_from(annotation(region(box(0, 0, 1, 1), "a")), both) is first
    copied = region(box(0, 0, 1, 1), "c", origin="prediction-changed")
    assert started_from(annotation(copied), both) is second
    assert started_from(annotation(region(box(0, 0, 1, 1), "c")), both) is None
    assert started_from(annotation(copied), ()) is None
    assert started_from(annotation(of=first), both) is first


def test_what_began_from_nothing_is_only_counted() -> None:
    report = compare([item([annotation(region(box(0, 0, 1, 1)))], [prediction()])])
    assert (report.unaided, report.versions) == (1, {})
