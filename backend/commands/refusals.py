"""How a command ends that cannot do what it was asked."""

from typing import NoReturn

import typer

from workers.registry.files import RegistryError

REFUSED = 2  # exit status of what cannot work as it is set up: another try is in vain


def refuse(message: str) -> NoReturn:
    """End with the reason why the command cannot work as it is set up."""
    typer.echo(f"dgl-rsis: {message}", err=True)
    raise typer.Exit(REFUSED)


def refuse_known(error: Exception) -> NoReturn:
    """End with the message of an error of the algorithm, or of a missing model.

    The first are known by their package: they have no class in common, and some are defined where
    torch is loaded. Any other error goes on.
    """
    of_algorithm = type(error).__module__.split(".")[0] == "dgl_rsis"
    if of_algorithm or isinstance(error, RegistryError):
        refuse(str(error))
    raise error
