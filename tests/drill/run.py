"""One drill from its first process to its ledger."""

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from backend.commands.demo.processes import free_port
from tests.backend.studio.fake_studio import LEGACY_TOKEN
from tests.drill import pictures
from tests.drill.annotators import Annotators, every, pause_until
from tests.drill.backend import Service, wait_for
from tests.drill.disk import Ballast, small_disk
from tests.drill.schedule import KILLS, LASTING_SECONDS, Fault, schedule
from tests.drill.studio import DrillStudio
from tests.drill.tally import Tally, tally

XML = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image">
    <Label value="building"/><Label value="road"/><Label value="vegetation"/>
  </BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="building"/></KeyPointLabels>
</View>"""
PROJECT = "1.1795419101"
START_SECONDS = 120.0
PRESENT_SECONDS = 30.0  # how long a process to be hurt may be on its way back
LAST_SECONDS = 150.0  # after the last fault, for what is left
SETTLE_SECONDS = 20.0  # in which a prediction that comes twice would come
BATCH = 50  # tasks of one "Retrieve predictions"
CLICK_SECONDS, OPEN_SECONDS = 4.0, 3.0
SIGNALS = {"kill": signal.SIGKILL, "restart": signal.SIGTERM, "stop": signal.SIGSTOP}
MOST_DEATHS = 3  # that a poison image may cost


@dataclass(frozen=True)
class Plan:
    """What a drill consists of.

    Attributes:
        seed: of the faults, the images and what people open.
        tasks: all of them.
        poison: so many of them kill the worker that opens their image.
        seconds: in which all goes wrong.
    """

    seed: int
    tasks: int
    poison: int
    seconds: float


@dataclass
class Drill:
    """A drill.

    Attributes:
        plan: what it consists of.
        folder: for its files.
        console: for the ledger.
        over: set when people ask for nothing more.
    """

    plan: Plan
    folder: Path
    console: Console
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> bool:
        """Run it and print its ledger; whether nothing was lost, doubled or wrong.

        Raises:
            DiskError: there can be no disk of its own for the queue.
        """
        tasks, studio = self._tasks(), DrillStudio()
        studio.fake.label_config = XML
        for task, (reference, file) in tasks.items():
            studio.add(task, reference, file)
        with small_disk(self.folder) as disk, contextlib.ExitStack() as listening:
            listening.enter_context(studio.listening())
            service = self._service(studio, disk)
            with service.running():
                self._wait(service.is_ready, START_SECONDS, "the backend was not ready")
                people = Annotators(service, XML, PROJECT, studio.has, studio.fake.add)
                studio.fake.connect("DGL-RSIS", people.version(), service.url)
                self.console.print(f"ready; {len(tasks)} tasks, seed {self.plan.seed}")
                with self._working(people, studio, list(tasks)):
                    count = self._go_wrong(service, studio, listening, Ballast(disk))
                    self._drain(studio, len(tasks) - self.plan.poison)
        return self._judge(tasks, studio, service, people, count)

    def _tasks(self) -> dict[int, tuple[str, bytes]]:
        """By id the reference of a task's image, and the file; poison lies among the others."""
        plan = self.plan
        cuts = pictures.cut(plan.seed, plan.tasks - plan.poison)
        good = [(f"/data/upload/1/t{n}.png", each) for n, each in enumerate(cuts)]
        bad = [(f"/data/upload/1/p{n}.png", pictures.poison(n)) for n in range(plan.poison)]
        mixed = good + bad
        random.Random(plan.seed).shuffle(mixed)
        return dict(enumerate(mixed, 1))

    def _service(self, studio: DrillStudio, disk: Path) -> Service:
        environment = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
            "SINGLE_TASK_SECONDS": "5",
            "DRILL_DEATHS": str(self._deaths),
        }
        return Service(self.folder, disk / "queue", free_port(0), environment)

    @property
    def _deaths(self) -> Path:
        return self.folder / "deaths"

    @contextlib.contextmanager
    def _working(
        self, people: Annotators, studio: DrillStudio, tasks: Sequence[int]
    ) -> Iterator[None]:
        """People at work for the length of a `with` block."""
        chance = random.Random(self.plan.seed)
        batches = [tasks[start : start + BATCH] for start in range(0, len(tasks), BATCH)]
        apart = 0.9 * self.plan.seconds / len(batches)
        began = time.monotonic()

        def retrieve() -> None:
            for number, batch in enumerate(batches):
                pause_until(began + number * apart, self.over)
                people.retrieve([studio.task(task) for task in batch], self.over)

        def any_task() -> dict[str, Any]:
            return studio.task(chance.choice(tasks))

        threads = [
            threading.Thread(target=retrieve, name="retrieving", daemon=True),
            every(CLICK_SECONDS, lambda _: people.click(any_task()), self.over, "clicking"),
            every(OPEN_SECONDS, lambda _: people.open(any_task()), self.over, "opening"),
        ]
        threads[0].start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def _go_wrong(
        self,
        service: Service,
        studio: DrillStudio,
        listening: contextlib.ExitStack,
        ballast: Ballast,
    ) -> int:
        """Do what the schedule says, each at its moment; how many faults there were."""
        began = time.monotonic()
        faults = schedule(self.plan.seed, self.plan.seconds)
        for fault in faults:
            pause_until(began + fault.at, self.over)
            moment, outcome = time.monotonic() - began, f"for {LASTING_SECONDS:.0f} s"
            if fault.kind == "fill":
                ballast.fill()
                time.sleep(LASTING_SECONDS)
                ballast.clear()
            elif fault.kind == "refuse":
                listening.close()
                time.sleep(LASTING_SECONDS)
                listening.enter_context(studio.listening())
            elif fault.kind == "fail":
                studio.fake.is_away(503, LASTING_SECONDS)
                time.sleep(LASTING_SECONDS)
            else:
                outcome = _send(service, fault)
            self.console.print(f"{moment:5.0f} s  {fault.kind:<7} {fault.target:<7} {outcome}")
        return len(faults)

    def _drain(self, studio: DrillStudio, good: int) -> None:
        """Wait until every task that can has a prediction, and then for what might come twice."""
        end = time.monotonic() + LAST_SECONDS
        while time.monotonic() < end:
            if len({row["task"] for row in [*studio.fake.predictions]}) >= good:
                break
            time.sleep(1.0)
        self.over.set()
        time.sleep(SETTLE_SECONDS)

    def _wait(self, ready: Callable[[], bool], seconds: float, problem: str) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise RuntimeError(f"{problem} after {seconds:.0f} s: see {self.folder}")
            time.sleep(0.3)

    def _judge(
        self,
        tasks: dict[int, tuple[str, bytes]],
        studio: DrillStudio,
        service: Service,
        people: Annotators,
        count: int,
    ) -> bool:
        """Compare with what the model says, print all, and say whether all is well."""
        model = pictures.Model(dict(tasks.values()), XML)
        poison = {task for task, (reference, _) in tasks.items() if "/p" in reference}
        expected = {
            task: None if task in poison else model.regions(task, reference)
            for task, (reference, _) in tasks.items()
        }
        result = tally(expected, studio.fake.predictions, model.version)
        deaths = Counter(self._deaths.read_text().split()) if self._deaths.exists() else Counter()
        say = self.console.print
        say(f"{count} faults; killed: {_listed(KILLS)}; `up` was started {service.starts} times")
        say(f"people: {_listed(people.statuses)}; clicks: {_listed(people.clicks)}")
        say(f"poison, deaths by image: {_listed(deaths)}")
        _print(result, self.console)
        return result.is_clean and all(each <= MOST_DEATHS for each in deaths.values())


def _send(service: Service, fault: Fault) -> str:
    """Send a process a signal; which one it was."""
    # One that loads has nothing in hand: it is stopped when it serves.
    serving = partial(service.serving, "segment")
    there = serving if fault.kind == "stop" else partial(service.process, fault.target)
    process = wait_for(there, PRESENT_SECONDS)
    if process is None:
        return f"was not there for {PRESENT_SECONDS:.0f} s"
    process.send_signal(SIGNALS[fault.kind])
    return f"process {process.pid}"


def _print(result: Tally, console: Console) -> None:
    console.print(
        f"good {len(result.good)}, missing {len(result.missing)}, twice {len(result.twice)}, "
        f"wrong {len(result.wrong)}, poison without a prediction {len(result.spared)}"
    )
    for name in ("missing", "twice", "wrong"):
        if tasks := getattr(result, name):
            console.print(f"{name}: {tasks}")


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
