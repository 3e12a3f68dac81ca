"""The group that holds the commands: known errors and an interrupt become a sentence and an exit code."""

from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from biounet_edge.cli.console import say
from biounet_edge.errors import BiounetEdgeError


class CommandGroup(TyperGroup):
    """Commands, and the one place that catches what they raise."""

    KNOWN: ClassVar[tuple[type[Exception], ...]] = (BiounetEdgeError,)
    """Errors that end with exit code 1 and their sentence; any other keeps its traceback."""
    INTERRUPTED: ClassVar[str] = "interrupted; what was finished is kept"
    """Sentence of an interrupt, which ends with exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except self.KNOWN as error:
            say(f"error: {error}", style="red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            say(self.INTERRUPTED, style="red")
            raise typer.Exit(130) from interrupt


def make_app(group: type[CommandGroup] = CommandGroup) -> typer.Typer:
    """Make a command line without commands.

    Args:
        group: What holds its commands.

    Returns:
        The command line; without arguments it prints its help.
    """
    return typer.Typer(cls=group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
