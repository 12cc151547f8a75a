import base64
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis
from rq import Retry

from dgl_rsis.runs import Runs, from_runs, to_runs
from tests.workers.fake_worker import REPLY_SECONDS, VERSION, fake_bench, picture, pictures, request
from workers.images.download import FetchError
from workers.messages import (
    ExampleLook,
    Exemplar,
    Look,
    SegmentReply,
    SegmentRequest,
    VisualPrompt,
)
from workers.processes import jobs
from workers.processes.jobs import DEADLY, DEADLY_POINTED, MOST_ATTEMPTS, RETRY_SECONDS, Workbench
from workers.queue import failures
from workers.queue.replies import Failure, attempts_key, look_up, store_failure, store_reply


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Workbench:
    return fake_bench(redis, tmp_path)


def _answer(bench: Workbench, asked: SegmentRequest) -> SegmentReply | Failure | None:
    return look_up(bench.redis, [asked.key])[asked.key]


def _message(bench: Workbench, asked: SegmentRequest) -> str:
    answer = _answer(bench, asked)
    assert isinstance(answer, Failure)
    return answer.message


def test_a_picture_becomes_runs(bench: Workbench, caplog: pytest.LogCaptureFixture) -> None:
    asked = request("bright", task="42")
    with caplog.at_level(logging.INFO):
        assert jobs.segment(bench, asked.to_json()) is None
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    assert (reply.height, reply.width, reply.model_version) == (8, 12, VERSION)
    assert [(s.label, s.level, s.score) for s in reply.segments] == [
        ("bright", "class", 0.75),
        ("bright", "object", 0.5),
    ]
    assert reply.segments[0].runs.counts == (6,) * 16
    assert reply.margin == 0.375
    assert list(reply.seconds) == ["fetch", "decode", "all", "runs"]
    assert 3600 < bench.redis.ttl(f"dgl:reply:{asked.key}") <= REPLY_SECONDS
    assert not bench.redis.exists(attempts_key(asked.key))
    assert [r.getMessage()[:20] for r in caplog.records] == ["task 42: 2 segments "]


def test_only_the_levels_asked_for_are_sent(bench: Workbench) -> None:
    asked = SegmentRequest(picture(), request("bright").labels, VERSION, classes=False)
    jobs.segment(bench, asked.to_json())
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    assert reply.segments == ()


def test_an_expression_becomes_candidates_with_the_label_that_fits(bench: Workbench) -> None:
    asked = replace(request("bright", "dark"), expression="the bright half")
    jobs.segment(bench, asked.to_json())
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    assert [(s.label, s.level, s.score) for s in reply.segments] == [
        ("dark", "candidate", 0.75),
        ("dark", "candidate", 0.25),
    ]
    assert reply.segments[0].runs.counts == (6,) * 16
    chosen = replace(asked, label="bright")
    jobs.segment(bench, chosen.to_json())
    reply = _answer(bench, chosen)
    assert isinstance(reply, SegmentReply)
    assert {s.label for s in reply.segments} == {"bright"}


def test_an_expression_that_nothing_answers_has_its_reason(bench: Workbench) -> None:
    asked = replace(request("bright"), expression="nothing")
    jobs.segment(bench, asked.to_json())
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    assert (reply.segments, reply.reason) == ((), "nothing here is nothing")
    assert reply.margin is None


BAD = {
    "empty": ("", "the task's image is empty"),
    "no image": ("data:text/plain,hello", "not an image of a known format"),
    "truncated": (picture()[:-40], "the image is damaged"),
    "cloud": ("s3://bucket/tile.png", "Label Studio alone has the keys of"),
    "private": ("http://192.168.0.1/a.png", "private or reserved address"),
    "outside": ("/data/local-files/?d=../../etc/passwd", "LOCAL_FILES_DOCUMENT_ROOT"),
}


@pytest.mark.parametrize(("image", "message"), BAD.values(), ids=list(BAD))
def test_bad_input_fails_with_one_line_and_without_a_retry(
    bench: Workbench, caplog: pytest.LogCaptureFixture, image: str, message: str
) -> None:
    asked = request("bright", image=image, task="13")
    assert jobs.segment(bench, asked.to_json()) is None
    assert message in _message(bench, asked)
    (record,) = [r for r in caplog.records if r.name == "workers.processes.jobs"]
    assert record.getMessage().startswith("task 13: ")
    assert "\n" not in record.getMessage()
    assert record.exc_info is None
    assert not bench.suspect
    assert 0 < bench.redis.ttl(f"dgl:failure:{asked.key}") <= 300
    (failure,) = failures.last(bench.redis)
    assert (failure.stage, failure.task_id) == ("segment", "13")
    assert failure.message == _message(bench, asked)


def test_a_picture_of_too_many_pixels_fails(bench: Workbench) -> None:
    bench.pictures = pictures(max_pixels=95)
    asked = request("bright")
    jobs.segment(bench, asked.to_json())
    assert "12 × 8 pixels" in _message(bench, asked)


def test_what_the_pipeline_refuses_fails(bench: Workbench) -> None:
    asked = request()
    assert jobs.segment(bench, asked.to_json()) is None
    assert _message(bench, asked) == "no labels to look for: give at least one"
    assert not bench.suspect


def test_what_nobody_foresaw_is_tried_again_then_given_up(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request("broken")
    for attempt in range(1, MOST_ATTEMPTS):
        again = jobs.segment(bench, asked.to_json())
        assert isinstance(again, Retry)
        assert again.intervals == [RETRY_SECONDS[attempt - 1]]
        assert _answer(bench, asked) is None
    assert jobs.segment(bench, asked.to_json()) is None
    assert asked.key in _message(bench, asked)
    assert "ZeroDivisionError" not in _message(bench, asked)
    assert caplog.text.count("ZeroDivisionError: what nobody foresaw") == MOST_ATTEMPTS
    assert bench.suspect


def test_a_server_that_is_down_is_asked_again_quietly(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request("bright", image="http://127.0.0.1:9/a.png")
    outcomes = [jobs.segment(bench, asked.to_json()) for _ in range(len(RETRY_SECONDS) + 1)]
    waits = [outcome.intervals for outcome in outcomes if outcome is not None]
    assert waits == [[seconds] for seconds in RETRY_SECONDS]
    assert outcomes[-1] is None
    assert failures.counts(bench.redis) == {"segment": 1}
    assert "cannot be reached" in _message(bench, asked)
    assert "Traceback" not in caplog.text


def test_what_label_studio_refuses_with_everything_else_is_asked_for_two_minutes(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise FetchError("HTTP 401", doubtful=True)

    monkeypatch.setattr(bench.pictures, "open", refuse)
    asked = request("bright")
    outcomes = [jobs.segment(bench, asked.to_json()) for _ in range(4)]
    assert [o.intervals for o in outcomes if o is not None] == [[15], [30], [60]]
    assert _message(bench, asked) == "HTTP 401"


def test_an_image_that_kills_the_process_is_given_up(bench: Workbench) -> None:
    asked = request("kill")  # this process would die of it
    bench.redis.set(attempts_key(asked.key), MOST_ATTEMPTS)
    assert jobs.segment(bench, asked.to_json()) is None
    assert _message(bench, asked) == DEADLY
    assert not bench.redis.exists(attempts_key(asked.key))  # it may be tried again later


def test_what_passes_counts_nothing_towards_what_kills(bench: Workbench) -> None:
    asked = request("bright", image="http://127.0.0.1:9/a.png")
    for _ in range(MOST_ATTEMPTS + 1):
        assert isinstance(jobs.segment(bench, asked.to_json()), Retry)
    assert bench.redis.get(attempts_key(asked.key)) == b"0"


def test_full_memory_halves_the_batch_once(bench: Workbench) -> None:
    asked = request("wide")
    assert jobs.segment(bench, asked.to_json()) is None
    assert isinstance(_answer(bench, asked), SegmentReply)


@pytest.mark.parametrize("label", ["huge", "huge for NumPy", "huge for PyTorch"])
def test_full_memory_twice_is_a_failure_of_that_image(bench: Workbench, label: str) -> None:
    asked = request(label)
    assert jobs.segment(bench, asked.to_json()) is None
    assert "12 × 8 pixels does not fit in the memory" in _message(bench, asked)
    assert not bench.suspect


def test_a_request_for_another_model_is_left_to_its_worker_then_given_up(bench: Workbench) -> None:
    asked = replace(request("bright"), model_version="v2")
    for _ in RETRY_SECONDS:
        assert isinstance(jobs.segment(bench, asked.to_json()), Retry)
        assert _answer(bench, asked) is None
    assert jobs.segment(bench, asked.to_json()) is None
    assert f"for the model v2, but the worker has {VERSION}" in _message(bench, asked)
    assert not bench.suspect


def test_an_answered_request_is_not_computed_again(bench: Workbench) -> None:
    asked = request("broken")
    reply = SegmentReply(1, 1, "v", (), {})
    store_reply(bench.redis, asked.key, reply, 60)
    assert jobs.segment(bench, asked.to_json()) is None
    assert _answer(bench, asked) == reply


def test_a_success_ends_the_memory_of_failures(bench: Workbench) -> None:
    asked = request("bright")
    store_failure(bench.redis, asked.key, "earlier")
    jobs.segment(bench, asked.to_json())
    assert isinstance(_answer(bench, asked), SegmentReply)


def test_a_local_file_is_read(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "tile.png").write_bytes(base64.b64decode(picture().partition(",")[2]))
    asked = request("bright", image="/data/local-files/?d=tile.png")
    jobs.segment(bench, asked.to_json())
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    assert np.sum(reply.segments[0].runs.counts) == 96


# ---- somebody points -----------------------------------------------------------------------------


def _pointing(*labels: str, **shown: Any) -> SegmentRequest:
    return replace(request(*labels), pointed=VisualPrompt(**shown))


def _reply(bench: Workbench, asked: SegmentRequest) -> SegmentReply:
    assert jobs.segment(bench, asked.to_json()) is None
    reply = _answer(bench, asked)
    assert isinstance(reply, SegmentReply)
    return reply


@pytest.mark.parametrize(("x", "label", "runs"), [(0.75, "a", (6,) * 16), (0.25, "b", None)])
def test_a_point_gets_one_mask_and_the_label_that_fits(
    bench: Workbench, x: float, label: str, runs: tuple[int, ...] | None
) -> None:
    asked = _pointing("a", "b", positive=((x, 0.5),))
    reply = _reply(bench, asked)
    (segment,) = reply.segments
    assert (segment.label, segment.level, segment.score) == (label, "candidate", 0.875)
    assert segment.runs.counts == (runs or (0, *(6,) * 16))
    assert list(reply.seconds) == ["fetch", "decode", "point", "label", "runs"]
    assert 0 < bench.redis.ttl(f"dgl:reply:{asked.key}") <= 3600


def test_the_label_that_is_selected_is_the_masks(bench: Workbench) -> None:
    asked = replace(_pointing("a", "b", positive=((0.75, 0.5),)), label="b")
    reply = _reply(bench, asked)
    assert [segment.label for segment in reply.segments] == ["b"]
    assert "label" not in reply.seconds


def test_a_prior_reaches_the_refinement(bench: Workbench) -> None:
    prior = Runs(8, 12, (5, 3, 88))
    (segment,) = _reply(bench, _pointing("a", prior=prior)).segments
    assert segment.runs == prior


def test_pointing_at_nothing_has_a_reason(bench: Workbench) -> None:
    reply = _reply(bench, _pointing("a", negative=((0.5, 0.5),)))
    assert (reply.segments, reply.reason[:17]) == ((), "nothing was found")


def test_words_and_a_point_choose_among_the_candidates(bench: Workbench) -> None:
    asked = _pointing("a", "b", positive=((0.25, 0.5),))  # the dark half, the second candidate
    (segment,) = _reply(bench, replace(asked, expression="a half")).segments
    assert (segment.label, segment.score) == ("b", 0.25)
    assert segment.runs.counts == (0, *(6,) * 16)


def test_a_point_where_no_candidate_is_goes_before_the_words(bench: Workbench) -> None:
    shown = {"positive": ((0.25, 0.5), (0.75, 0.5))}  # in no candidate together
    (segment,) = _reply(bench, replace(_pointing("a", **shown), expression="a half")).segments
    assert segment.score == 0.875
    (segment,) = _reply(
        bench, replace(_pointing("a", positive=((0.75, 0.5),)), expression="nothing")
    ).segments
    assert segment.score == 0.875


def _showing(columns: slice, marked: slice = slice(0, 0)) -> SegmentRequest:
    """A request for all like some columns of the picture, of which the right half is bright."""
    masks = np.zeros((2, 8, 12), dtype=np.bool_)
    masks[0, :, columns], masks[1, :, marked] = True, True
    exemplar = Exemplar(to_runs(masks[0]), to_runs(masks[0] | masks[1]))
    return replace(request("a", "b"), label="b", exemplar=exemplar)


def test_all_like_an_exemplar_are_candidates_with_its_label(bench: Workbench) -> None:
    asked = _showing(slice(6, 8), slice(11, 12))
    reply = _reply(bench, asked)
    assert [(s.label, s.level, s.score) for s in reply.segments] == [
        ("b", "candidate", 0.75),
        ("b", "candidate", 0.5),
    ]
    union = from_runs(reply.segments[0].runs) | from_runs(reply.segments[1].runs)
    assert union[:, 8:11].all()
    assert union.sum() == 8 * 3
    assert list(reply.seconds) == ["fetch", "decode", "alike", "runs"]
    assert 0 < bench.redis.ttl(f"dgl:reply:{asked.key}") <= 3600


def test_the_look_of_an_exemplar_finds_all_like_it_in_another_image(bench: Workbench) -> None:
    shown = _reply(bench, _showing(slice(6, 8)))
    assert shown.look is not None
    asked = replace(request("a", "b"), label="b", look=shown.look)
    reply = _reply(bench, asked)
    assert [(s.label, s.level, s.score) for s in reply.segments] == [
        ("b", "candidate", 0.75),
        ("b", "candidate", 0.5),
    ]
    union = from_runs(reply.segments[0].runs) | from_runs(reply.segments[1].runs)
    assert union[:, 6:].all(), "what is the exemplar's place there is any other here"
    assert reply.look is None
    assert bench.redis.ttl(f"dgl:reply:{asked.key}") > 3600, "it waits to be delivered"


def test_where_nothing_is_like_the_exemplar_of_another_image(bench: Workbench) -> None:
    shown = _reply(bench, _showing(slice(0, 2)))
    assert shown.look is not None
    reply = _reply(bench, replace(request("a"), label="a", look=shown.look))
    assert (reply.segments, reply.reason) == ((), "nothing here is enough like the exemplar")


def test_a_look_that_cannot_be_read_is_a_failure_with_the_way_out(bench: Workbench) -> None:
    for directions in (["AAA"], ["AAAA"], ["AHw="], ["ADw=", "ADwAPA=="]):  # AHw=: infinite
        examples = tuple(ExampleLook(1.0, 0.0, (0.0, 0.0, 0.0), each) for each in directions)
        asked = replace(request("a"), label="a", look=Look(examples))
        assert jobs.segment(bench, asked.to_json()) is None
        assert "ask for all like it again" in _message(bench, asked)
    assert failures.counts(bench.redis) == {"segment": 4}, "counted and listed like all others"


def test_an_exemplar_that_nothing_is_like_has_a_reason(bench: Workbench) -> None:
    reply = _reply(bench, _showing(slice(0, 2)))
    assert (reply.segments, reply.reason[:17]) == ((), "nothing else here")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (_pointing("a", prior=Runs(2, 2, (4,))), "2 × 2 pixels, but the image has 12 × 8"),
        (
            replace(request("a"), exemplar=Exemplar(Runs(2, 2, (0, 4)), Runs(2, 2, (4,)))),
            "the exemplar: made on 2 × 2 pixels, but the image has 12 × 8: draw or click one",
        ),
        (replace(_pointing("a"), image="http://127.0.0.1:9/a.png"), "cannot be reached"),
        (replace(_pointing("a"), model_version="v2"), "for the model v2"),
        (_pointing("a", box=(0.0, 0.0, 1.0, 1.0)), "an internal error"),
    ],
    ids=["size", "exemplar", "server", "model", "unforeseen"],
)
def test_who_waits_is_told_at_once(bench: Workbench, asked: SegmentRequest, message: str) -> None:
    assert jobs.segment(bench, asked.to_json()) is None  # no retry with a delay
    assert message in _message(bench, asked)
    assert 0 < bench.redis.ttl(f"dgl:failure:{asked.key}") <= 10  # another try may follow soon
    assert failures.counts(bench.redis) == {}  # whoever waits for it counts it


def test_a_prompt_that_kills_the_process_is_given_up_at_the_second_try(bench: Workbench) -> None:
    asked = _pointing("a", positive=((0.5, 0.5),))
    bench.redis.set(attempts_key(asked.key), 1)
    assert jobs.segment(bench, asked.to_json()) is None
    assert _message(bench, asked) == DEADLY_POINTED
