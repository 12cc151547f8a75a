"""The model in the process of the command, and what others prepare for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.commands.prelabel.engines import LocalEngine
from backend.commands.prelabel.items import Answered, PrelabelItem, Stop
from backend.commands.prelabel.requests import Requests
from backend.project import label_config
from tests.gallery import GONE, Gallery, shown
from workers.messages import SegmentReply
from workers.queue.replies import Failure
from workers.settings import WorkerSettings

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="mask" toName="image"><Label value="ship"/><Label value="tree"/></BrushLabels>
</View>"""


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with shown() as gallery:
        yield gallery


def _engine(model: Path, prefetch: int, stop: Stop | None = None) -> LocalEngine:
    hosts = ("127.0.0.1",)
    settings = WorkerSettings(model=str(model), prefetch=prefetch, allowed_image_hosts=hosts)
    return LocalEngine(settings, stop or Stop())


def _requests(engine: LocalEngine) -> Requests:
    config = label_config.parse(CONFIG)
    return Requests(config, engine.model_version, root=None, max_bytes=10**6)


def _item(gallery: Gallery, number: int) -> PrelabelItem:
    return PrelabelItem(str(number), {"data": {"image": gallery.address(number)}})


def _segments(answered: list[Answered]) -> list[object]:
    return [
        each.answer.segments if isinstance(each.answer, SegmentReply) else each.answer.message
        for each in answered
    ]


def test_the_next_image_is_opened_while_the_model_works(
    gallery: Gallery, model_folder: Path
) -> None:
    count = 4
    engine = _engine(model_folder, 2)
    segment, numbers = engine._segmenter.segment, iter(range(1, count))

    def after_the_next_was_asked_for(*arguments: Any, **named: Any) -> Any:
        if (number := next(numbers, None)) is not None:
            gallery.wait(number)
        return segment(*arguments, **named)

    engine._segmenter.segment = after_the_next_was_asked_for  # type: ignore[method-assign]
    items = [_item(gallery, number) for number in range(count)]
    items.insert(1, PrelabelItem("none", {"data": {}}))
    meanwhile = [each for some in engine.answers(_requests(engine), items) for each in some]
    assert [each.item for each in meanwhile] == items
    assert sorted(gallery.asked) == list(range(count))
    assert isinstance(meanwhile[1].answer, Failure)

    alone = _engine(model_folder, 0)
    one_by_one = [each for some in alone.answers(_requests(alone), items) for each in some]
    assert _segments(one_by_one) == _segments(meanwhile)


def test_what_was_drawn_is_left_when_the_run_is_stopped(
    gallery: Gallery, model_folder: Path
) -> None:
    stop = Stop()
    engine = _engine(model_folder, 2, stop)
    answers = engine.answers(_requests(engine), (_item(gallery, n) for n in range(9)))
    assert [each.item.name for each in next(answers)] == ["0"]
    stop.asked = True
    assert list(answers) == []


def test_an_image_that_is_not_there_fails_alone(gallery: Gallery, model_folder: Path) -> None:
    engine = _engine(model_folder, 2)
    items = [_item(gallery, number) for number in (0, GONE, 1)]
    answered = [each for some in engine.answers(_requests(engine), items) for each in some]
    kinds = [type(each.answer) for each in answered]
    assert kinds == [SegmentReply, Failure, SegmentReply]
