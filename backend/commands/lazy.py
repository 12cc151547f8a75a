"""Commands that live in modules of their own, each loaded only when it is asked for.

Every server and worker starts by `dgl-rsis`; it must not pay for the libraries of the others.
"""

import importlib
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

# Command → its module, and the function or the group of commands there.
ELSEWHERE = {
    "demo": ("backend.commands.demo.command", "demo"),
    "segment": ("backend.commands.segment.command", "segment"),
    "parse": ("backend.commands.segment.command", "parse"),
    "prelabel": ("backend.commands.prelabel.command", "prelabel"),
    "config": ("backend.commands.config", "config"),
    "tile": ("backend.commands.tile.command", "tile"),
    "untile": ("backend.commands.tile.command", "untile"),
    "export": ("backend.commands.export.command", "export"),
    "report": ("backend.commands.report.command", "report"),
    "models": ("backend.commands.models", "app"),
    "connect": ("backend.commands.connect", "connect"),
    "doctor": ("backend.commands.doctor.command", "doctor"),
    "adapt": ("backend.commands.adapt", "app"),
}
STYLE: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "markdown",  # else the lines of a docstring stay lines
}


class Commands(TyperGroup):
    """The commands of the group itself, then those of `ELSEWHERE`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the help."""
        return [*super().list_commands(ctx), *ELSEWHERE]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the group's own, which would not name a near one of `ELSEWHERE`."""
        known = self.list_commands(ctx)
        if args[0] not in known and (near := get_close_matches(args[0], known)):
            ctx.fail(f"No such command {args[0]!r}: did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; None for none."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = ELSEWHERE[cmd_name]
        command = getattr(importlib.import_module(module), name)
        holder = typer.Typer(**STYLE)
        if isinstance(command, typer.Typer):
            holder.add_typer(command, name=cmd_name)
        else:
            holder.command(cmd_name)(command)
        return typer.main.get_group(holder).commands[cmd_name]
