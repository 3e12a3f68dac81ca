"""Files that appear whole or not at all."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onnx_gradcam.errors import OutputError


@contextmanager
def new_files(path: Path, companions: Sequence[Path] = (), *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder, and move the files written there to their places at the end.

    Where the block raises, everything stays as it was. `path` is moved last: who sees it sees its companions.

    Args:
        path: The file.
        companions: Files beside it that may be written with it.
        overwrite: Whether files that are already there are replaced.

    Yields:
        A folder on the same disk; each file has its final name there.

    Raises:
        OutputError: If a file is already there and must stay, or cannot be written.
    """
    targets = [*companions, path]
    if not overwrite and any(target.exists() for target in targets):
        raise OutputError(f"{path} is there already: choose another name, or replace it with --overwrite")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
            written = Path(folder, "new")
            written.mkdir()
            yield written
            _move([target for target in targets if (written / target.name).exists()], written)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): choose another folder"
        ) from error


def _move(targets: Sequence[Path], written: Path) -> None:
    """Move new files over old ones; where one cannot be moved, bring the old ones back."""
    *companions, last = targets
    kept: list[Path] = []
    placed: list[Path] = []
    try:
        for target in companions:
            if target.exists():
                target.replace(written.with_name(target.name))
                kept.append(target)
            (written / target.name).replace(target)
            placed.append(target)
        (written / last.name).replace(last)
    except BaseException:
        for target in placed:
            target.unlink(missing_ok=True)
        for target in kept:
            written.with_name(target.name).replace(target)
        raise
