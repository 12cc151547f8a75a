import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.runs import Runs
from dgl_rsis.types import Label
from workers.messages import (
    LONGEST_DIRECTION,
    MOST_EXAMPLES,
    DeliveryRequest,
    ExampleLook,
    Exemplar,
    LearnRequest,
    Look,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
    base_of,
    is_ours,
    names,
    version_like,
    versioned,
)

REQUEST = SegmentRequest(
    image="/data/upload/1/a.png",
    labels=(Label("rooftop", ("house",), 0.5), Label("other", background=True)),
    model_version="v1",
    task_id="7",
)
TEXT = st.text(max_size=8)
LABELS = st.builds(
    Label,
    TEXT,
    st.lists(TEXT, max_size=2).map(tuple),
    st.none() | st.floats(0, 1),
    st.booleans(),
)
REQUESTS = st.builds(
    SegmentRequest,
    TEXT,
    st.lists(LABELS, min_size=1, max_size=3).map(tuple),
    TEXT,
    st.booleans(),
    st.booleans(),
    TEXT,
    metres=st.none() | st.floats(0.01, 100),
)


@given(REQUESTS)
def test_a_request_crosses_the_queue_unchanged(request: SegmentRequest) -> None:
    arrived = SegmentRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert arrived == request
    assert arrived.key == request.key


def test_an_exemplar_crosses_the_queue_and_older_jobs_have_none() -> None:
    shown = replace(REQUEST, exemplar=Exemplar(Runs(1, 2, (1, 1)), Runs(1, 2, (0, 2))))
    assert SegmentRequest.from_json(json.loads(json.dumps(shown.to_json()))) == shown
    assert (shown.awaited, REQUEST.awaited) == (True, False)
    older = REQUEST.to_json()
    del older["exemplar"]
    assert SegmentRequest.from_json(older) == REQUEST


NUMBERS = st.floats(-100, 100)
LOOKS = st.builds(
    Look,
    st.lists(
        st.builds(
            ExampleLook,
            st.floats(0.5, 1e6),
            NUMBERS,
            st.tuples(NUMBERS, NUMBERS, NUMBERS),
            st.text("AZaz09+/", min_size=4, max_size=8),
        ),
        min_size=1,
        max_size=MOST_EXAMPLES,
    ).map(tuple),
    st.none() | st.floats(0.01, 100),
)


@given(LOOKS, LOOKS)
def test_a_look_crosses_the_queue_and_nobody_waits_for_its_answer(look: Look, other: Look) -> None:
    asked = replace(REQUEST, look=look)
    arrived = SegmentRequest.from_json(json.loads(json.dumps(asked.to_json())))
    assert arrived == asked
    assert arrived.key == asked.key != REQUEST.key
    assert not asked.awaited
    assert (look.digest == other.digest) == (look == other)
    reply = SegmentReply(2, 3, "v1", (), look=look)
    assert SegmentReply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_a_look_is_small_and_older_jobs_and_replies_have_none() -> None:
    longest = ExampleLook(1.0, 0.5, (0.1, 0.2, 0.3), "A" * LONGEST_DIRECTION)
    look = Look((longest,) * MOST_EXAMPLES, 0.3)
    assert len(json.dumps(look.to_json())) < 32_000
    older, reply = REQUEST.to_json(), SegmentReply(2, 3, "v1", ()).to_json()
    del older["look"], reply["look"]
    assert SegmentRequest.from_json(older) == REQUEST
    assert SegmentReply.from_json(reply).look is None


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "a look has 0 examples; 1 to 4"),
        ([[1.0, 0.0, [0, 0, 0], "AAAA"]] * 5, "a look has 5 examples"),
        ([[0.0, 0.0, [0, 0, 0], "AAAA"]], "the area of an example is 0.0"),
        ([[float("inf"), 0.0, [0, 0, 0], "AAAA"]], "the area of an example is inf"),
        ([[1.0, 0.0, [0, 0, 0], ""]], "has 0 characters; 1 to 6000"),
        ([[1.0, 0.0, [0, 0, 0], "A" * 6001]], "has 6001 characters"),
    ],
)
def test_a_look_out_of_bounds_is_refused(examples: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Look.from_json({"examples": examples, "metres": None})


@pytest.mark.parametrize(
    "label", ["car", "large car", "a,b", "a b", "x" * 41, "x" * 42, "+p0", " "]
)
def test_versions_of_labels_are_apart_and_fit_a_list_with_commas(label: str) -> None:
    version, others = version_like("dgl-rsis-1", label), {"car", "a b", "a,b", "x" * 41} - {label}
    assert version.startswith("dgl-rsis-1 like ")
    assert is_ours(version)
    assert base_of(version) != "dgl-rsis-1", "no prediction of the model by itself"
    assert "," not in version
    assert len(version) < 80
    assert version not in {version_like("dgl-rsis-1", other) for other in others}


def test_what_is_done_with_the_json_does_not_reach_the_request() -> None:
    REQUEST.to_json()["labels"][0]["name"] = "changed"
    assert REQUEST.labels[0].name == "rooftop"


def test_tasks_with_the_same_image_have_the_same_key() -> None:
    assert replace(REQUEST, task_id="8").key == REQUEST.key


@pytest.mark.parametrize(
    "change",
    [
        {"image": "/data/upload/1/b.png"},
        {"labels": REQUEST.labels[:1]},
        {"labels": REQUEST.labels[::-1]},
        {"labels": (replace(REQUEST.labels[0], synonyms=()), REQUEST.labels[1])},
        {"labels": (replace(REQUEST.labels[0], threshold=None), REQUEST.labels[1])},
        {"labels": (REQUEST.labels[0], replace(REQUEST.labels[1], background=False))},
        {"model_version": "v2"},
        {"classes": False},
        {"objects": True},
        {"metres": 0.3},
        {"exemplar": Exemplar(Runs(1, 2, (1, 1)), Runs(1, 2, (0, 2)))},
    ],
)
def test_whatever_changes_the_answer_changes_the_key(change: dict[str, object]) -> None:
    assert replace(REQUEST, **change).key != REQUEST.key  # type: ignore[arg-type]


def test_without_metres_the_key_is_what_it_was_before_there_were_any() -> None:
    assert REQUEST.key == "f3b2188910530559f8bd6c32340021f8"
    former = {name: value for name, value in REQUEST.to_json().items() if name != "metres"}
    assert SegmentRequest.from_json(former) == REQUEST


def test_a_request_of_another_release_is_refused() -> None:
    with pytest.raises(TypeError, match="unheard"):
        SegmentRequest.from_json(REQUEST.to_json() | {"unheard": 1})


def test_a_reply_crosses_the_queue_unchanged() -> None:
    runs = Runs(2, 3, (1, 3, 2))
    reply = SegmentReply(2, 3, "v1", (SegmentResult("water", 0.75, "class", runs),), {"map": 0.1})
    assert SegmentReply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_a_delivery_crosses_the_queue_unchanged() -> None:
    delivery = DeliveryRequest(7, "0" * 32, "digest")
    assert DeliveryRequest.from_json(json.loads(json.dumps(delivery.to_json()))) == delivery


@pytest.mark.parametrize("message", [SegmentRequest, SegmentReply, DeliveryRequest])
def test_no_message_has_room_for_a_secret(message: type) -> None:
    words = {word for each in fields(message) for word in each.name.split("_")}
    assert not words & {"token", "login", "password", "secret", "auth", "access"}


def test_an_annotation_crosses_the_queue_unchanged() -> None:
    asked = LearnRequest("7", "1", 1, "data:,", (("dark", Runs(2, 2, (1, 3))),), "5")
    assert LearnRequest.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert asked.key != replace(asked, stamp=2).key


def test_names() -> None:
    assert names("7", "") == versioned("", "") == ""
    assert versioned("base", names("7", "abc")) == "base+pabc"
