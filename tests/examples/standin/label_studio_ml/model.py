"""Stands in for label-studio-ml 2.x, which the package index does not have: its calls, no more.

The base class: a store of strings by project, and setup() at the end of the constructor.
"""

from typing import Any

STORE: dict[tuple[str, str], str] = {}
TRAINS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


class LabelStudioMLBase:
    INITIAL_MODEL_VERSION = "0.0.1"

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self) -> None: ...

    def get(self, key: str) -> str | None:
        return STORE.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        assert isinstance(value, str), "Value must be a string"
        STORE[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")

    def process_event(self, event: str, data: Any, job_id: str, extra: dict[str, Any]) -> Any:
        if event in TRAINS:
            return self.fit(event=event, data=data, job_id=job_id, **extra)
        return None

    def fit(self, event: str, data: Any, **extra: Any) -> Any: ...
