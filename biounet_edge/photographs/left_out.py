"""What a folder holds beside photographs, and why it is left out: counted, so that nothing is lost unseen."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FORMAT = "photographs in formats that are not read"
HIDDEN = "hidden files and folders"
SYSTEM = "folders that a system keeps beside photographs"
RESULTS = "folders with results of biounet-edge"
DICOM = "DICOM files that are no photographs"
SUBJECT = "DICOM images that are no photographs of skin"
OTHER = "files that are no photographs"

_ONE = {
    FORMAT: "photograph in a format that is not read",
    HIDDEN: "hidden file or folder",
    SYSTEM: "folder that a system keeps beside photographs",
    RESULTS: "folder with results of biounet-edge",
    DICOM: "DICOM file that is no photograph",
    SUBJECT: "DICOM image that is no photograph of skin",
    OTHER: "file that is no photograph",
}
_HINT = 'pip install "biounet-edge[heif]" reads HEIC'

_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "__macosx", "lost+found"}
)
_FORMATS = {
    ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL", ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000", ".jpx": "JPEG 2000", ".jxr": "JPEG XR", ".gif": "GIF", ".psd": "PSD", ".tga": "TGA",
    ".dng": "DNG", ".cr2": "CR2", ".cr3": "CR3", ".nef": "NEF", ".arw": "ARW", ".orf": "ORF", ".raf": "RAF",
    ".rw2": "RW2", ".pef": "PEF", ".srw": "SRW", ".svs": "SVS", ".ndpi": "NDPI", ".ppm": "PNM", ".pgm": "PNM",
}  # fmt: skip
_JOURNAL = "journal.jsonl"
_LONGEST_LINE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or folders that were left out for one reason."""

    reason: str
    """Why, as it is printed."""
    kinds: tuple[str, ...]
    """Names of formats, folders, kinds of DICOM objects or attributes, where the reason has some; never those
    of single files."""
    count: int
    """How many."""

    @classmethod
    def of(cls, counts: Counter[tuple[str, str]]) -> "list[LeftOut]":
        """Sum up by reason.

        Args:
            counts: How many by reason and kind; the kind may be empty.

        Returns:
            One entry per reason, in the order in which they were met.
        """
        reasons = dict.fromkeys(reason for reason, _ in counts)
        return [
            cls(
                reason,
                tuple(sorted(kind for name, kind in counts if name == reason and kind)),
                sum(count for (name, _), count in counts.items() if name == reason),
            )
            for reason in reasons
        ]

    @property
    def sentence(self) -> str:
        """As it is printed: "3 photographs in formats that are not read: HEIC"."""
        reason = _ONE.get(self.reason, self.reason) if self.count == 1 else self.reason
        hint = f" ({_HINT})" if "HEIC" in self.kinds else ""
        return f"{self.count:,} {reason}{': ' if self.kinds else ''}{', '.join(self.kinds)}{hint}"


def is_of_system(name: str) -> bool:
    """Return whether a folder is one that a NAS, Windows or macOS keeps: thumbnails, deleted files.

    Args:
        name: The folder's name.

    Returns:
        True where it is left out.
    """
    return name.lower() in _SYSTEM_FOLDERS


def format_not_read(suffix: str) -> str | None:
    """Name the format of a photograph that is not read.

    Args:
        suffix: The file's extension, with its dot.

    Returns:
        The format; None where the extension is none of a photograph.
    """
    return _FORMATS.get(suffix.lower())


def holds_results(folder: Path) -> bool:
    """Return whether a folder holds the journal of a run, of this version or an earlier one.

    Args:
        folder: Any folder.

    Returns:
        True where its images are overlays and masks.
    """
    try:
        path = folder / _JOURNAL
        if not path.is_file():
            return False
        with path.open("rb") as file:
            line = json.loads(file.readline(_LONGEST_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(line, dict) and ("journal" in line or {"run", "stem"} <= line.keys())
