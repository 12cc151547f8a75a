from typing import Any

import pytest

from backend.studio.client import StudioClient, StudioError
from backend.studio.shown import Standing, change_for, show, standing
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio

BASE = "dgl-rsis-0.1.0-starter-0123abcd"
VERSION = f"{BASE}+p01234567"
OTHER = "dgl-rsis-0.1.0-vit-l-89abcdef"  # of another server


@pytest.fixture
def rest(studio: FakeStudio) -> StudioClient:
    studio.add({"task": 1, "result": [], "score": 0.5, "model_version": VERSION})
    return StudioClient(studio.url, LEGACY_TOKEN)


def shown(rest: StudioClient) -> str:
    """Have project 1 show VERSION; what a person has to do."""
    return show(rest, 1, standing(rest, 1), VERSION)


def test_the_title_that_is_shown_becomes_the_version(
    rest: StudioClient, studio: FakeStudio
) -> None:
    studio.connect("DGL-RSIS", BASE)
    assert shown(rest) == ""
    assert (studio.shown, studio.backends[0]["title"]) == (VERSION, VERSION)
    assert shown(rest) == ""
    assert studio.history == [VERSION], "it was set although it was"


def test_a_backend_with_a_login_keeps_it(rest: StudioClient, studio: FakeStudio) -> None:
    studio.connect("DGL-RSIS", BASE) | {}
    studio.backends[0] |= {"auth_method": "BASIC_AUTH", "basic_auth_user": "me"}
    assert shown(rest) == ""
    assert studio.shown == VERSION


def test_without_a_backend_the_project_gets_the_version(
    rest: StudioClient, studio: FakeStudio
) -> None:
    assert shown(rest) == ""
    assert studio.shown == VERSION


def test_without_rights_it_is_said_what_to_set(rest: StudioClient, studio: FakeStudio) -> None:
    studio.connect("DGL-RSIS", BASE)
    studio.forbids = True
    note = shown(rest)
    for words in ("Settings → Model", "Edit", f"write {VERSION} as Name", "403"):
        assert words in note
    assert studio.history == []


def test_another_trouble_is_an_error(rest: StudioClient, studio: FakeStudio) -> None:
    stands = standing(rest, 1)
    studio.troubles = [500]
    with pytest.raises(StudioError, match="500"):
        show(rest, 1, stands, VERSION)


def backend(title: str, version: str = BASE) -> dict[str, Any]:
    return {"id": 1, "title": title, "model_version": version}


@pytest.mark.parametrize(
    ("stands", "renamed", "chosen", "note"),
    [
        # What the project shows · its backends → what is set · what is said.
        (Standing("x", True, {}, [backend("x")]), "x", False, ""),
        (Standing(VERSION, True, {}, [backend(VERSION)]), None, False, ""),
        (Standing(BASE, True, {}, [backend(BASE)]), BASE, False, ""),
        (Standing("", True, {}, [backend("x")]), "x", True, ""),
        (Standing(BASE, True, {}, [backend(f"{BASE}+p1")]), f"{BASE}+p1", True, ""),
        (Standing(BASE, True, {}, [backend("mine")]), None, True, "is not chosen"),
        (Standing("human-v1", True, {}, [backend("mine")]), None, False, "choose"),
        (Standing("other", True, {}, [backend("other", "yolo-3")]), None, False, "choose"),
        (Standing("human-v1", True, {}, []), None, False, "choose"),
        (Standing(BASE, True, {}, []), None, True, ""),
        (Standing("", False, {}, [backend("x")]), None, False, "turn on"),
        (Standing("b", True, {}, [backend("a"), backend("b")]), "b", False, ""),
        (Standing("b", True, {}, [backend("a", "yolo"), backend("b")]), "b", False, ""),
        # Of two of our servers each has its own.
        (Standing("a", True, {}, [backend("b", OTHER), backend("a")]), "a", False, ""),
        (Standing("", True, {}, [backend("b", OTHER), backend("a")]), "a", True, ""),
        (Standing("b", True, {}, [backend("a"), backend("b", OTHER)]), None, False, "2 backends"),
        (Standing(OTHER, True, {}, [backend(BASE), backend(OTHER, OTHER)]), None, False, "“"),
        (Standing(f"{OTHER}+p1", True, {}, [backend(BASE), backend("b", OTHER)]), None, False, "“"),
        (Standing(BASE, True, {}, [backend(BASE), backend(OTHER, OTHER)]), BASE, False, ""),
        (Standing("b", True, {}, [backend("b", OTHER), backend("c", OTHER)]), None, False, "“"),
        (Standing("", True, {}, [backend("a"), backend("b")]), None, False, "2 backends"),
    ],
)
def test_what_is_set_and_what_is_left_to_a_person(
    stands: Standing, renamed: str | None, chosen: bool, note: str
) -> None:
    change = change_for(stands, VERSION)
    assert (change.renamed and change.renamed["title"], change.chosen) == (renamed, chosen)
    assert (note in change.note) if note else change.note == ""


def test_two_of_our_servers_do_not_rename_in_turn(rest: StudioClient, studio: FakeStudio) -> None:
    studio.add({"task": 2, "result": [], "score": 0.5, "model_version": OTHER})
    studio.connect("DGL-RSIS", BASE)
    studio.connect("nice model", OTHER)
    studio.shown = "nice model"
    assert "“nice model”" in shown(rest)
    assert [each["title"] for each in studio.backends] == ["DGL-RSIS", "nice model"]
    assert show(rest, 1, standing(rest, 1), OTHER) == ""
    assert [each["title"] for each in studio.backends] == ["DGL-RSIS", OTHER]
    assert OTHER in shown(rest)
    assert studio.shown == OTHER
