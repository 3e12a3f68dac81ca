"""Names of the photographs of a run, unique and fit for any folder: their results are named by them.

A photograph may be called anything; what is written under its name must not overwrite another's results.
"""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LONGEST_PART_BYTES = 200
"""Of a file or folder name: file systems have 255, and "_attribute_milia_like_cyst.png" is appended."""

LONGEST_NAME_BYTES = 1000
"""Of all folders and the file name together: systems have some 4,000, with the output folder before it."""

_RESULT_SUFFIXES = (".png", ".jpg", ".dcm", ".html", ".json")


def unique_names(files: Iterable[tuple[Path, Path]]) -> list[str]:
    """Name photographs so that no result overwrites another, whatever the file system takes for one name.

    `a.jpg` gives `a`; beside an `a.png` both keep their extension; where two folders hold the same name, the
    folder's name is put in front; what still clashes is numbered.

    Args:
        files: Each photograph with the folder that its name is relative to.

    Returns:
        A name per photograph, with "/", without an extension.
    """
    choices = []
    for path, root in files:
        relative = path.relative_to(root)
        plain, full = relative.with_name(_split(relative)[0]).as_posix(), relative.as_posix()
        choices.append(tuple(map(result_name, (plain, full, f"{root.resolve().name or 'root'}/{full}"))))
    chosen = [0] * len(choices)
    while True:
        names = [choices[i][level] for i, level in enumerate(chosen)]
        uses = Counter(map(comparable, names))
        clashes = [i for i, name in enumerate(names) if uses[comparable(name)] > 1 and chosen[i] < 2]
        if not clashes:
            break
        for i in clashes:
            chosen[i] += 1
    taken: set[str] = set()
    for i, name in enumerate(names):
        number, unique = 2, name
        while comparable(unique) in taken or (number > 2 and comparable(unique) in uses):
            unique, number = f"{name}_{number}", number + 1
        names[i] = unique
        taken.add(comparable(unique))
    return names


def numbered(path: Path, number: int) -> Path:
    """Give one frame of a file a file name of its own, to make its name from.

    Args:
        path: The file.
        number: Frame number from 1.

    Returns:
        `a_0001.dcm` of `a.dcm`.
    """
    stem, suffix = _split(path)
    return path.with_name(f"{stem}_{number:04d}{suffix}")


def result_name(relative: str) -> str:
    """Return the name of a photograph's results, not yet unique.

    A folder that is called like a result file, as `a.jpg/`, gets a "_" appended: the overlay of an image `a`
    beside it would be where the folder has to be. What is too long is cut, and a hash of the whole
    appended.

    Args:
        relative: Path of the image relative to the folder that was named, with "/", maybe without extension.

    Returns:
        The path relative to each kind's folder, without extension.
    """
    *folders, name = relative.split("/")
    folders = [f"{part}_" if part.lower().endswith(_RESULT_SUFFIXES) else part for part in folders]
    parts = [_shorten(part, LONGEST_PART_BYTES) for part in (*folders, name)]
    if len(os.fsencode("/".join(parts))) > LONGEST_NAME_BYTES:
        return _shorten("_".join(parts), LONGEST_PART_BYTES)
    return "/".join(parts)


def comparable(name: str) -> str:
    """Make a name comparable as the least exact of file systems does.

    Args:
        name: Any name.

    Returns:
        Equal for names that differ in upper and lower case, or in how Unicode composes a letter.
    """
    return unicodedata.normalize("NFC", name).casefold()


def _split(path: Path) -> tuple[str, str]:
    """Take the extension off a file name; the last number of a UID is none, and dots alone are no name."""
    whole = path.suffix[1:].isdigit() or not path.stem.strip(".")
    return (path.name, "") if whole else (path.stem, path.suffix)


def _shorten(part: str, most_bytes: int) -> str:
    content = os.fsencode(part)
    if len(content) <= most_bytes:
        return part
    mark = "~" + hashlib.sha256(content).hexdigest()[:16]
    # A letter of several bytes may be cut in two; what remains of it is left out where it is no Unicode.
    return content[: most_bytes - len(mark)].decode("utf-8", "ignore") + mark
