"""How a command ends that cannot do what it was asked."""

import errno
from typing import NoReturn

import typer

from workers.registry.files import RegistryError

REFUSED = 2  # exit status of what cannot work as it is set up: another try is in vain


# What a disk says → the way out.
DISK = {
    errno.ENOSPC: "the disk is full: make room, or write elsewhere",
    errno.EDQUOT: "your quota of the disk is used up: make room, or write elsewhere",
    errno.EROFS: "the disk is read-only: write elsewhere",
    errno.EACCES: "you may not: change the rights of that place, or name another",
    errno.EPERM: "you may not: change the rights of that place, or name another",
    errno.EIO: "the disk fails: copy what is on it elsewhere",
}


def told(error: Exception) -> str:
    """An error in one line for people; one of a disk with the file and the way out."""
    if not isinstance(error, OSError) or error.errno not in DISK:
        return str(error)
    return f"{error.filename or 'a result'} cannot be used, {DISK[error.errno]}"


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
