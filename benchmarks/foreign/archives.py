"""The packages whose sample and test images the evaluation set takes, fetched by pip and npm."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from biounet_edge.errors import InputError, IntegrityError

TABLE = Path(__file__).with_name("archives.csv")


@dataclass(frozen=True)
class Archive:
    """A package at one version."""

    file: str
    """Name of the file that the registry serves."""
    registry: str
    """"pypi" or "npm"."""
    package: str
    version: str
    licence: str
    """Of the package; where its pictures have one of their own, members.csv says so."""
    sha256: str
    """Of the file."""


def read_archives(table: Path = TABLE) -> dict[str, Archive]:
    """Return the archives of the table by file name."""
    with table.open(encoding="utf-8", newline="") as rows:
        return {row["file"]: Archive(**row) for row in csv.DictReader(rows)}


def fetch(archive: Archive, folder: Path) -> Path:
    """Download an archive, unless the folder already has it.

    pip prepares the metadata of a source archive before it saves it, which can take minutes.

    Args:
        archive: What is wanted.
        folder: Where archives are kept; made where it is missing.

    Returns:
        The archive's path.

    Raises:
        InputError: If pip or npm is missing, fails, or downloads another file.
        IntegrityError: If the file is not the one in the table.
    """
    path = folder / archive.file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(list(_command(archive, folder)))
    if not path.exists():
        raise InputError(
            f"{archive.registry} was expected to serve {archive.file} for {archive.package} "
            f"{archive.version} and served another file; change {TABLE.name}"
        )
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != archive.sha256:
        raise IntegrityError(
            f"{path} should have SHA-256 {archive.sha256} and has {found}; delete it and try again"
        )
    return path


def _command(archive: Archive, folder: Path) -> Iterator[str]:
    if archive.registry == "npm":
        yield from ("npm", "pack", "--silent", f"--pack-destination={folder}")
        yield f"{archive.package}@{archive.version}"
        return
    yield from (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}")
    if archive.file.endswith(".whl"):
        *_, python, abi, platform = archive.file.removesuffix(".whl").split("-")
        yield from ("--only-binary=:all:", f"--platform={platform.split('.')[0]}")
        if abi != "none":
            yield from (f"--python-version={python[2]}.{python[3:]}", f"--abi={abi}")
    else:
        yield "--no-binary=:all:"
    yield f"{archive.package}=={archive.version}"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise InputError(f"{command[0]} is not installed; install it and try again") from error
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"{' '.join(command)} failed: {last}")
