"""What can go wrong, as one tree.

    BiounetEdgeError
    ├── BundleNotFoundError      (FileNotFoundError)  no bundle at that path
    ├── ManifestError            (ValueError)         not a manifest that this version can run
    ├── IntegrityError           (ValueError)         a bundle file is missing, changed or not safe to load
    ├── ImageError               (ValueError)         an image cannot be read, or is left out by a rule
    │   └── UnfamiliarError                           an image is unlike those that the model knows
    ├── InputError               (ValueError)         what was asked for does not exist or is contradictory
    ├── OutputError              (OSError)            a result cannot be written
    ├── BackendUnavailableError  (RuntimeError)       the device or its library is not available
    ├── EngineMismatchError      (RuntimeError)       an engine was built for another GPU, version or graph
    ├── VerificationError        (RuntimeError)       this machine does not reproduce the golden outputs
    ├── CheckpointError          (ValueError)         a checkpoint is missing, damaged or of another model
    ├── DatasetError             (ValueError)         training data on disk is not what its layout says
    └── ExportError              (ValueError)         a model cannot be written as a bundle

Every message says what was expected, what came and what to do.
"""

from enum import StrEnum


class Category(StrEnum):
    """Why a photograph has no diagnosis, in one word: for programs, beside the sentence that people read.

    docs/embedding.md says what to do about each.
    """

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


class BiounetEdgeError(Exception):
    """Base of every error that this project raises on purpose."""


class BundleNotFoundError(BiounetEdgeError, FileNotFoundError):
    """There is no bundle at the given path."""


class ManifestError(BiounetEdgeError, ValueError):
    """manifest.json is damaged, incomplete or of a newer format."""


class IntegrityError(BiounetEdgeError, ValueError):
    """A file of the bundle is missing, is not the one its manifest names, or is not safe to load."""


class ImageError(BiounetEdgeError, ValueError):
    """An image is unreadable, truncated, empty or too large, or is left out by a rule."""

    def __init__(self, message: str, category: Category | None = None) -> None:
        """Take the reason.

        Args:
            message: The reason, one sentence.
            category: The kind of reason; None where the cause tells it.
        """
        super().__init__(message)
        self._category = category

    @property
    def category(self) -> Category:
        """The kind of reason: as it was given, or by what the error was raised from."""
        if self._category is not None:
            return self._category
        if isinstance(self.__cause__, OSError | MemoryError):
            return Category.RETRY
        return Category.FAILED if isinstance(self.__cause__, ImportError) else Category.REFUSED

    @property
    def is_of_content(self) -> bool:
        """False if the machine failed and not the image, so that another attempt may succeed."""
        return self.category not in (Category.FAILED, Category.RETRY)


class UnfamiliarError(ImageError):
    """An image is whole, but does not look like those that the model was trained on."""

    def __init__(self, message: str, familiarity: float | None = None) -> None:
        """Take the reason.

        Args:
            message: The reason, one sentence.
            familiarity: The image's score, which is below the bundle's threshold.
        """
        super().__init__(message, Category.UNFAMILIAR)
        self.familiarity = familiarity


class InputError(BiounetEdgeError, ValueError):
    """A path does not exist, a folder holds no images, or an option does not apply here."""


class OutputError(BiounetEdgeError, OSError):
    """A result cannot be written: the disk is full, or the folder is read-only or gone."""


class BackendUnavailableError(BiounetEdgeError, RuntimeError):
    """The device that was asked for, or the library that drives it, is not available."""


class EngineMismatchError(BiounetEdgeError, RuntimeError):
    """A compiled engine was built for another GPU, library version, graph or batch size."""


class VerificationError(BiounetEdgeError, RuntimeError):
    """Outputs on this machine differ from the bundle's golden outputs."""


class CheckpointError(BiounetEdgeError, ValueError):
    """A checkpoint is missing, damaged or belongs to a different model."""


class DatasetError(BiounetEdgeError, ValueError):
    """Training data on disk contradicts its layout, its tables or its split."""


class ExportError(BiounetEdgeError, ValueError):
    """A model cannot be converted, or its conversion misses a parity gate."""
