"""How things stand: readiness for machines, a page for people."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import render_template_string

from backend.web.service import PredictionService
from workers.messages import SEGMENT_QUEUE
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.failures import TaskFailure
from workers.queue.heartbeats import Heartbeat

NO_WORKER = "no segment worker is ready: it is loading its model, or `dgl-rsis worker` does not run"

# Values are escaped by Flask: task ids and reasons come from whoever may import tasks.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>DGL-RSIS backend</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; }
 table { border-collapse: collapse; width: 100%; }
 th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; }
 .bad { color: #b00020; }
</style>
<h1>DGL-RSIS backend</h1>
{% if state.problem %}<p class="bad">{{ state.problem }}</p>{% else %}<p>Ready.</p>{% endif %}
<p>Model version: {{ version }}</p>
<h2>Workers</h2>
<table>
<tr><th>Queue<th>Device<th>Machine<th>Process<th>Job in work<th>Last sign of life</tr>
{% for w in state.workers %}
<tr><td>{{ w.queue }}<td>{{ w.device or "–" }}<td>{{ w.host }}<td>{{ w.pid }}
<td>{{ w.job or "idle" }}<td>{{ "%.0f" | format(now - w.at) }} s ago</tr>
{% else %}<tr><td colspan="6">none</tr>{% endfor %}
</table>
<h2>Waiting jobs</h2>
<table>
<tr><th>Queue<th>Jobs</tr>
{% for queue, length in state.waiting.items() %}<tr><td>{{ queue }}<td>{{ length }}</tr>
{% else %}<tr><td colspan="2">unknown</tr>{% endfor %}
</table>
<h2>Last tasks without a prediction</h2>
<table>
<tr><th>Task<th>Stage<th>Time<th>Reason</tr>
{% for f in state.failures %}
<tr><td>{{ f.task_id }}<td>{{ f.stage }}<td>{{ "%.0f" | format(now - f.at) }} s ago
<td>{{ f.message }}</tr>
{% else %}<tr><td colspan="4">none</tr>{% endfor %}
</table>
</html>
"""


@dataclass(frozen=True)
class State:
    """The queue and its workers right now.

    Attributes:
        problem: why no task can be served; "" when all is well.
        workers: those that are alive, of all queues.
        waiting: jobs that wait, by queue; empty when Redis does not answer.
        segmenters: live segment workers; None when Redis does not answer.
        failures: the last tasks that were given up, in any process, newest first.
        given_up: how many there were, by stage.
    """

    problem: str
    workers: tuple[Heartbeat, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    segmenters: int | None = None
    failures: tuple[TaskFailure, ...] = ()
    given_up: Mapping[str, int] = field(default_factory=dict)


def read_state(client: SegmentClient) -> State:
    """Ask the queue; an unreachable one is a state, not an error."""
    try:
        workers = tuple(client.workers())
        segmenters = sum(worker.queue == SEGMENT_QUEUE for worker in workers)
        problem = "" if segmenters else NO_WORKER
        failures, given_up = tuple(client.failures()), client.failure_counts()
        return State(problem, workers, client.waiting(), segmenters, failures, given_up)
    except QueueError as error:
        return State(str(error))


def render(service: PredictionService) -> str:
    """The status page as HTML."""
    return render_template_string(
        PAGE,
        state=read_state(service.client),
        version=service.model_version(),
        now=time.time(),
    )
