"""How things stand: readiness for machines, a page for people."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template_string

from backend.service import PredictionService, TaskFailure
from workers.client import Heartbeat, QueueError, SegmentClient

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
<h2>Last failures seen by this server</h2>
<table>
<tr><th>Task<th>Time<th>Reason</tr>
{% for f in failures %}
<tr><td>{{ f.task_id }}<td>{{ "%.0f" | format(now - f.at) }} s ago<td>{{ f.reason }}</tr>
{% else %}<tr><td colspan="3">none</tr>{% endfor %}
</table>
</html>
"""


@dataclass(frozen=True)
class State:
    """The queue and its workers right now.

    Attributes:
        problem: why no task can be served; "" when all is well.
        workers: those that are alive, of both queues.
        waiting: jobs that wait, by queue; empty when Redis does not answer.
        segmenters: live segment workers; None when Redis does not answer.
    """

    problem: str
    workers: tuple[Heartbeat, ...]
    waiting: dict[str, int]
    segmenters: int | None


def read_state(client: SegmentClient) -> State:
    """Ask the queue; an unreachable one is a state, not an error."""
    try:
        workers, segmenters = tuple(client.workers()), len(client.ready())
        waiting = client.waiting()
    except QueueError as error:
        return State(str(error), (), {}, None)
    problem = "" if segmenters else NO_WORKER
    return State(problem, workers, waiting, segmenters)


def render(service: PredictionService) -> str:
    """The status page as HTML."""
    failures: Sequence[TaskFailure] = tuple(reversed(service.failures))
    return render_template_string(
        PAGE,
        state=read_state(service.client),
        version=service.model_version(),
        failures=failures,
        now=time.time(),
    )
