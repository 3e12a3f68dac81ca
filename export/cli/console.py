"""What the commands say beside their results: sentences on stderr."""

from rich.console import Console


def say(message: str, style: str | None = None) -> None:
    """Print one message to stderr.

    Args:
        message: What to say.
        style: A colour, where stderr is a terminal.
    """
    Console(stderr=True).print(message, style=style, markup=False, highlight=False, soft_wrap=True)
