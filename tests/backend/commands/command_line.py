"""The command `dgl-rsis`, run in this process."""

from typer.testing import CliRunner

from backend.commands.main import app


def dgl_rsis(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of the command."""
    result = CliRunner(env=environment | {"COLUMNS": "200"}).invoke(app, list(arguments))
    return result.exit_code, result.output
