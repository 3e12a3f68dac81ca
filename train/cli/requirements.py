"""What commands need beyond the libraries of training."""

from collections.abc import Iterator
from contextlib import contextmanager

from biounet_edge.errors import BackendUnavailableError


@contextmanager
def study_requirements(command: str) -> Iterator[None]:
    """Say what to install where a library of the study is missing.

    Args:
        command: Name of the command that needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"{command} needs {error.name}, which is not installed; "
            "run `pip install -r requirements/study.txt`"
        ) from error
