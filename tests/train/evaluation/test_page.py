import pytest

from train.evaluation.page import format_page
from train.evaluation.report import Diagnosis, DiagnosisFigures, Evaluation, Figure, Settings

from .test_report import CONTENT


@pytest.fixture
def evaluation() -> Evaluation:
    content = {**CONTENT, "pooled_jaccard": {"grad_cam": {"streaks": 0.3, "mean": 0.3, "micro_average": 0.3}}}
    return Evaluation.model_validate(content)


def test_figures_stand_with_interval_and_images(evaluation: Evaluation) -> None:
    page = format_page(evaluation)
    assert "| streaks | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) | 9 | 4 |" in page
    figure = "0.500 (0.400 to 0.600)"
    assert f"| streaks | {figure} | {figure} | not measured | {figure} | 0.300 | 0.200 | 4 | 9 |" in page


def test_every_table_has_as_many_cells_in_each_row(evaluation: Evaluation) -> None:
    tables = [block.splitlines() for block in format_page(evaluation).split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({row.count("|") for row in table}) == 1


def test_each_method_has_a_section(evaluation: Evaluation) -> None:
    both = {"grad_cam": evaluation.localisation["grad_cam"], "lime": {}}
    page = format_page(evaluation.model_copy(update={"localisation": both}))
    assert (
        page.index("## Localisation") < page.index("### Grad-CAM of the last block") < page.index("### LIME")
    )


def test_what_was_not_measured_says_so(evaluation: Evaluation) -> None:
    bare = evaluation.model_copy(update={"presence": {}, "localisation": {"grad_cam": {}}})
    page = format_page(bare)
    assert "Not measured: no image has a known diagnosis." in page
    assert "Not measured: no image has a label." in page
    assert "Not measured: no image has a mask." in page


def test_diagnosis_names_its_images(evaluation: Evaluation) -> None:
    figure = Figure(value=0.8, low=0.7, high=0.9)
    figures = DiagnosisFigures(
        accuracy=figure,
        balanced_accuracy=None,
        auc=None,
        average_precision=None,
        sensitivity_at_95_specificity=None,
        calibration_error=figure,
    )
    judged = Diagnosis(images=9, melanomas=0, figures=figures)
    page = format_page(evaluation.model_copy(update={"diagnosis": judged}))
    assert "9 images with a known diagnosis, 0 of them melanomas." in page
    assert "| accuracy at the operating point | 0.800 (0.700 to 0.900) |" in page
    assert "| AUC | not measured |" in page


def test_a_sample_says_that_it_is_one(evaluation: Evaluation) -> None:
    settings = Settings(resamples=100, seed=0, sampled_from=80, lime_samples=50, heatmap_threshold=0.6)
    page = format_page(evaluation.model_copy(update={"settings": settings}))
    assert "the images are a random sample of 80" in page
    assert "LIME asks about 50 perturbed copies" in page


def test_page_says_at_which_size_masks_are_compared(evaluation: Evaluation) -> None:
    assert "compared at 64 x 64 pixels: the true masks are reduced to it" in format_page(evaluation)


def test_the_page_says_whose_intervals_they_are(evaluation: Evaluation) -> None:
    settings = Settings(resamples=100, seed=0, sampled_from=None, lime_samples=None, heatmap_threshold=0.6)
    page = format_page(evaluation.model_copy(update={"settings": settings}))
    assert "95 % percentile bootstrap over images, 100 resamples" in page
    assert "Of sensitivity, specificity and predictive value it is Wilson's." in page


def test_rates_at_the_operating_point_are_shown(evaluation: Evaluation) -> None:
    figure = Figure(value=0.8, low=0.7, high=0.9)
    figures = DiagnosisFigures(
        accuracy=figure,
        balanced_accuracy=None,
        auc=None,
        average_precision=None,
        sensitivity_at_95_specificity=None,
        sensitivity=figure,
        calibration_error=figure,
    )
    judged = Diagnosis(images=9, melanomas=4, figures=figures)
    page = format_page(evaluation.model_copy(update={"diagnosis": judged}))
    assert "| sensitivity at the operating point | 0.800 (0.700 to 0.900) |" in page
    assert "| specificity at the operating point | not measured |" in page
