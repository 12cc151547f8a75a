"""What the benchmarks ask of a backend, as Label Studio asks it."""

from collections.abc import Sequence
from typing import Any

import requests

LONGEST_SECONDS = 700


def predict(
    url: str, label_config: str, names: Sequence[str], context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One /predict of local files, each a task with an id of its own.

    Args:
        url: of the backend.
        label_config: XML of the project.
        names: of the files, below LOCAL_FILES_DOCUMENT_ROOT.
        context: of an interactive call.
    """
    body = {
        "tasks": [
            {"id": hash(name) % 10**9, "data": {"image": f"/data/local-files/?d={name}"}}
            for name in names
        ],
        "project": "1.1",
        "label_config": label_config,
        "params": {"login": None, "password": None, "context": context},
    }
    response = requests.post(f"{url}/predict", json=body, timeout=LONGEST_SECONDS)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
