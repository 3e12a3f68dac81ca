"""The overlay as a DICOM Secondary Capture, for viewers that show nothing but images."""

from highdicom.sc import SCImage
from pydicom.dataset import Dataset

from biounet_edge.errors import InputError
from biounet_edge.prediction import Prediction
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.source import SourceImage
from biounet_edge.results.overlay import draw_overlay


def make_capture(source: SourceImage, prediction: Prediction, author: Authorship) -> Dataset:
    """Make a colour image of the photograph with the findings and the legend drawn in.

    Args:
        source: The photograph.
        prediction: What to draw; needs its `preview`.
        author: The model and the run.

    Returns:
        The object, ready to be saved.

    Raises:
        InputError: If the prediction carries no preview.
    """
    if prediction.preview is None:
        raise InputError("an overlay needs the photograph: predict with preview_px above 0")
    overlay = draw_overlay(prediction, prediction.preview, author.notice)  # (h, w, 3)
    result: Dataset = SCImage.from_ref_dataset(
        ref_dataset=source.dataset,
        pixel_array=overlay,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",  # explicit VR little endian
        **author.series("dicom-sc", source),
    )
    result.PatientOrientation = None  # unknown; the constructor takes no such answer
    result.Laterality = None
    result.ConversionType = "WSD"  # drawn on a workstation
    result.BurnedInAnnotation = "YES"
    result.DerivationDescription = "Overlay of the indicators found and a legend"
    result.ImageComments = author.remark(prediction.warning)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in source.dataset:
            result[keyword] = source.dataset[keyword]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.dataset.SOPInstanceUID
    result.SourceImageSequence = [reference]
    source.complete(result)
    return result
