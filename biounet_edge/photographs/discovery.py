"""From what was named on the command line to an ordered list of image files and where their results go."""

import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from biounet_edge.errors import InputError
from biounet_edge.photographs.dicom.content import contents_of, left_out_as
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.photographs.left_out import (
    DICOM,
    FORMAT,
    HIDDEN,
    OTHER,
    RESULTS,
    SUBJECT,
    SYSTEM,
    LeftOut,
    format_not_read,
    holds_results,
    is_of_system,
)
from biounet_edge.photographs.names import numbered, unique_names

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
)
"""Extensions that make a file of a folder an image; a file that is named itself is tried whatever its
extension. A file with another extension is an image if its content is that of a DICOM photograph."""

HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Extensions of images that are read where the extra `heif` is installed."""

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class InputImage:
    """One image file, or one frame of a DICOM file, to read."""

    path: Path
    """The file, as reached from the path that was named."""
    stem: str
    """Name of its results, relative to each kind's folder, with "/", without extension; unique in a run."""
    frame: int | None = None
    """Frame number from 1, where the file holds several."""

    @property
    def source(self) -> Path | Frame:
        """What `Predictor` is to read."""
        return self.path if self.frame is None else Frame(self.path, self.frame)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found."""

    images: list[InputImage]
    """What to read, each file or frame once."""
    left_out: list[LeftOut] = field(default_factory=list)
    """What was found beside them, counted by reason."""


def discover(
    paths: Iterable[Path], output: Path | None = None, *, any_modality: bool = False
) -> list[InputImage]:
    """List the images of any mix of files and folders, as `look_through` finds them.

    Args:
        paths: Files and folders, in the order in which they are to be read.
        output: Folder that the results go to, or None.
        any_modality: Whether other DICOM images than photographs of skin are read.

    Returns:
        The images, each file or frame once.

    Raises:
        InputError: As `look_through`.
    """
    return look_through(paths, output, any_modality=any_modality).images


def look_through(
    paths: Iterable[Path],
    output: Path | None = None,
    *,
    may_be_empty: bool = False,
    any_modality: bool = False,
) -> Discovery:
    """List the images of any mix of files and folders, and count what is left out.

    Folders are read recursively and in alphabetical order; hidden files and folders are left out, those that
    a system keeps beside photographs (`left_out`), folders with results of this program, and the output
    folder, whose overlays are images too. A folder that several links lead to is read once. A
    subfolder that cannot be listed is an image that cannot be read: its name is reported, the rest is done.
    Each frame of a multi-frame DICOM file is an image: `a.dcm` gives the stems `a_0001`, `a_0002` and so on.
    A DICOM image that is no photograph of skin is listed once, so that reading it tells why it has no
    diagnosis, and counted as left out.

    Args:
        paths: Files and folders, in the order in which they are to be read.
        output: Folder that the results go to, or None.
        may_be_empty: Whether a folder may hold no images, because they are still to come.
        any_modality: Whether other DICOM images than photographs of skin are read.

    Returns:
        The images, each file or frame once, and what was left out.

    Raises:
        InputError: If a path does not exist, cannot be read or is the output folder, or a folder holds no
            images.
    """
    skip: set[_Identity] = set()
    if output is not None:
        with suppress(OSError):  # it is not there yet, or what opens it says why it cannot be
            skip.add(_identity(output))
    suffixes = IMAGE_SUFFIXES | (HEIC_SUFFIXES if importlib.util.find_spec("pillow_heif") else set())
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[str, tuple[Path, Path]] = {}  # absolute path -> (file, folder its result name is relative to)
    for path in paths:
        if os.path.isdir(path):  # unlike Path.is_dir, False where it cannot be told
            if output is not None:
                check_is_not_output(path, output)
            here: Counter[tuple[str, str]] = Counter()
            inside = list(_walk(path, set(skip), suffixes, here))
            if not inside and not may_be_empty:
                counted = "".join(f"; left out: {part.sentence}" for part in LeftOut.of(here))
                raise InputError(
                    f"the folder {path} holds no images: expected files ending in "
                    f"{', '.join(sorted(suffixes))}, or DICOM photographs, in it or its subfolders{counted}"
                )
            counts += here
            for image in inside:
                found.setdefault(os.path.abspath(image), (image, path))
        elif os.path.lexists(path):
            found.setdefault(os.path.abspath(path), (path, path.parent))
        else:
            raise InputError(f"there is no file or folder {path}: check the path")
    frames: list[tuple[Path | Frame, Path]] = []
    for path, root in found.values():
        inside_file, ruled_out_by = _contents(path, any_modality)
        frames += [(frame, root) for frame in inside_file]
        if ruled_out_by is not None:
            counts[SUBJECT, ruled_out_by] += 1
    stems = unique_names((_file_name(frame), root) for frame, root in frames)
    images = [
        InputImage(frame.path, stem, frame.number) if isinstance(frame, Frame) else InputImage(frame, stem)
        for (frame, _), stem in zip(frames, stems, strict=True)
    ]
    return Discovery(images, LeftOut.of(counts))


def check_is_not_output(folder: Path, output: Path) -> None:
    """Reject to look for photographs in the output folder, which is always left out.

    Args:
        folder: Folder that is to be read.
        output: Folder that the results go to, which need not be there.

    Raises:
        InputError: If they are the same.
    """
    if os.path.isdir(output) and os.path.samefile(folder, output):
        raise InputError(
            f"the folder {folder} is the output folder itself: choose another for the results with --output"
        )


def _walk(
    folder: Path, seen: set[_Identity], suffixes: frozenset[str], counts: Counter[tuple[str, str]]
) -> Iterator[Path]:
    """Yield the images below a folder. Iterative: folders may be nested deeper than Python recurses."""
    try:
        if _is_known(folder, seen):
            return
        if holds_results(folder):
            counts[RESULTS, ""] += 1
            return
        levels = [_entries(folder)]
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif entry.name.startswith("."):
            counts[HIDDEN, ""] += 1
        elif os.path.isdir(entry):
            try:
                if _is_known(entry, seen):
                    continue
                if is_of_system(entry.name):
                    counts[SYSTEM, entry.name] += 1
                elif holds_results(entry):
                    counts[RESULTS, ""] += 1
                else:
                    levels.append(_entries(entry))
            except OSError:
                yield entry
        elif entry.suffix.lower() in suffixes or (kind := left_out_as(entry)) is None:
            yield entry
        elif (name := format_not_read(entry.suffix)) is not None:
            counts[FORMAT, name] += 1
        else:
            counts[DICOM if kind else OTHER, kind] += 1


def _entries(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir(), key=lambda entry: entry.name))


def _is_known(folder: Path, seen: set[_Identity]) -> bool:
    """Whether it is the output folder, a loop, or a second link to the same folder; notes it."""
    identity = _identity(folder)
    known = identity in seen
    seen.add(identity)
    return known


def _identity(folder: Path) -> _Identity:
    """Device and number of a folder, the same by whatever links it is reached."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _contents(path: Path, any_modality: bool) -> tuple[list[Path | Frame], str | None]:
    """Open only files that are not images by their extension."""
    if path.suffix.lower() in IMAGE_SUFFIXES | HEIC_SUFFIXES:
        return [path], None
    return contents_of(path, any_modality)


def _file_name(frame: Path | Frame) -> Path:
    return frame if isinstance(frame, Path) else numbered(frame.path, frame.number)
