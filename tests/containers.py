"""The container files, read as Compose and the builder read them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.paths import ROOT

BASE = "docker-compose.yml"
STUDIO = "docker-compose.studio.yml"
NETWORK = "docker-compose.network.yml"
FILES = (BASE, STUDIO, NETWORK)

NEEDED = {  # what .env must hold, by the file that needs it
    BASE: {
        "VALKEY_PASSWORD": "0123456789abcdef",
        "LABEL_STUDIO_URL": "http://host.docker.internal:8080",
        "LABEL_STUDIO_API_KEY": "fedcba9876543210",
    },
    STUDIO: {"STUDIO_USERNAME": "me@example.com", "STUDIO_PASSWORD": "long enough"},
    NETWORK: {"STUDIO_NETWORK": "label-studio_default"},
}
GIVEN = {name: value for needed in NEEDED.values() for name, value in needed.items()}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def compose(given: dict[str, str], *files: str) -> dict[str, Any]:
    """The files, merged and with their variables, as `docker compose config` shows them.

    Args:
        given: what .env holds.
        files: by name, each over those before it; none is the base file alone.

    Raises:
        AssertionError: a variable that has no default is not given.
    """
    merged: dict[str, Any] = {}
    for name in files or (BASE,):
        read = yaml.safe_load((ROOT / name).read_text())
        merged = _merged(merged, _interpolated(read, given))
    return merged


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {name: _merged(below.get(name), each) for name, each in above.items()}
    return above


def _interpolated(node: Any, given: dict[str, str]) -> Any:
    """As Compose does it, in each text of the parsed file, for the forms that the files use."""
    if isinstance(node, dict):
        return {name: _interpolated(value, given) for name, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, given) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        text = given.get(match[2], "")
        assert text or match[3] != "?", f"{match[2]} is needed"
        return text or (match[4] or "")

    return VARIABLE.sub(value, node)


def variables(*files: str) -> set[str]:
    """The variables that files of Compose take."""
    text = "".join((ROOT / name).read_text() for name in files)
    return {match[2] for match in VARIABLE.finditer(text) if match[2]}


def _stages() -> dict[str, list[str]]:
    """Stage of the Dockerfile → its instructions, those of its base stage first."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", "", text)
    stages: dict[str, list[str]] = {}
    current: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = stages[match[2]] = list(stages.get(match[1], []))
        else:
            current.append(line)
    return stages


STAGES = _stages()


def instruction(stage: str, name: str) -> str:
    """The last instruction of that name, which is the one that counts."""
    return [line.removeprefix(f"{name} ") for line in STAGES[stage] if line.startswith(name)][-1]


def health_command(service: dict[str, Any]) -> list[str]:
    """The health check of a service, or else of its image."""
    if "healthcheck" in service:
        return list(service["healthcheck"]["test"][1:])
    check = instruction(service["build"]["target"], "HEALTHCHECK")
    return list(json.loads(check.partition("CMD ")[2]))


def build_context() -> list[Path]:
    """What .dockerignore leaves of the project, relative to it: files and folders."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [Path(line[1:]) for line in lines if line.startswith("!")]
