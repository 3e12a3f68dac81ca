"""What a run leaves in its output folder: tables, images, a journal, an HTML report and DICOM files."""
