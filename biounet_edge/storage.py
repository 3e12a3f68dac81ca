"""Files that appear whole or not at all, whatever happens while they are written."""

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from biounet_edge.errors import OutputError

_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}")


class PendingFile:
    """An open file under a temporary name, until it is placed or discarded."""

    def __init__(self, path: Path, *, text: bool = False) -> None:
        """Open the temporary file.

        Args:
            path: Where the file is to appear; its folder has to exist.
            text: Write text, as UTF-8 and with line ends as given, in place of bytes.

        Raises:
            OSError: If it cannot be opened.
        """
        self._path = path
        # Hidden, in the same folder: renaming it is then one step of the file system.
        self._temporary = _temporary_beside(path)
        self.file: IO[Any]
        if text:  # file names may hold bytes that are not UTF-8; they must not stop a run
            self.file = self._temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        else:
            self.file = self._temporary.open("wb")

    def place(self) -> None:
        """Close the file and let it take its place, over an earlier one.

        Raises:
            OSError: If it cannot be written to its end, or not renamed.
        """
        self.file.close()
        os.replace(self._temporary, self._path)

    def discard(self) -> None:
        """Remove the file as far as possible; nothing happens to one that was placed."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file in a folder that exists, over an earlier one.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        OSError: If it cannot be written; the earlier file is then still there.
    """
    temporary = _temporary_beside(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file and the folders above it.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise output_error(path, error) from error


def write_result(output: Path, name: str, content: bytes) -> None:
    """Write a file of a run, below its output folder and nowhere else.

    Args:
        output: Output folder, which has to exist.
        name: Path relative to it.
        content: The file's bytes.

    Raises:
        OutputError: If it cannot be written, or a link leads out of the output folder.
    """
    path = output / name
    _make_folder_of(path, output)
    try:
        replace_file(path, content)
    except OSError as error:
        raise output_error(path, error) from error


def remove_result(output: Path, name: str) -> None:
    """Remove a file of an earlier run, below its output folder and nowhere else.

    Args:
        output: Output folder.
        name: Path relative to it; need not be there.

    Raises:
        OutputError: If it cannot be removed.
    """
    path = output / name
    try:
        if Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(output)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def remove_leftovers(output: Path, folders: Iterable[str]) -> None:
    """Remove the temporary files that a killed run left behind. No other run may be writing there.

    Args:
        output: Output folder. Its other subfolders may hold photographs and are left alone.
        folders: Names of the subfolders that results are written to.

    Raises:
        OSError: If one cannot be removed.
    """
    inside = (output / folder for folder in folders)
    for folder in (output, *(folder for folder in inside if not folder.is_symlink())):
        for path, subfolders, names in os.walk(folder):
            if path == str(output):
                subfolders.clear()
            for name in filter(_TEMPORARY.fullmatch, names):
                os.unlink(os.path.join(path, name))


def output_error(path: Path, error: OSError) -> OutputError:
    """Say which result could not be written, and why.

    Args:
        path: The file.
        error: What the system reported.

    Returns:
        The error to raise.
    """
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}): "
        "check the free space and the permissions of the output folder, or choose another with --output"
    )


def _temporary_beside(path: Path) -> Path:
    """Return a name that no other writer uses."""
    return path.parent / f".tmp-{secrets.token_hex(8)}"


def _make_folder_of(path: Path, output: Path) -> None:
    """Make a file's folder below the output folder, and neither that one anew nor any beside it."""
    folder = path.parent
    try:
        if not folder.is_dir():
            for level in reversed(path.relative_to(output).parents[:-1]):  # the output folder may be gone
                (output / level).mkdir(exist_ok=True)
        inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(output))
    except OSError as error:
        raise output_error(path, error) from error
    if not inside:
        raise OutputError(
            f"{folder} leads out of the output folder {output}: remove that link, or choose another folder "
            "with --output"
        )
