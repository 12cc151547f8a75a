"""Makes an image deadly: Python loads this in every process whose PYTHONPATH holds this folder.

A picture of one colour, POISON, ends the worker that opens it by SIGKILL, as a fault in a decoder's
native code would. Each time is noted in the file that DRILL_DEATHS names.
"""

import os
import signal
import sys

POISON = (255, 0, 255)


def _make_deadly() -> None:
    from workers.images.pictures import Pictures

    opened = Pictures.open

    def open_or_die(self, *arguments, **named):
        picture, seconds = opened(self, *arguments, **named)
        if (picture.pixels == POISON).all():
            with open(os.environ["DRILL_DEATHS"], "a") as deaths:
                deaths.write(f"{arguments[0]}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return picture, seconds

    Pictures.open = open_or_die


if "worker" in sys.orig_argv and "DRILL_DEATHS" in os.environ:
    _make_deadly()
