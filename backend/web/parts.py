"""What the web application is made of, as its routes reach it."""

from dataclasses import dataclass

from flask import Flask, current_app

from backend.web.board import Board
from backend.web.forgery import FormToken
from backend.web.learning import Learning
from backend.web.metrics import Metrics
from backend.web.reaching import StudioWatch
from backend.web.service import PredictionService
from backend.web.status import State, read_state
from backend.web.webhook import Corrections
from workers.queue.control import Control

NAME = "dgl_rsis"


@dataclass(frozen=True)
class Parts:
    """What answers requests; one each for the whole application.

    Attributes:
        service: answers Label Studio.
        corrections: takes its events.
        metrics: counts.
        board: reads how projects and tasks stand.
        control: retries and cancels tasks.
        learning: reads and switches what projects learnt.
        token: of the forms.
        watch: says whether predictions reach Label Studio.
        warning: of the settings, shown on every page; empty for none.
    """

    service: PredictionService
    corrections: Corrections
    metrics: Metrics
    board: Board
    control: Control
    learning: Learning
    token: FormToken
    watch: StudioWatch
    warning: str

    def state(self) -> State:
        """The queue, its workers and the way to Label Studio right now."""
        return read_state(self.service.client, self.watch)


def install(app: Flask, parts: Parts) -> None:
    """Let the routes of an application reach its parts."""
    app.extensions[NAME] = parts


def current() -> Parts:
    """Those of the application that answers the present request."""
    parts: Parts = current_app.extensions[NAME]
    return parts
