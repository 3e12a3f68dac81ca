"""What the command says: results on stdout, sentences on stderr."""

import logging

from rich.console import Console
from rich.markup import escape


def show(line: str) -> None:
    """Print one line of a result to stdout."""
    Console().print(escape(line), soft_wrap=True, highlight=False)


def say(message: str) -> None:
    """Print one sentence to stderr, red where that is a terminal."""
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)


def silence_converter() -> None:
    """Keep onnxscript from warning of how it converts operator sets."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
