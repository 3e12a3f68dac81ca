"""DICOM in and out: photographs are read by content, results are written into their source's study.

`content` needs nothing; every other module needs the extra `dicom` and is imported where a DICOM file is met.
"""
