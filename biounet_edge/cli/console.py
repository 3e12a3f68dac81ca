"""What the command says besides its tables: sentences on stderr and JSON on stdout."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from biounet_edge.errors import Category, InputError
from biounet_edge.results.text import printable

if TYPE_CHECKING:
    from biounet_edge.prediction import Outcome, PredictionFailure


def say(message: str, style: str | None = None) -> None:
    """Print one line to stderr.

    Args:
        message: What to say.
        style: A colour, where stderr is a terminal.
    """
    text = printable(message)
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_notes(outcome: "Outcome") -> None:
    """Print what to know of a photograph's file.

    Args:
        outcome: Prediction or failure.
    """
    for note in getattr(outcome, "notes", ()):
        say(f"note: {outcome.source}: {note}")


def print_json(content: dict[str, Any], indent: int | None = 2) -> None:
    """Print JSON to stdout, at once, and in ASCII so that any terminal and pipe takes it.

    Args:
        content: What to print.
        indent: Spaces per level; None for one line.
    """
    sys.stdout.write(json.dumps(content, indent=indent) + "\n")
    sys.stdout.flush()  # whoever reads a pipe waits for this line


def say_why(outcome: "PredictionFailure") -> None:
    """Print to stderr why a photograph has no prediction.

    Args:
        outcome: What stands in place of its prediction.
    """
    if outcome.category is Category.SKIPPED:
        say(f"left out: {outcome.source}: {outcome.error}", style="dim")
    elif outcome.category is Category.UNFAMILIAR:
        say(f"unfamiliar: {outcome.source}: {outcome.error}", style="yellow")
    else:
        say(f"error: {outcome.source}: {outcome.error}", style="red")


@contextmanager
def without_paths(anonymous: bool) -> Iterator[None]:
    """Keep the paths of inputs out of the sentence that an error becomes.

    Args:
        anonymous: False lets them through.
    """
    try:
        yield
    except InputError as error:
        if not anonymous:
            raise
        raise InputError(
            "a path that was named does not exist, cannot be read or holds no images: "
            "leave --anonymous out to see which"
        ) from error
