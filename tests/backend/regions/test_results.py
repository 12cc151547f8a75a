from typing import Any

from backend.regions import results
from dgl_rsis.types import Json


def result(kind: str, identity: str | None = "r", **value: Any) -> Json:
    named = {} if identity is None else {"id": identity}
    return {**named, "type": kind, "value": value}


POINTS = [[1, 1], [9, 1], [9, 9]]


def labelled(*every: Any) -> list[tuple[str, list[str]]]:
    return [(each["type"], results.labels_of(each)) for each in results.whole(list(every))]


def test_what_has_no_labels_beside_it_is_left_as_it_is() -> None:
    every = [result("polygonlabels", points=POINTS, polygonlabels=["a"]), result("choices")]
    assert results.whole([*every, 7]) == every


def test_labels_go_to_the_shape_of_their_id_whichever_comes_first() -> None:
    shape, other = result("polygon", points=POINTS), result("brush", "s", rle=[1])
    names = result("labels", labels=["a"])
    expected = [("polygon", ["a"]), ("brush", [])]
    assert labelled(names, shape, other) == expected
    assert labelled(shape, other, names) == expected


def test_own_labels_come_before_those_beside_them() -> None:
    shape = result("polygonlabels", points=POINTS, polygonlabels=["a"])
    assert labelled(shape, result("labels", labels=["b", "a"])) == [("polygonlabels", ["a", "b"])]


def test_labels_of_several_controls_are_all_of_them() -> None:
    shape = result("polygon", points=POINTS)
    others = result("labels", labels=["a"]), result("labels", labels=["b"])
    assert labelled(shape, *others) == [("polygon", ["a", "b"])]


def test_results_on_different_pictures_are_different_regions() -> None:
    shape = {**result("polygon", points=POINTS), "item_index": 0}
    elsewhere = {**result("labels", labels=["a"], points=POINTS), "item_index": 1}
    assert labelled(shape, elsewhere) == [("polygon", []), ("polygon", ["a"])]


def test_choices_of_a_region_are_no_shape_although_they_repeat_it() -> None:
    chosen = result("choices", points=POINTS, choices=["good"])
    alone = result("labels", points=POINTS, labels=["a"])
    assert labelled(chosen, alone) == [("choices", ["good"]), ("polygon", ["a"])]


def test_labels_of_text_are_no_region() -> None:
    assert labelled(result("labels", start=1, end=4, labels=["a"])) == [("labels", ["a"])]


def test_without_ids_the_geometry_tells_regions_apart() -> None:
    shapes = [result("polygon", None, points=[[n, 1], [9, 1], [9, 9]]) for n in (1, 2)]
    names = result("labels", None, points=POINTS, labels=["a"])
    assert labelled(*shapes, names) == [("polygon", ["a"]), ("polygon", [])]
