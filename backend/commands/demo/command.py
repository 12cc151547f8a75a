"""`dgl-rsis demo`."""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from backend.commands import options
from backend.commands.folders import make_writable
from backend.commands.refusals import refuse, told
from workers.settings import WorkerSettings


def demo(
    image: Annotated[
        Path | None, typer.Option(help="An image of yours instead of the sample.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results and the log.")] = Path("demo"),
) -> None:
    """Show the main job in a minute: masks of an image, asked for as Label Studio does.

    Starts queue, workers and web server on free ports of this machine, draws the masks that come
    back, and stops everything.
    """
    import requests
    from rich.console import Console

    from backend.commands.demo import run
    from backend.commands.demo.processes import StartError
    from backend.commands.demo.sample import sample_images

    options.read(WorkerSettings)  # else it is the workers that refuse them
    chosen = image or sample_images()[-1]
    if not chosen.is_file():
        refuse(f"{chosen} is no file: give an image, or no --image for the sample")
    started = time.perf_counter()
    try:
        make_writable(out)
        with tempfile.TemporaryDirectory(prefix="dgl-rsis-demo-") as folder:
            run.run(chosen.resolve(), out, Path(folder))
    except (StartError, requests.RequestException) as error:
        typer.echo(f"dgl-rsis: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        refuse(told(error))
    Console().print(f"{time.perf_counter() - started:.1f} s in all", highlight=False)
