"""What somebody who points or types gets, at once or not at all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redis import Redis

from backend.project import label_config
from backend.prompts import context
from backend.prompts.memory import Memory
from dgl_rsis.runs import area
from tests.backend.prompts.regions import brush
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio
from tests.backend.web.serving import service
from tests.backend.worker_end import (
    PROJECT,
    VERSION,
    XML,
    candidates,
    task,
    waiting,
)
from workers.messages import ExampleLook, Exemplar, Look, SegmentRequest, VisualPrompt
from workers.queue import replies
from workers.queue.client import SegmentClient

NO_MASK = {"result": [], "score": 0.0, "model_version": VERSION}
ALIKE = {"result": [{"type": "textarea", "value": {"text": ["the grey ship", "all like this"]}}]}
TEXT = {"result": [{"type": "textarea", "value": {"text": ["the grey ship"]}}]}


def prompted(redis: Redis, text: str) -> SegmentRequest:
    """The request behind a text prompt on task 1."""
    plain = label_config.parse(XML).to_request(task(1), VERSION)
    return context.to_request(plain, context.InteractivePrompt(text))


def clicked(x: float, **more: Any) -> dict[str, Any]:
    """A keypoint as the browser sends it."""
    value = {"x": x, "y": 50.0, "width": 0.3, "keypointlabels": ["ship"]}
    size = {"original_width": 30, "original_height": 20, "to_name": "image"}
    return {"id": f"at {x}", "type": "keypointlabels", "value": value, **size, **more}


def pointed(pointed: VisualPrompt) -> SegmentRequest:
    """The request behind clicks on task 1."""
    plain = label_config.parse(XML).to_request(task(1), VERSION)
    return context.to_request(plain, context.InteractivePrompt("", "ship", pointed))


@pytest.mark.parametrize(
    ("of", "xml", "message"),
    [
        (task(1), XML, "The prompt cannot be read: its x is '43.75', not percent of the image"),
        (task(1, bild="a.png"), XML, "no 'image'"),
        (task(1), '<View><Image name="image" value="$image"/></View>', "no usable control"),
    ],
)
def test_a_prompt_that_cannot_be_asked_gets_an_empty_list_and_one_log_line(
    announced: Redis, caplog: pytest.LogCaptureFixture, of: Any, xml: str, message: str
) -> None:
    sent = {"result": [{"type": "keypointlabels", "value": {"x": "43.75", "y": 50.0}}]}
    serving = service(announced)
    assert list(serving.predict(PROJECT, xml, [of], sent)) == [NO_MASK]
    assert waiting(announced)["segment"] == 0
    (line,) = [r.getMessage() for r in caplog.records if "gets no mask" in r.getMessage()]
    assert message in line
    (failure,) = SegmentClient(announced).failures()
    assert (failure.stage, failure.task_id) == ("interactive", "1")
    assert message in failure.message
    assert SegmentClient(announced).failure_counts() == {"interactive": 1}
    failed = serving.metrics.registry.get_sample_value("dgl_tasks_total", {"outcome": "failed"})
    assert failed == 1


def test_a_prompt_before_the_first_worker_stands_on_the_status_page(redis: Redis) -> None:
    (answer,) = service(redis).predict(PROJECT, XML, [task(1)], TEXT)
    assert answer == {**NO_MASK, "model_version": ""}
    (failure,) = SegmentClient(redis).failures()
    assert (failure.stage, failure.task_id) == ("interactive", "1")
    assert "no segment worker" in failure.message


def test_a_click_is_answered_with_the_mask_and_the_next_one_remembers_it(
    announced: Redis,
) -> None:
    serving = service(announced)
    first = VisualPrompt(negative=((0.25, 0.5),))
    second = VisualPrompt(positive=((0.75, 0.5),), negative=((0.25, 0.5),))
    for asked, score in ((first, 0.8), (second, 0.9)):
        replies.store_reply(announced, pointed(asked).key, candidates(score), 3600)
    sent = {"result": [clicked(25, is_positive=False)]}
    (prediction,) = serving.predict(PROJECT, XML, [task(1)], sent)
    assert isinstance(prediction, dict)
    assert (prediction["score"], prediction["result"][0]["value"]["brushlabels"]) == (0.8, ["ship"])
    sent = {"result": [clicked(25), clicked(75, is_positive=True)]}
    (prediction,) = serving.predict(PROJECT, XML, [task(1)], sent)
    assert isinstance(prediction, dict)
    assert prediction["score"] == 0.9


def test_a_mask_without_a_region_is_said_and_not_shown_as_an_empty_answer(
    announced: Redis,
) -> None:
    asked = prompted(announced, "the grey ship")
    replies.store_reply(announced, asked.key, candidates(0.8, label="harbour"), 3600)
    assert list(service(announced).predict(PROJECT, XML, [task(1)], TEXT)) == [NO_MASK]
    (failure,) = SegmentClient(announced).failures()
    assert "too small for a region" in failure.message


class Submissions(SegmentClient):
    """A client that tells how jobs were submitted."""

    def submit(self, requests: Sequence[SegmentRequest], **options: bool) -> None:
        self.options = options
        super().submit(requests, **options)


def test_a_prompt_takes_the_queue_of_people_who_wait(announced: Redis) -> None:
    client = Submissions(announced)
    serving = service(announced, client=client)
    assert list(serving.predict(PROJECT, XML, [task(1)], TEXT)) == [NO_MASK]
    assert client.options == {"at_front": True, "interactive": True}


def test_a_text_prompt_is_answered_with_the_best_candidate(announced: Redis) -> None:
    asked = prompted(announced, "the grey ship")
    replies.store_reply(announced, asked.key, candidates(0.8, 0.5), 3600)
    serving = service(announced)
    (prediction,) = serving.predict(PROJECT, XML, [task(1)], TEXT)
    assert isinstance(prediction, dict)
    assert prediction["score"] == 0.8
    assert [r["value"]["brushlabels"] for r in prediction["result"]] == [["ship"]]
    # Nothing is stored for a prompt, so nothing is claimed: the same prompt is answered again.
    assert list(serving.predict(PROJECT, XML, [task(1)], TEXT)) == [prediction]
    # Accepted, it is what somebody asked for, not what nobody looked at.
    assert {region["origin"] for region in prediction["result"]} == {"prediction-changed"}


def test_a_text_prompt_without_an_answer_stands_on_the_status_page(announced: Redis) -> None:
    asked = prompted(announced, "the grey ship")
    nothing = replace(candidates(), reason="nothing here looks like 'ship'")
    replies.store_reply(announced, asked.key, nothing, 3600)
    assert list(service(announced).predict(PROJECT, XML, [task(1)], TEXT)) == [NO_MASK]
    (failure,) = SegmentClient(announced).failures()
    assert (failure.stage, failure.message) == ("interactive", "nothing here looks like 'ship'")


def test_a_text_prompt_goes_to_the_front_and_may_be_late(announced: Redis) -> None:
    serving = service(announced, single_task_seconds=0.2)
    SegmentClient(announced).submit([label_config.parse(XML).to_request(task(2), VERSION)])
    assert list(serving.predict(PROJECT, XML, [task(1)], TEXT)) == [NO_MASK]
    key = prompted(announced, "the grey ship").key
    assert announced.lindex("rq:queue:segment", 0) == f"segment-{key}".encode()
    (failure,) = SegmentClient(announced).failures()
    assert failure.message.startswith("no mask in time")


def alike(holding: dict[str, Any]) -> SegmentRequest:
    """The request behind "all like this" on a task."""
    config = label_config.parse(XML)
    prompt = context.read(ALIKE, config, holding, Memory())
    return context.to_request(config.to_request(holding, VERSION), prompt)


def with_a_drawn_ship() -> dict[str, Any]:
    """Task 1, whose draft holds a ship of three pixels that a person drew."""
    ship = np.zeros((20, 30), dtype=np.bool_)
    ship[15:18, 20] = True
    drawn = {
        **brush(ship, id="drawn", origin="manual"),
        "original_height": 20,
        "original_width": 30,
    }
    return {**task(1), "drafts": [{"result": [drawn]}]}


def test_all_like_a_mask_come_back_as_suggestions_of_one_answer(announced: Redis) -> None:
    holding = with_a_drawn_ship()
    asked = alike(holding)
    assert (asked.expression, asked.label, asked.pointed) == ("", "ship", None)
    assert asked.exemplar is not None
    assert area(asked.exemplar.mask) == 3
    replies.store_reply(announced, asked.key, candidates(0.9, 0.8, 0.4), 3600)
    (answer,) = service(announced).predict(PROJECT, XML, [holding], ALIKE)
    assert isinstance(answer, dict)
    regions = answer["result"]
    assert [region["score"] for region in regions] == [0.9, 0.8, 0.4]
    assert {tuple(region["value"]["brushlabels"]) for region in regions} == {("ship",)}
    assert {region["origin"] for region in regions} == {"prediction-changed"}
    assert len({region["id"] for region in regions} - {"drawn"}) == 3


def test_a_clicked_mask_is_the_exemplar_until_another_one_is(announced: Redis) -> None:
    """Neither does it go when all like it come, nor are these the exemplar of the next ones."""
    serving = service(announced)
    click = VisualPrompt(positive=((0.25, 0.5),))
    replies.store_reply(announced, pointed(click).key, candidates(0.8), 3600)
    sent = {"result": [clicked(25, is_positive=True)]}
    (first,) = serving.predict(PROJECT, XML, [task(1)], sent)
    assert isinstance(first, dict)
    (suggested,) = first["result"]
    mask = candidates(0.8).segments[0].runs
    plain = label_config.parse(XML).to_request(task(1), VERSION)
    asked = replace(plain, classes=True, label="ship", exemplar=Exemplar(mask, mask))
    replies.store_reply(announced, asked.key, candidates(0.9, 0.7), 3600)
    for _ in range(2):
        (answer,) = serving.predict(PROJECT, XML, [task(1)], ALIKE)
        assert isinstance(answer, dict)
        assert answer["result"][0] == suggested
        assert [region["score"] for region in answer["result"][1:]] == [0.9, 0.7]


def test_all_like_nothing_gets_the_reason(announced: Redis) -> None:
    (answer,) = service(announced).predict(PROJECT, REASONED, [task(1)], ALIKE)
    assert isinstance(answer, dict)
    (said,) = answer["result"]
    assert said["value"]["text"][0].startswith("There is no mask to go by: click or draw one")
    assert waiting(announced)["segment"] == 0


def test_where_nothing_is_like_it_the_reason_is_said(announced: Redis) -> None:
    holding = with_a_drawn_ship()
    nothing = replace(candidates(), reason="nothing else here is enough like it")
    replies.store_reply(announced, alike(holding).key, nothing, 3600)
    assert list(service(announced).predict(PROJECT, XML, [holding], ALIKE)) == [NO_MASK]
    (failure,) = SegmentClient(announced).failures()
    assert failure.message == "nothing else here is enough like it"


EVERYWHERE = {"result": [{"type": "textarea", "value": {"text": ["all like this in the project"]}}]}
LOOK = Look((ExampleLook(3.0, 1.0, (0.0, 0.0, 0.0), "AAAA"),))


@pytest.fixture
def connected(announced: Redis, studio: FakeStudio) -> FakeStudio:
    """A Label Studio whose project 1 is connected, and has the task that is pointed at."""
    identity = SegmentClient(announced).identity
    studio.answers = lambda _url: [VERSION, identity.challenged()]
    studio.connect("DGL-RSIS", VERSION)
    studio.label_config, studio.images[1] = REASONED, task(1)["data"]["image"]
    return studio


def test_all_like_a_mask_in_the_project_come_here_and_are_sought_there(
    announced: Redis, connected: FakeStudio
) -> None:
    """The answer says how many images are searched, and the next one takes that off the screen."""
    holding = with_a_drawn_ship()
    found = replace(candidates(0.9, 0.8), look=LOOK)
    replies.store_reply(announced, alike(holding).key, found, 3600)
    reaching = {"label_studio_url": connected.url, "label_studio_api_key": LEGACY_TOKEN}
    serving = service(announced, **reaching)
    (answer,) = serving.predict(PROJECT, REASONED, [holding], EVERYWHERE)
    assert isinstance(answer, dict)
    *masks, told = answer["result"]
    assert [region["score"] for region in masks] == [0.9, 0.8]
    assert told["value"]["text"][0].startswith("2 other images of the project are searched now;")
    assert waiting(announced)["segment"] == 2
    (again,) = serving.predict(PROJECT, REASONED, [holding], ALIKE)
    assert isinstance(again, dict)
    assert again["result"][-1]["value"] == {"text": []}
    assert SegmentClient(announced).failures() == []


def test_nothing_alike_here_does_not_keep_the_project_from_being_searched(
    announced: Redis, connected: FakeStudio
) -> None:
    holding = with_a_drawn_ship()
    nothing = replace(candidates(), reason="nothing else here is like it", look=LOOK)
    replies.store_reply(announced, alike(holding).key, nothing, 3600)
    reaching = {"label_studio_url": connected.url, "label_studio_api_key": LEGACY_TOKEN}
    (answer,) = service(announced, **reaching).predict(PROJECT, REASONED, [holding], EVERYWHERE)
    assert isinstance(answer, dict)
    (said,) = answer["result"]
    assert said["value"]["text"][0].startswith("Nothing else here is like it; 2 other images")
    assert waiting(announced)["segment"] == 2


def test_without_a_key_the_masks_come_and_the_project_is_not_searched(announced: Redis) -> None:
    holding = with_a_drawn_ship()
    found = replace(candidates(0.9), look=LOOK)
    replies.store_reply(announced, alike(holding).key, found, 3600)
    (answer,) = service(announced).predict(PROJECT, REASONED, [holding], EVERYWHERE)
    assert isinstance(answer, dict)
    mask, told = answer["result"]
    assert mask["score"] == 0.9
    assert "LABEL_STUDIO_API_KEY" in told["value"]["text"][0]
    assert waiting(announced)["segment"] == 0


def test_an_exemplar_whose_label_no_mask_can_have_is_refused(announced: Redis) -> None:
    holding = with_a_drawn_ship()
    holding["drafts"][0]["result"][0]["value"]["brushlabels"] = ["cloud"]
    assert list(service(announced).predict(PROJECT, XML, [holding], ALIKE)) == [NO_MASK]
    (failure,) = SegmentClient(announced).failures()
    assert "'cloud' is none that a mask can have" in failure.message


FIELD = '<TextArea name="reason" toName="image" maxSubmissions="0"/>'
REASONED = XML.replace("</View>", f"{FIELD}</View>")
OPEN = REASONED.replace(' maxSubmissions="0"', "")


def test_a_project_with_a_field_for_reasons_shows_why_there_is_no_mask(announced: Redis) -> None:
    nothing = replace(candidates(), reason="too dark.")
    replies.store_reply(announced, pointed(VisualPrompt(((0.25, 0.5),))).key, nothing, 3600)
    serving = service(announced)
    sent = {"result": [clicked(25, is_positive=True)]}
    (answer,) = serving.predict(PROJECT, REASONED, [task(1)], sent)
    assert isinstance(answer, dict)
    (said,) = answer["result"]
    assert (said["from_name"], said["to_name"], said["type"]) == ("reason", "image", "textarea")
    assert said["value"]["text"] == ["Too dark. Ctrl + Z takes the point or box away."]
    assert "dynamic" not in said, "accepted by itself it would never be seen"

    second = VisualPrompt(((0.25, 0.5), (0.75, 0.5)))
    replies.store_reply(announced, pointed(second).key, candidates(0.8), 3600)
    sent = {"result": [clicked(25), clicked(75, is_positive=True)]}
    (answer,) = serving.predict(PROJECT, REASONED, [task(1)], sent)
    assert isinstance(answer, dict)
    mask, unsaid = answer["result"]
    assert mask["value"]["brushlabels"] == ["ship"]
    assert (unsaid["from_name"], unsaid["value"], unsaid["dynamic"]) == (
        "reason",
        {"text": []},
        True,
    )
    (answer,) = serving.predict(PROJECT, REASONED, [task(1)], sent)
    assert isinstance(answer, dict)
    assert len(answer["result"]) == 1, "there is nothing left to take back"


def test_a_reason_is_no_sentence_and_a_sentence_leaves_no_point(announced: Redis) -> None:
    asked = prompted(announced, "the grey ship")
    replies.store_reply(announced, asked.key, replace(candidates(), reason="none"), 3600)
    reason = {"type": "textarea", "from_name": "reason", "value": {"text": ["too dark"]}}
    sent = {"result": [*TEXT["result"], reason]}
    (answer,) = service(announced).predict(PROJECT, REASONED, [task(1)], sent)
    assert isinstance(answer, dict)
    assert answer["result"][0]["value"]["text"] == ["None."]


def test_a_field_into_which_people_type_is_left_to_them(announced: Redis) -> None:
    nothing = replace(candidates(), reason="too dark.")
    first, second = VisualPrompt(((0.25, 0.5),)), VisualPrompt(((0.25, 0.5), (0.75, 0.5)))
    replies.store_reply(announced, pointed(first).key, nothing, 3600)
    replies.store_reply(announced, pointed(second).key, candidates(0.8), 3600)
    serving = service(announced)
    sent = {"result": [clicked(25, is_positive=True)]}
    assert list(serving.predict(PROJECT, OPEN, [task(1)], sent)) == [NO_MASK]
    sent = {"result": [clicked(25), clicked(75, is_positive=True)]}
    (answer,) = serving.predict(PROJECT, OPEN, [task(1)], sent)
    assert isinstance(answer, dict)
    assert [region["type"] for region in answer["result"]] == ["brushlabels"]


def test_nothing_is_said_when_the_last_point_was_taken_away(announced: Redis) -> None:
    (answer,) = service(announced).predict(PROJECT, REASONED, [task(1)], {"result": []})
    assert isinstance(answer, dict)
    assert answer["result"] == []
    assert SegmentClient(announced).failures() == []
