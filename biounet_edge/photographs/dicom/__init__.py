"""DICOM in and out: photographs are read by content, results are written into their source's study.

`Frame` and `frames_of` need no DICOM library; what reads and writes needs the extra `dicom` and is imported
where a DICOM file is met. docs/dicom.md says what is read, what is written, and with which codes.
"""

from biounet_edge.photographs.dicom.content import Frame, frames_of

__all__ = ["Frame", "frames_of"]
