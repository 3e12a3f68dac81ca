"""Why a photograph has no diagnosis, in one word: for programs, beside the sentence that people read."""

from enum import StrEnum


class Category(StrEnum):
    """One word for each kind of reason; docs/embedding.md says what to do about each."""

    SKIPPED = "skipped"
    """Left out by a rule: it is no photograph of skin by what its own header says."""
    REFUSED = "refused"
    """Damaged, too large or in a format that is not read: the same file is refused again."""
    UNFAMILIAR = "unfamiliar"
    """Whole, but unlike the photographs that the model was trained on."""
    FAILED = "failed"
    """An error of this program or of this machine, such as a library that is not installed."""
    RETRY = "retry"
    """May succeed later: a file that is still being written or is locked, memory that was short."""

    @property
    def is_failure(self) -> bool:
        """Whether a run that met it ends with exit code 3: what is left out or unfamiliar is an answer."""
        return self not in (Category.SKIPPED, Category.UNFAMILIAR)
