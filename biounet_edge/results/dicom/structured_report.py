"""A prediction's numbers as a DICOM structured report of TID 1500."""

from highdicom.sr import (
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from biounet_edge.photographs.dicom.subject import PRODUCT
from biounet_edge.prediction import IndicatorFinding, Outcome, Prediction, PredictionFailure
from biounet_edge.results.dicom import codes
from biounet_edge.results.dicom.authorship import Authorship
from biounet_edge.results.dicom.source import SourceImage


def make_structured_report(source: SourceImage, prediction: Prediction, author: Authorship) -> Dataset:
    """Make a Comprehensive SR with a measurement group for melanoma and one for each indicator.

    Probabilities and areas are in percent, contributions in log-odds. The contributions and the bias, divided
    by the temperature, give the log-odds of melanoma. An indicator without an operating point is reported as
    probability only, neither present nor absent.

    Args:
        source: The photograph.
        prediction: What to report; areas are there at level full only.
        author: The model and the run.

    Returns:
        The object, ready to be saved; neither verified nor final.
    """
    groups = [_melanoma(source, prediction, author)]
    groups += [
        _indicator(source, name, finding, author, _cautions(prediction))
        for name, finding in prediction.indicators.items()
    ]
    return _report(source, groups, author)


def make_empty_report(source: SourceImage, outcome: PredictionFailure, author: Authorship) -> Dataset:
    """Make a Comprehensive SR which says that an unfamiliar photograph was not assessed, and why.

    It names neither melanoma nor an indicator: a program that lists the findings of a report must not list
    any.

    Args:
        source: The photograph.
        outcome: Why there is no prediction.
        author: The model and the run.

    Returns:
        The object, ready to be saved; neither verified nor final.
    """
    evaluations = [
        QualitativeEvaluation(codes.ASSESSMENT, codes.NOT_ASSESSED),
        QualitativeEvaluation(codes.REASON, codes.UNFAMILIAR),
    ]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(), identifier="Not assessed"),
        finding_sites=[FindingSite(codes.SKIN)],
        algorithm_id=author.algorithm_of_report(),
        measurements=_familiarity(outcome),
        qualitative_evaluations=evaluations,
        source_images=[_reference(source)],
    )
    return _report(source, [group], author)


def _report(
    source: SourceImage, groups: list[MeasurementsAndQualitativeEvaluations], author: Authorship
) -> Dataset:
    device = DeviceObserverIdentifyingAttributes(
        uid=author.device_uid(),
        name=PRODUCT,
        manufacturer_name=PRODUCT,
        model_name=PRODUCT,
        serial_number=author.checksum,
    )
    observer = ObserverContext(CodedConcept.from_code(codes.DEVICE), device)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=groups,
    )
    result = ComprehensiveSR(
        evidence=[source.dataset],
        content=report,
        is_complete=True,
        is_final=False,
        is_verified=False,
        **author.series("dicom-sr", source),
    )
    source.complete(result)
    return result


def _melanoma(
    source: SourceImage, prediction: Prediction, author: Authorship
) -> MeasurementsAndQualitativeEvaluations:
    measurements = [
        _measurement(codes.PROBABILITY_OF_CANCER, 100 * prediction.melanoma_probability, codes.PERCENT),
        _measurement(codes.BIAS, prediction.melanoma_bias, codes.NO_UNITS),
        _measurement(codes.TEMPERATURE, prediction.melanoma_temperature, codes.NO_UNITS),
        *_familiarity(prediction),
    ]
    reached = codes.YES if prediction.melanoma else codes.NO
    evaluations = [QualitativeEvaluation(codes.REACHES_OPERATING_POINT, reached), *_cautions(prediction)]
    return _group(source, author, "Melanoma", codes.MELANOMA, measurements, evaluations)


def _indicator(
    source: SourceImage,
    name: str,
    finding: IndicatorFinding,
    author: Authorship,
    cautions: list[QualitativeEvaluation],
) -> MeasurementsAndQualitativeEvaluations:
    measurements = [
        _measurement(codes.INDICATOR_PROBABILITY, 100 * finding.probability, codes.PERCENT),
        _measurement(codes.CONTRIBUTION, finding.contribution, codes.NO_UNITS),
    ]
    if finding.area_pct is not None:
        measurements.append(_measurement(codes.AREA_FRACTION, finding.area_pct, codes.PERCENT))
    if finding.present is None:
        evaluation = QualitativeEvaluation(codes.REPORTED_AS, codes.PROBABILITY_ONLY)
    else:
        presence = codes.PRESENT if finding.present else codes.ABSENT
        evaluation = QualitativeEvaluation(codes.INDICATOR_PRESENCE, presence)
    evaluations = [evaluation, *cautions]
    return _group(source, author, codes.label(name), codes.INDICATOR_CODES[name], measurements, evaluations)


def _cautions(prediction: Prediction) -> list[QualitativeEvaluation]:
    """Say in every group that an unfamiliar photograph was assessed because somebody asked for it."""
    return [QualitativeEvaluation(codes.CAUTION, codes.UNFAMILIAR)] if prediction.unfamiliar else []


def _familiarity(outcome: Outcome) -> list[Measurement]:
    if outcome.familiarity is None:
        return []
    return [_measurement(codes.FAMILIARITY, outcome.familiarity, codes.NO_UNITS)]


def _group(
    source: SourceImage,
    author: Authorship,
    title: str,
    finding: Code,
    measurements: list[Measurement],
    evaluations: list[QualitativeEvaluation],
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(), identifier=title),
        finding_type=finding,
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_sites=[FindingSite(codes.SKIN)],
        algorithm_id=author.algorithm_of_report(),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[_reference(source)],
    )


def _reference(source: SourceImage) -> SourceImageForMeasurementGroup:
    image = source.dataset
    return SourceImageForMeasurementGroup(
        image.SOPClassUID, image.SOPInstanceUID, None if source.frame is None else [source.frame]
    )


def _measurement(name: Code, value: float, unit: Code) -> Measurement:
    return Measurement(name=name, value=float(f"{value:.6g}"), unit=unit)
