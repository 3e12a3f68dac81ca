"""DICOM photographs, detected by content.

`Frame` and `frames_of` need no DICOM library; what reads pixels needs the extra `dicom` and is imported when
a DICOM file is met. docs/dicom.md says what is read, and what `biounet_edge.results.dicom` writes.
"""

from biounet_edge.photographs.dicom.content import frames_of
from biounet_edge.photographs.dicom.signature import Frame

__all__ = ["Frame", "frames_of"]
