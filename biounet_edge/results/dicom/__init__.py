"""Predictions as DICOM objects in the study of their source. Imported where one is written."""
