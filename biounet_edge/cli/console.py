"""What the command says beside its tables: sentences on stderr and JSON on stdout."""

import json
import sys
from typing import Any

from rich.console import Console

from biounet_edge.text import printable


def say(message: str, style: str | None = None) -> None:
    """Prints one line to stderr.

    Args:
        message: What to say.
        style: A colour, where stderr is a terminal.
    """
    text = printable(message)
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(content: dict[str, Any], indent: int | None = 2) -> None:
    """Prints JSON to stdout, in ASCII so that any terminal and pipe takes it.

    Args:
        content: What to print.
        indent: Spaces per level; None for one line.
    """
    sys.stdout.write(json.dumps(content, indent=indent) + "\n")
