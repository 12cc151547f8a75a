"""The job that has one project follow what it is served.

What a project learns gives it another model version. Its open tasks then get new predictions,
behind all that waits, and when they have them Label Studio is told to show that version: never
before, so that the data manager's score column is not blank in between.

A run does little and leaves the rest to the next one, since deliveries wait for the same worker.
Who asks for a run is `workers.queue.following`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rq import get_current_job

from backend.project import label_config
from backend.project.tasks import TaskError
from backend.studio.client import StudioClient, StudioError, versions_of
from backend.studio.connection import NOT_CONNECTED, connection_of
from backend.studio.environment import studio_of_environment
from backend.studio.shown import Standing, by_hand, show, standing
from backend.studio.webhooks import secure
from dgl_rsis.types import Json
from workers.messages import DeliveryRequest, SegmentRequest, Served, base_of
from workers.queue.client import SegmentClient
from workers.queue.packing import read_or_drop
from workers.queue.progress import Following, Progress
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

PAGE = 200  # tasks of a call
PAGES = 5  # of a run
MOST_MISSING = 50  # tasks in work: what is learnt next waits behind them
FIRST_WAIT, LONGEST_WAIT = 60, 24 * 3600  # seconds until the next look at what is missing
BUSY_SECONDS = 5.0
AWAY_SECONDS = 300.0
NOT_FOLLOWED = "Nothing is stored with its tasks, and nothing learnt from them"


def follow(payload: dict[str, Any]) -> str:
    """Go one step; the function that RQ calls.

    Args:
        payload: `project`, Label Studio's id, digits.

    Returns:
        What came of it, for the log.

    Raises:
        QueueError: Redis cannot be reached at present.
    """
    job = get_current_job()
    assert job is not None, "follow() runs as an RQ job only"
    settings, project = WorkerSettings(), read_or_drop(_project, payload)
    if project is None:
        return "dropped: it names no project"
    client = SegmentClient(
        job.connection, settings.reply_days, settings.refresh_seconds, settings.max_waiting
    )
    state = Following(job.connection, project)
    if not state.begin(job.id):
        client.following.later(project, BUSY_SECONDS)
        return "another job is at it"
    try:
        served = client.served(project, learns=settings.learn)
        outcome = _step(client, state, project, served, learns=settings.learn)
    finally:
        state.end()
    LOG.debug("project %s: %s", project, outcome)
    return outcome


def _project(payload: dict[str, Any]) -> str:
    return str(int(payload["project"]))


def _step(
    client: SegmentClient, state: Following, project: str, served: Served | None, *, learns: bool
) -> str:
    if served is None:
        return "no worker has announced its model yet"
    connection = None
    try:
        studio = studio_of_environment()
    except StudioError as error:
        outcome, note = str(error), _note(served, error)
    else:
        try:
            connection = connection_of(project, client, studio)
            if connection is None:
                return _strange(client, state, project, NOT_CONNECTED)
            missing = secure(project, connection, client, studio) if learns else ""
            outcome, note = Run(client, studio, state, int(project), served).step()
            note = ". ".join(filter(None, (note, missing)))
        except StudioError as error:
            # Anybody may name a project that there is not: of that nothing is done later.
            if error.retry or (error.may_pass and connection is not None):
                client.following.later(project, AWAY_SECONDS)
            if error.retry:
                return f"not now: {error}"
            if connection is None:
                return _strange(client, state, project, str(error))
            outcome, note = (
                str(error),
                f"{by_hand(served.version)}. It is not done by itself: {error}",
            )
    if state.say(note):
        LOG.warning("project %s: %s", project, note)
    return outcome


def _strange(client: SegmentClient, state: Following, project: str, cause: str) -> str:
    """Of a project that is not connected nothing is touched; it is said where it has a page.

    Anybody may name one, so nothing is kept of others.
    """
    if project in client.known_projects() and state.say(f"{NOT_FOLLOWED}: {cause}"):
        LOG.warning("project %s: %s: %s", project, NOT_FOLLOWED, cause)
    return cause


def _note(served: Served, error: StudioError) -> str:
    return f"{by_hand(served.version)}. It does not happen by itself: {error}"


@dataclass(frozen=True)
class Run:
    """One step of one project.

    Attributes:
        client: the queue.
        studio: Label Studio.
        state: what is remembered.
        project: Label Studio's id.
        served: what the project is served.
    """

    client: SegmentClient
    studio: StudioClient
    state: Following
    project: int
    served: Served

    def step(self) -> tuple[str, str]:
        """Look at the next tasks, ask for what they miss, show the version once nothing is missed.

        Returns:
            What came of it, and what a person has to set; empty for nothing.

        Raises:
            StudioError: unreachable or refused.
        """
        version, stands = self.served.version, standing(self.studio, self.project)
        progress = self.state.progress()
        if progress.version != version:
            self.state.restart(version)
            progress = self.state.progress()
        note = ""
        blank = not stands.counts.get(stands.shown)  # nothing to lose
        if blank and stands.counts.get(version):
            note = show(self.studio, self.project, stands, version)
        missing = self._look_after(progress)
        if progress.walked:
            over = not missing
        else:
            over = self._walk(stands, progress, len(missing)) and not self.state.progress().missing
        if not over:
            return self._wait(), note
        if not stands.counts.get(version):  # as of before the walk, which found nothing missing
            return f"no task has a prediction of {version} yet", note
        if not blank:
            note = show(self.studio, self.project, stands, version)
        return f"shows {version}", note

    def _look_after(self, progress: Progress) -> set[int]:
        """The tasks that still miss a prediction; those that had to wait long are asked after."""
        missing = set(progress.missing)
        if not missing or not progress.wait:
            return missing
        listed = {int(t["id"]): t for t in self.studio.tasks_of(self.project, sorted(missing))}
        settled = {task for task in missing if self._is_settled(listed.get(task))}
        self.state.settle(settled, progress.wait)
        return missing - settled

    def _is_settled(self, task: Json | None) -> bool:
        if task is None or not _is_open(task):
            return True
        return self.studio.has_prediction(task, self.served.version)

    def _walk(self, stands: Standing, progress: Progress, missing: int) -> bool:
        """Look at the next tasks, and have those predicted that were before they learnt.

        Returns:
            Whether all were looked at.
        """
        after = progress.after
        for _ in range(PAGES):
            if missing >= MOST_MISSING:
                return False
            page, _ = self.studio.tasks_after(self.project, after, PAGE)
            if not page:
                self.state.walked(after, {}, all_of_them=True)
                return True
            stale: dict[int, str] = {}
            for number, task in enumerate(page, 1):
                after = int(task["id"])
                if self._misses(task, stands.shown):
                    stale[after] = ""
                if missing + len(stale) >= MOST_MISSING and number < len(page):
                    break
            wanted = [task for task in page if int(task["id"]) in stale]
            missing += self._ask(after, stands, wanted)
        self.client.following.later(str(self.project))
        return False

    def _misses(self, task: Json, shown: str) -> bool:
        """Whether an open task has a prediction of before, and none of the version served."""
        if not _is_open(task):
            return False
        held = versions_of(task)
        before = shown in held or any(map(self._is_same_model, held))
        return before and not self.studio.has_prediction(task, self.served.version)

    def _is_same_model(self, version: str) -> bool:
        return base_of(version) == self.served.base

    def _ask(self, after: int, stands: Standing, tasks: list[Json]) -> int:
        """Note tasks as missing a prediction, and ask for it where the model is the same.

        Returns:
            How many.
        """
        same = [task for task in tasks if any(map(self._is_same_model, versions_of(task)))]
        asked = dict(self._requests(stands.label_config, same))
        project, keys = str(self.project), {int(t["id"]): "" for t in tasks if t not in same}
        if asked:
            full = {each.task_id for each in self.client.submit([*asked.values()], project=project)}
            keys |= {task: "" for task in asked if str(task) in full}
            asked = {task: each for task, each in asked.items() if str(task) not in full}
        keys |= {task: each.key for task, each in asked.items()}
        self.state.walked(after, keys, all_of_them=False)
        if asked:
            digest = self.client.store_config(stands.label_config)
            self.client.deliver(
                [DeliveryRequest(task, each.key, digest, project) for task, each in asked.items()]
            )
            LOG.info("project %s: %d open tasks get new predictions", project, len(asked))
        return len(keys)

    def _requests(self, xml: str, tasks: list[Json]) -> Iterator[tuple[int, SegmentRequest]]:
        """Requests exactly as those of /predict, so that nothing is computed twice."""
        config = label_config.parse(xml)
        for task in tasks:
            try:
                plain = config.to_request(task, self.served.version)
            except TaskError:  # said when Label Studio asked for it
                continue
            yield int(task["id"]), replace(plain, prototypes=self.served.prototypes)

    def _wait(self) -> str:
        """What is missing calls by itself when it is there; in case it is lost, look again."""
        progress = self.state.progress()
        if not progress.missing:
            return "more tasks to look at"
        wait = min(max(FIRST_WAIT, 2 * progress.wait), LONGEST_WAIT)
        self.state.settle((), wait)
        self.client.following.later(str(self.project), wait)
        return f"{len(progress.missing)} tasks miss a prediction of {self.served.version}"


def _is_open(task: Json) -> bool:
    """Nobody submitted an annotation for it."""
    return not task.get("total_annotations")
