"""Projects of a real Label Studio with the real backend connected."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from samples.servers import Studio
from samples.studio import (
    LABEL_CONFIG,
    connect_backend,
    create_project,
    import_images,
    sample_images,
)

FOLLOWING_SECONDS = 240


@dataclass(frozen=True)
class Project:
    """A project of the running Label Studio with the backend connected.

    Attributes:
        id: of the project.
        tasks: ids of its tasks, one an image.
    """

    id: int
    tasks: list[int]


def connection_of(studio: Studio, token: str) -> dict[str, str]:
    """The environment that connects a backend to Label Studio."""
    return {
        "LABEL_STUDIO_URL": studio.base_url,
        "LABEL_STUDIO_API_KEY": token,
        "LOCAL_FILES_DOCUMENT_ROOT": str(studio.files),
        # Rather a slow machine that passes than one that opens a task without masks.
        "SINGLE_TASK_SECONDS": "90",
    }


def make_project(studio: Studio, title: str, backend: str, images: int) -> Project:
    """A project with that many sample images and the backend connected."""
    project = create_project(studio, title, LABEL_CONFIG)
    tasks = import_images(studio, project, sample_images()[:images])
    assert len(tasks) == images, f"samples/ has fewer than {images} images"
    connect_backend(studio, project, backend)
    return Project(project, tasks)


def webhook(studio: Studio, project: int) -> dict[str, Any]:
    """The only one of a project."""
    (made,) = studio.api("GET", "/api/webhooks/", params={"project": project})
    assert made["url"].endswith("/webhook")
    return dict(made)


def wait_until(true: Callable[[], bool]) -> None:
    """For what happens after an answer: jobs that see to a project come some seconds later."""
    end = time.monotonic() + FOLLOWING_SECONDS
    while not true():
        assert time.monotonic() < end, f"not within {FOLLOWING_SECONDS} s"
        time.sleep(0.5)
