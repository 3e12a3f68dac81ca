"""Text that comes from outside, such as file names, made fit to be shown."""


def printable(text: str) -> str:
    """Escape what a file name may hold and a reader must not get: control codes and undecoded bytes.

    Args:
        text: Any text.

    Returns:
        The text, in printable characters only.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
