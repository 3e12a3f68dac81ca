"""A photograph as it is given: a path, bytes, one frame of a DICOM file or pixels.

`open_source` is the one place that asks which of them it is. What it returns has a name from the start, and a
checksum once its content was read.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biounet_edge.errors import Category, ImageError
from biounet_edge.photographs.decoding import Photograph, opened_photograph
from biounet_edge.photographs.dicom.reading import check_subject_of
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.photographs.file import (
    UnreadImageError,
    check_worth_reading,
    checksum,
    frame_checksum,
    is_large,
    read_file,
    turn_of,
)

Source = str | Path | bytes | Frame | NDArray[np.uint8]
"""A photograph: a path, the bytes of an image file, one frame of a DICOM file, or RGB pixels of shape
(H0, W0, 3), uint8."""


class OpenSource(Protocol):
    """A photograph that can be read once."""

    name: str
    """Its path; "<bytes>" or "<array>" where there is none."""
    sha256: str | None
    """SHA-256 of its content, in hexadecimal; None before it is read, and of pixels."""

    def read(self, height: int, width: int) -> AbstractContextManager[Photograph]:
        """Decode as many pixels as the network and an overlay need.

        Args:
            height: Input height in pixels.
            width: Input width in pixels.

        Returns:
            The photograph, for a block in which its pixels are used: other large ones wait for its end.

        Raises:
            ImageError: If it cannot be read whole or is too large; the message is the reason.
        """


def open_source(
    source: Source,
    before_decoding: Callable[[str], None] = lambda sha256: None,
    *,
    any_modality: bool = False,
) -> OpenSource:
    """Find out what a source is; nothing is read yet.

    Args:
        source: The photograph.
        before_decoding: Called with the checksum of the content once that is read; never for pixels.
        any_modality: Whether DICOM images are read that are no photographs of skin by their header.

    Returns:
        What reads it.
    """
    if isinstance(source, np.ndarray):
        return _Pixels(source)
    if isinstance(source, bytes):
        return _Content(source, before_decoding, any_modality)
    if isinstance(source, Frame):
        return _FrameOfFile(source, before_decoding, any_modality)
    return _File(Path(source), str(source), before_decoding, any_modality)


class _Pixels:
    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.name, self._pixels = "<array>", pixels
        self.sha256: str | None = None

    @contextmanager
    def read(self, height: int, width: int) -> Iterator[Photograph]:
        pixels = self._pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise ImageError(
                f"expected RGB pixels of shape (height, width, 3) and type uint8, got {pixels.shape} "
                f"{pixels.dtype}"
            )
        yield Photograph(pixels, (pixels.shape[0], pixels.shape[1]))


class _Content:
    def __init__(self, data: bytes, before_decoding: Callable[[str], None], any_modality: bool) -> None:
        self.name, self._data = "<bytes>", data
        self._before_decoding, self._any_modality = before_decoding, any_modality
        self.sha256: str | None = None

    @contextmanager
    def read(self, height: int, width: int) -> Iterator[Photograph]:
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        self._before_decoding(self.sha256)
        with opened_photograph(self._data, height, width, self._any_modality) as photograph:
            yield photograph


class _File:
    def __init__(
        self, path: Path, name: str, before_decoding: Callable[[str], None], any_modality: bool
    ) -> None:
        self.name, self._path = name, path
        self._before_decoding, self._any_modality = before_decoding, any_modality
        self.sha256: str | None = None

    @contextmanager
    def read(self, height: int, width: int) -> Iterator[Photograph]:
        with turn_of(self._path):
            self._check_large()
            try:
                data = read_file(self._path)
            except UnreadImageError:
                self.sha256 = checksum(self._path)
                raise
            self.sha256 = hashlib.sha256(data).hexdigest()
            self._before_decoding(self.sha256)
            with opened_photograph(data, height, width, self._any_modality) as photograph:
                del data
                yield photograph

    def _check_large(self) -> None:
        """Reject by its header what need not be held in memory for that: a video of gigabytes."""
        if is_large(self._path):
            try:
                check_subject_of(self._path, self._any_modality)
            except ImageError:
                with suppress(ImageError):
                    self.sha256 = checksum(self._path)
                raise


class _FrameOfFile:
    """A frame of a file that may be too large to be held for each of them."""

    def __init__(self, frame: Frame, before_decoding: Callable[[str], None], any_modality: bool) -> None:
        self.name, self._frame = str(frame), frame
        self._before_decoding, self._any_modality = before_decoding, any_modality
        self.sha256: str | None = None

    @contextmanager
    def read(self, height: int, width: int) -> Iterator[Photograph]:
        self.sha256 = frame_checksum(self._frame)
        check_worth_reading(self._frame.path)
        self._before_decoding(self.sha256)
        with opened_photograph(self._frame, height, width, self._any_modality) as photograph:
            if frame_checksum(self._frame) != self.sha256:
                self.sha256 = None  # which of the two contents was decoded cannot be told
                raise ImageError(
                    "the file changed while it was read: wait until it is complete and start again",
                    Category.RETRY,
                )
            yield photograph
