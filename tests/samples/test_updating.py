from pathlib import Path
from typing import Any

import pytest
import requests

from backend.commands.demo.processes import StartError
from samples.servers import Account, Studio
from samples.studio import INSTRUCTION, LABEL_CONFIG
from samples.updating import WRITTEN, digest_of, update

EARLIER = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image"><Label value="building"/></BrushLabels>
</View>"""


class OneProject(Studio):
    """A Label Studio with one project, of which it keeps what is set."""

    def __init__(self, label_config: str, annotations: int = 0, skipped: int = 0) -> None:
        account = Account("demo@example.com", "", "")
        super().__init__("", account, requests.Session(), None, Path())  # type: ignore[arg-type]
        self.project: dict[str, Any] = {
            "label_config": label_config.strip(),
            "expert_instruction": "",
            "show_instruction": False,
            "total_annotations_number": annotations,
            "skipped_annotations_number": skipped,
        }

    def api(self, method: str, path: str, **options: Any) -> Any:
        assert path == "/api/projects/7/"
        if method == "PATCH":
            self.project |= options["json"]
        return self.project


class Refusing(OneProject):
    def api(self, method: str, path: str, **options: Any) -> Any:
        if method == "PATCH":
            raise StartError("400: a draft\nhas that label")
        return super().api(method, path, **options)


@pytest.fixture(autouse=True)
def _written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samples.updating.WRITTEN", (*WRITTEN, digest_of(EARLIER)))


def brought_up(studio: Studio) -> str:
    return update(studio, 7, LABEL_CONFIG, INSTRUCTION)


def test_the_label_config_of_the_demo_is_known_to_later_ones() -> None:
    digest = digest_of(LABEL_CONFIG)
    assert digest == WRITTEN[-1], f"append {digest} to WRITTEN in samples/updating.py"


def test_an_earlier_demo_gets_the_label_config_and_instruction_of_this_one() -> None:
    studio = OneProject(EARLIER)
    assert brought_up(studio) == ""
    assert studio.project["label_config"] == LABEL_CONFIG
    assert studio.project["expert_instruction"] == INSTRUCTION
    assert studio.project["show_instruction"]


@pytest.mark.parametrize(
    ("studio", "cause"),
    [
        (OneProject(EARLIER, annotations=1), "it has 1 annotation;"),
        (OneProject(EARLIER, annotations=1, skipped=2), "it has 3 annotations;"),
        (
            OneProject(EARLIER.replace("building", "roof")),
            "its label config is none that a demo wrote",
        ),
        (Refusing(EARLIER), "400: a draft has that label"),
    ],
)
def test_what_a_person_did_is_kept_and_said_in_a_line(studio: OneProject, cause: str) -> None:
    before = dict(studio.project)
    said = brought_up(studio)
    assert cause in said
    assert "\n" not in said
    assert studio.project == before


def test_of_this_demo_nothing_is_set_and_nothing_said() -> None:
    studio = OneProject(LABEL_CONFIG, annotations=3)
    before = dict(studio.project)
    assert brought_up(studio) == ""
    assert studio.project == before
