"""Models beside each other: what is asked, the numbers, the advice and the picture."""

from pathlib import Path

import numpy as np
import pytest

from backend.commands.trial import run
from backend.commands.trial.measure import Measured, measure, referred
from backend.commands.trial.run import Trial
from dgl_rsis.evaluation.datasets.samples import Sample
from tests.dgl_rsis.sam.small_folders import sam2_folder, sam3_folder
from workers.settings import WorkerSettings

SET = Path(__file__).parents[4] / "samples" / "set"
NAMES = ("building", "road")


def tile() -> Sample:
    truth = np.full((200, 200), 1, dtype=np.uint16)
    truth[10:60, 10:60] = 0
    truth[100:130, 120:150] = 0
    return Sample("t", np.zeros((200, 200, 3), dtype=np.uint8), truth)


def test_sentences_mean_one_thing_only() -> None:
    asked = dict(referred(tile(), NAMES))
    assert asked["the largest building"][20, 20]
    assert asked["the leftmost building"][20, 20]
    assert asked["the rightmost building"][110, 130]
    assert asked["the lowest building"][110, 130]
    assert asked["the road"].sum() == 200 * 200 - 50 * 50 - 30 * 30
    close = tile()
    close.truth[close.truth == 0] = 1
    close.truth[10:40, 10:40] = 0
    close.truth[12:42, 90:120] = 0  # as large, and hardly lower
    asked = dict(referred(close, NAMES))
    assert set(asked) == {"the leftmost building", "the rightmost building", "the road"}


def test_the_starter_is_measured_on_the_tiles_that_ship() -> None:
    found = measure(WorkerSettings(), SET)
    assert found.problem == ""
    assert 0.1 < found.miou < 1
    assert 0 <= found.sentences < 1
    assert 0.2 < found.clicked < 1
    assert found.mib > 100
    assert len(found.maps) == 2


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    assert "no weight file" in measure(WorkerSettings(model="RN50:gone.pt"), SET).problem
    named = run.trial("nothing-here", WorkerSettings(models_dir=tmp_path), SET)
    assert "no model 'nothing-here'" in named.measured.problem


@pytest.mark.parametrize(
    ("name", "model", "proposals"),
    [
        ("starter", "starter", "regions"),
        ("RN50:a.pt", "RN50:a.pt", "regions"),
        ("vit_b:a.pth", "starter", "vit_b:a.pth"),
    ],
)
def test_a_name_is_tried_as_what_it_is(
    name: str, model: str, proposals: str, tmp_path: Path
) -> None:
    settings = run.settings_of(name, WorkerSettings(models_dir=tmp_path))
    assert (settings.model, settings.proposals) == (model, proposals)


def test_folders_are_tried_as_what_they_are(tmp_path: Path) -> None:
    usual = WorkerSettings(models_dir=tmp_path)
    clicks, concepts = str(sam2_folder()), str(sam3_folder())
    tried = run.settings_of(clicks, usual)
    assert (tried.model, tried.proposals) == ("starter", clicks)
    tried = run.settings_of(concepts, usual)
    assert (tried.model, tried.proposals) == (concepts, concepts)


def trial(model: str, proposals: str = "regions", **changes: float) -> Trial:
    numbers = {
        "miou": 0.4, "sentences": 0.2, "clicked": 0.5, "image_seconds": 1.0, "click_seconds": 0.1,
        "mib": 900,
    } | changes  # fmt: skip
    return Trial(model, proposals, Measured(**numbers))


def test_the_advice_is_the_best_that_people_can_wait_for() -> None:
    trials = [
        trial("starter"),
        trial("better", miou=0.5),
        trial("slow", miou=0.9, image_seconds=100.0),
        trial("huge", miou=0.9, mib=10**9),
        trial("starter", "sam", clicked=0.9),
        trial("starter", "slow-sam", clicked=0.95, click_seconds=9.0),
        Trial("broken", "", Measured(problem="it is a web page")),
    ]
    assert "MODEL=better PROPOSALS=sam." in run.advice(trials)
    text = run.table(trials)
    assert "broken: it is a web page" in text
    assert "0.900" in text
    assert "none of them fits" in run.advice(trials[-1:])


def test_the_picture_has_a_column_for_each(tmp_path: Path) -> None:
    maps = [np.ones((256, 256), dtype=np.uint16)] * 2
    drawn = [trial("a", maps=maps), trial("b", "sam", maps=maps)]
    broken = Trial("broken", "", Measured(problem="no"))
    picture = run.picture([*drawn, broken], SET)
    assert picture.shape[1] == 4 * (256 + run.GAP)
