"""What became of tasks, as pages and programs are told: the ledger with what happens right now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backend.web.settings import Settings
from backend.web.titles import Titles
from workers.queue.client import SegmentClient
from workers.queue.connection import STORED_TASK
from workers.queue.control import NO_REQUEST, Control
from workers.queue.ledger import RETRIABLE, STATES, Entry, State, Summary
from workers.queue.prototypes import Amount
from workers.queue.running import Running

MOST_PROJECTS = 50
PAGE_TASKS = 50
MOST_PAGES = 100  # of a list of several states, whose beginning is merged anew for each page
RUNNING = "running"
FILTERS: Mapping[str, tuple[State, ...]] = {
    "all": STATES,
    "queued": ("queued",),
    RUNNING: (),
    "delivery": ("delivery",),
    "done": ("delivered", "answered"),
    "failed": ("failed",),
    "given-up": ("given-up",),
    "cancelled": ("cancelled",),
}
ADVICE: Mapping[str, str] = {
    "ready": "Open the task in Label Studio: its masks are there.",
    "delivery": "See that Label Studio is up; it is tried again by itself.",
    "failed": "Put the cause right, then retry.",
    "given-up": "Put the cause right, then retry: the masks are kept.",
    "cancelled": "Retry, or open the task in Label Studio.",
}


@dataclass(frozen=True)
class TaskView:
    """A task as it is shown.

    Attributes:
        project: Label Studio's id of its project.
        task: Label Studio's id.
        state: as `ledger.Entry.state`, or "running", or "ready" for masks that wait until somebody
            opens the task.
        stage: of a running one, in words; else empty.
        began: when the work on a running one began, seconds since the epoch; else None.
        asked: when it was asked for.
        changed: when it came into this state.
        reason: why it is in this state; empty where that is plain.
        advice: what to do; empty for nothing.
        url: of the task in Label Studio; empty without its address.
        can_retry, can_cancel: what can be asked for.
    """

    project: str
    task: str
    state: str
    stage: str
    began: float | None
    asked: float
    changed: float
    reason: str
    advice: str
    url: str
    can_retry: bool
    can_cancel: bool


@dataclass(frozen=True)
class ProjectView:
    """A project as it is shown.

    Attributes:
        project: Label Studio's id.
        title: Label Studio's; empty where it is not known.
        url: in Label Studio; empty without its address.
        changed: when anything changed last, seconds since the epoch; None where no task is known,
            as of one that `prelabel` alone asks for.
        counts: tasks by state, "running" among them.
        total: tasks.
        done: those that Label Studio has masks of.
        per_minute: tasks that come to be done; None for too few.
        seconds_left: until none is open; None where that cannot be said.
        annotations: how many it learnt from.
        learns: it is not switched off.
    """

    project: str
    title: str
    url: str
    changed: float | None
    counts: Mapping[str, int]
    total: int
    done: int
    per_minute: float | None
    seconds_left: float | None
    annotations: int
    learns: bool


@dataclass(frozen=True)
class TaskPage:
    """Some tasks of a project.

    Attributes:
        tasks: newest change first.
        state: which ones, one of `FILTERS`.
        page: number of the page, from 1.
        pages: how many there are.
    """

    tasks: tuple[TaskView, ...]
    state: str
    page: int
    pages: int


class Board:
    """Reads how projects and tasks stand; every method is a few round trips.

    All of them raise `QueueError` when Redis cannot be reached.

    Args:
        client: the queue.
        control: of the same queue.
        settings: of the web process.
    """

    def __init__(self, client: SegmentClient, control: Control, settings: Settings) -> None:
        self._client = client
        self._control = control
        self._titles = Titles(settings)
        self._studio = settings.label_studio_url

    def projects(self) -> list[ProjectView]:
        """The projects in which something changed last, then others that learnt something."""
        summaries = self._client.ledger.projects(MOST_PROJECTS)
        known = {each.project for each in summaries}
        others = [each for each in self._client.corrections.projects() if each not in known]
        summaries += map(_without_tasks, others[: MOST_PROJECTS - len(summaries)])
        return self._projects(summaries)

    def project(self, project: str) -> ProjectView | None:
        """One project; None when nothing is known of it."""
        self._control.look_after(project)
        summary = self._client.ledger.project(project)
        if summary is None and project in self._client.corrections.projects():
            summary = _without_tasks(project)
        return None if summary is None else self._projects([summary])[0]

    def tasks(self, project: ProjectView, state: str = "all", page: int = 1) -> TaskPage:
        """A page of a project's tasks, newest change first.

        Args:
            project: theirs.
            state: one of `FILTERS`.
            page: number, from 1; beyond the last one it is that.
        """
        running = self.running()
        total = project.total if state == "all" else _count(project, state)
        pages = max(1, -(-total // PAGE_TASKS))
        if len(FILTERS[state]) > 1:
            pages = min(pages, MOST_PAGES)
        page = min(max(page, 1), pages)
        if state == RUNNING:
            entries = self._running_entries(project.project, running)
        else:
            start = (page - 1) * PAGE_TASKS
            entries = self._client.ledger.entries(
                project.project, FILTERS[state], start, PAGE_TASKS
            )
        tasks = tuple(self._views(project.project, entries, running))
        return TaskPage(tasks, state, page, pages)

    def task(self, project: str, task: str) -> TaskView | None:
        """One task; None when nothing is known of it."""
        self._control.look_after(project)
        entry = self._client.ledger.entry(project, task)
        if entry is None:
            return None
        view = next(self._views(project, [entry], self.running()))
        refusal = self._control.refusal(entry) if view.can_retry else ""
        return replace(view, can_retry=False, advice=refusal) if refusal else view

    def running(self) -> list[Running]:
        """What live workers have in hand."""
        return self._client.running([each for each in self._client.workers() if each.is_live])

    def link(self, project: str, task: str = "") -> str:
        """A project or a task in Label Studio; empty without its address, or for what is no id.

        Args:
            project: Label Studio's id.
            task: Label Studio's id; empty for the project.
        """
        ids = (project, task) if task else (project,)
        if not self._studio or not all(STORED_TASK.fullmatch(each) for each in ids):
            return ""
        return f"{self._studio}/projects/{project}/data" + (f"?task={task}" if task else "")

    def _asked(self, projects: Sequence[str], running: Sequence[Running]) -> Mapping[str, int]:
        """How many tasks of projects are running."""
        wanted = [(each.task_id, each.key) for each in running if each.segments]
        counts: dict[str, int] = {}
        for project, _ in self._client.ledger.asked_by(projects, wanted) if wanted else ():
            counts[project] = counts.get(project, 0) + 1
        return counts

    def _projects(self, summaries: Sequence[Summary]) -> list[ProjectView]:
        projects = [each.project for each in summaries]
        running = self._asked(projects, self.running())
        learnt = self._client.corrections.amounts(projects)
        return [
            self._project(each, running.get(each.project, 0), amount)
            for each, amount in zip(summaries, learnt, strict=True)
        ]

    def _project(self, summary: Summary, running: int, learnt: Amount) -> ProjectView:
        counts: dict[str, int] = {str(state): count for state, count in summary.counts.items()}
        counts[RUNNING] = min(running, counts["queued"])
        counts["queued"] -= counts[RUNNING]
        return ProjectView(
            project=summary.project,
            title=self._titles.of(summary.project),
            url=self.link(summary.project),
            changed=summary.changed or None,
            counts=counts,
            total=summary.total,
            done=summary.done,
            per_minute=summary.per_minute,
            seconds_left=summary.seconds_left,
            annotations=learnt.annotations,
            learns=not learnt.off,
        )

    def _running_entries(self, project: str, running: Sequence[Running]) -> list[Entry]:
        wanted = [(each.task_id, each.key) for each in running if each.segments]
        tasks = [task for _, task in self._client.ledger.asked_by([project], wanted)]
        entries = (self._client.ledger.entry(project, task) for task in tasks)
        return [entry for entry in entries if entry is not None]

    def _views(
        self, project: str, entries: Sequence[Entry], running: Sequence[Running]
    ) -> Iterator[TaskView]:
        in_hand = {each.key: each for each in running if each.segments}
        queued = [each.key for each in entries if each.state == "queued"]
        ready = self._client.answered(queued) if queued else set()
        for entry in entries:
            held = in_hand.get(entry.key) if entry.state == "queued" else None
            state = _shown(entry, held, ready)
            advice = ADVICE.get(state, "") if entry.key else NO_REQUEST
            yield TaskView(
                project=project,
                task=entry.task_id,
                state=state,
                stage=held.stage if held else "",
                began=held.since if held else None,
                asked=entry.asked,
                changed=entry.changed,
                reason=entry.reason,
                advice=advice,
                url=self.link(project, entry.task_id),
                can_retry=entry.state in RETRIABLE and bool(entry.key),
                can_cancel=state in ("queued", RUNNING, "delivery"),
            )


def _shown(entry: Entry, held: Running | None, ready: set[str]) -> str:
    """The state of a task, with what is known of this moment."""
    if held is not None:
        return RUNNING
    if entry.state == "queued" and entry.key in ready:
        return "delivery" if entry.config else "ready"
    return entry.state


def _without_tasks(project: str) -> Summary:
    return Summary(project, 0.0, dict.fromkeys(STATES, 0), None)


def _count(project: ProjectView, state: str) -> int:
    if state == "queued":  # the list of the ledger holds those that are running, too
        return project.counts["queued"] + project.counts[RUNNING]
    return sum(project.counts[each] for each in FILTERS[state] or (state,))
