"""A folder that appears whole or not at all."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biounet_edge.errors import ExportError


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder beside the final one, and rename it at the end.

    Where the block raises, the temporary folder is removed and the final one is as it was.

    Args:
        path: The final folder.
        overwrite: Whether a folder that is already there is replaced.

    Yields:
        The temporary folder.

    Raises:
        ExportError: If the final folder is already there and must stay.
    """
    if path.exists() and not overwrite:
        raise ExportError(f"{path} is already there: choose another folder, or replace it with --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary, replaced = (path.with_name(f".{path.name}.{mark}.{kind}") for kind in ("new", "old"))
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except BaseException:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
