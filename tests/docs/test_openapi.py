"""docs/openapi.yaml describes the HTTP interface: every route with its methods, and no other."""

import re
from typing import Any

import pytest
import yaml

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.paths import ROOT

METHODS = ("get", "put", "post", "patch", "delete")
OPENAPI = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))


def routes() -> dict[tuple[str, str], str]:
    """Path and method → name of the function, of the application."""
    app = create_app(Settings.model_construct(redis_url="redis://127.0.0.1:1/0"))
    told = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            told[path, method.lower()] = rule.endpoint
    return told


def described() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method): operation
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    operations = {key: each["operationId"] for key, each in described().items()}
    assert operations == routes()


@pytest.mark.parametrize("path", OPENAPI["paths"])
def test_every_parameter_of_a_path_is_described(path: str) -> None:
    given = [
        each["$ref"].rpartition("/")[2] for each in OPENAPI["paths"][path].get("parameters", [])
    ]
    names = {OPENAPI["components"]["parameters"][each]["name"] for each in given}
    assert names == set(re.findall(r"{(\w+)}", path))


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    text = (ROOT / "docs" / "openapi.yaml").read_text("utf-8")
    used = set(re.findall(r"#/components/(\w+)/(\w+)", text))
    parts = {
        (kind, name)
        for kind, held in OPENAPI["components"].items()
        if kind != "securitySchemes"
        for name in held
    }
    assert used == parts


def test_the_description_has_the_version_of_the_project() -> None:
    from importlib.metadata import version

    assert OPENAPI["info"]["version"] == version("dgl-rsis")
