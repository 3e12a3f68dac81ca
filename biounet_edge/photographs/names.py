"""Names of result files that fit into any folder, made of names of images that may be anything."""

import hashlib
import os
import unicodedata

LONGEST_PART_BYTES = 200
"""Of a file or folder name: file systems have 255, and "_attribute_milia_like_cyst.png" comes behind it."""

LONGEST_NAME_BYTES = 1000
"""Of all folders and the file name together: systems have some 4,000, with the output folder before it."""

_RESULT_SUFFIXES = (".png", ".jpg", ".dcm", ".html", ".json")


def result_name(relative: str) -> str:
    """Makes the name of an image's results.

    A folder that is called like a result file, as `a.jpg/`, gets a "_" behind it: the overlay of an image `a`
    beside it would stand where the folder has to be. What is too long is cut, and a hash of the whole put
    behind it.

    Args:
        relative: Path of the image relative to the folder that was named, with "/", maybe without ending.

    Returns:
        The path relative to each kind's folder, without ending; not yet unique.
    """
    *folders, name = relative.split("/")
    folders = [f"{part}_" if part.lower().endswith(_RESULT_SUFFIXES) else part for part in folders]
    parts = [_shorten(part, LONGEST_PART_BYTES) for part in (*folders, name)]
    if len(os.fsencode("/".join(parts))) > LONGEST_NAME_BYTES:
        return _shorten("_".join(parts), LONGEST_PART_BYTES)
    return "/".join(parts)


def folded(name: str) -> str:
    """Makes a name comparable as the least exact of file systems does.

    Args:
        name: Any name.

    Returns:
        Equal for names that differ in upper and lower case, or in how Unicode composes a letter.
    """
    return unicodedata.normalize("NFC", name).casefold()


def _shorten(part: str, most_bytes: int) -> str:
    content = os.fsencode(part)
    if len(content) <= most_bytes:
        return part
    mark = "~" + hashlib.sha256(content).hexdigest()[:16]
    # A letter of several bytes may be cut in two; what remains of it is left out where it is no Unicode.
    return content[: most_bytes - len(mark)].decode("utf-8", "ignore") + mark
