"""From what was named on the command line to an ordered list of image files and where their results go."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from biounet_edge.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
)
"""Endings that make a file of a folder an image; a file that is named itself is tried whatever its ending."""


@dataclass(frozen=True, slots=True)
class InputImage:
    """One image file to read."""

    path: Path
    """The file, as reached from the path that was named."""
    stem: str
    """Where its results go, relative to each kind's folder, with "/", without an ending; unique in a run."""


def discover(paths: Iterable[Path], output: Path | None = None) -> list[InputImage]:
    """Lists the images behind any mix of files and folders.

    Folders are read recursively and in alphabetical order; hidden files and folders are left out, and so is
    the output folder, whose overlays are images too. A folder that several links lead to is read once.

    Args:
        paths: Files and folders, in the order in which they are to be read.
        output: Folder that the results go to, or None.

    Returns:
        The images, each file once.

    Raises:
        InputError: If a path does not exist or cannot be read, or a folder holds no images.
    """
    skip = set() if output is None else {os.path.realpath(output)}
    found: dict[str, tuple[Path, Path]] = {}  # absolute path -> (file, folder its result name is relative to)
    for path in paths:
        if path.is_dir():
            images = list(_walk(path, set(skip)))
            if not images:
                raise InputError(
                    f"the folder {path} holds no images: expected files ending in "
                    f"{', '.join(sorted(IMAGE_SUFFIXES))}, in it or its subfolders"
                )
            for image in images:
                found.setdefault(os.path.abspath(image), (image, path))
        elif os.path.lexists(path):
            found.setdefault(os.path.abspath(path), (path, path.parent))
        else:
            raise InputError(f"there is no file or folder {path}: check the path")
    files = list(found.values())
    return [InputImage(path, stem) for (path, _), stem in zip(files, _unique_stems(files), strict=True)]


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # the output folder, a loop, or a second link to the same folder
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry


def _unique_stems(files: list[tuple[Path, Path]]) -> list[str]:
    """Names results so that none overwrites another, not even where upper and lower case are the same.

    `a.jpg` gives `a`; beside an `a.png` both keep their ending; where two folders hold the same name, the
    folder's name is put in front; what still clashes is numbered.
    """
    choices = []
    for path, root in files:
        relative = path.relative_to(root)
        plain, full = relative.with_suffix("").as_posix(), relative.as_posix()
        choices.append((plain, full, f"{root.resolve().name or 'root'}/{full}"))
    chosen = [0] * len(files)
    while True:
        names = [choices[i][level] for i, level in enumerate(chosen)]
        uses = Counter(name.casefold() for name in names)
        clashes = [i for i, name in enumerate(names) if uses[name.casefold()] > 1 and chosen[i] < 2]
        if not clashes:
            break
        for i in clashes:
            chosen[i] += 1
    taken: set[str] = set()
    for i, name in enumerate(names):
        number, unique = 2, name
        while unique.casefold() in taken or (number > 2 and unique.casefold() in uses):
            unique, number = f"{name}_{number}", number + 1
        names[i] = unique
        taken.add(unique.casefold())
    return names
