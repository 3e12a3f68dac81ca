from dataclasses import replace
from pathlib import Path

import pytest

from biounet_edge.errors import DatasetError
from biounet_edge.evaluation.bootstrap import Draws
from biounet_edge.evaluation.decisions import Rate
from tests.train.scoring.written import QUICK, labelled, with_streaks, write_predictions
from train.data.records import Record
from train.scoring.predictions import Predictions
from train.scoring.probabilities import FEWEST, score_diagnosis, score_presence


def test_figures_of_the_diagnosis_come_from_the_written_table(tmp_path: Path) -> None:
    records = labelled(20)
    rows: dict[str, dict[str, object]] = {
        r.image_id: {"melanoma_probability": 0.9 if r.melanoma else 0.1, "melanoma": int(bool(r.melanoma))}
        for r in records
    }
    rows["I0"] = {"melanoma_probability": 0.05, "melanoma": 0}
    write_predictions(tmp_path, rows)
    (figures,) = score_diagnosis(Predictions(tmp_path, records), Draws(resamples=200))
    assert (figures.group, figures.images, figures.melanomas) == ("all", 20, 10)
    assert figures.auc is not None
    # One of ten melanomas is below all ten others.
    assert figures.auc.value == pytest.approx(0.9)
    assert figures.auc.low < 0.9 <= figures.auc.high == 1.0
    assert figures.average_precision is not None
    # Nine are found first; the last one is the tenth of twenty.
    assert figures.average_precision.value == pytest.approx(0.9 + 0.1 * 10 / 20)
    assert figures.calibration_error is not None
    # Nine at 0.9, ten at 0.1 and one at 0.05, in the last bin, the second and the first.
    assert figures.calibration_error.value == pytest.approx((9 * 0.1 + 10 * 0.1 + 0.95) / 20)
    assert figures.decisions.sensitivity == Rate(9, 10)
    assert figures.decisions.specificity == Rate(10, 10)


def test_images_without_a_diagnosis_are_not_judged(tmp_path: Path) -> None:
    records = [*labelled(4), Record("I9", Path("I9.jpg"), "a")]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    (figures,) = score_diagnosis(Predictions(tmp_path, records), QUICK)
    assert (figures.images, figures.melanomas) == (4, 2)
    assert list(score_diagnosis(Predictions(tmp_path, records[-1:]), QUICK)) == []


def test_one_class_alone_has_decisions_and_calibration_only(tmp_path: Path) -> None:
    records = [replace(r, melanoma=False) for r in labelled(4)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    (figures,) = score_diagnosis(Predictions(tmp_path, records), QUICK)
    assert (figures.auc, figures.average_precision) == (None, None)
    assert figures.calibration_error is not None
    assert (figures.decisions.sensitivity, figures.decisions.specificity) == (Rate(0, 0), Rate(4, 4))


def test_subgroups_are_judged_apart(tmp_path: Path) -> None:
    """Men are all called right; of women, none is."""
    sexes = ["female"] * 4 * FEWEST + ["male"] * 4 * FEWEST
    records = [replace(r, traits={"sex": s}) for r, s in zip(labelled(len(sexes)), sexes, strict=True)]
    rows = {r.image_id: {"melanoma": int(bool(r.melanoma) == (r.traits["sex"] == "male"))} for r in records}
    write_predictions(tmp_path, rows)
    judged = {of.group: of for of in score_diagnosis(Predictions(tmp_path, records), QUICK)}
    assert list(judged) == ["all", "sex: female", "sex: male"]
    assert judged["all"].decisions.sensitivity == Rate(2 * FEWEST, 4 * FEWEST)
    assert judged["sex: female"].decisions.sensitivity == Rate(0, 2 * FEWEST)
    assert judged["sex: male"].decisions.specificity == Rate(2 * FEWEST, 2 * FEWEST)


@pytest.mark.parametrize(
    ("age", "group"),
    [
        ("39.5", "under 40"),
        ("40", "40 to 59"),
        ("59.0", "40 to 59"),
        ("60", "60 and older"),
        (None, "unknown"),
    ],
)
def test_ages_are_grouped(age: str | None, group: str, tmp_path: Path) -> None:
    traits = {} if age is None else {"age": age}
    records = [replace(r, traits=traits) for r in labelled(2 * FEWEST)]
    others = [
        replace(r, image_id=f"B{r.image_id}", traits={"age": "20" if group != "under 40" else "70"})
        for r in labelled(2 * FEWEST)
    ]
    records += others
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    groups = [of.group for of in score_diagnosis(Predictions(tmp_path, records), QUICK)]
    assert f"age: {group}" in groups
    assert len(groups) == 3


def test_an_age_that_is_no_number_is_refused(tmp_path: Path) -> None:
    records = [replace(r, traits={"age": "young"}) for r in labelled(4)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    with pytest.raises(
        DatasetError, match="expected years or an empty cell for an age, got 'young'; correct"
    ):
        list(score_diagnosis(Predictions(tmp_path, records), QUICK))


def test_small_subgroups_are_left_out(tmp_path: Path) -> None:
    sexes = ["male"] * (2 * FEWEST) + ["female"] * (2 * FEWEST - 2)
    records = [replace(r, traits={"sex": s}) for r, s in zip(labelled(len(sexes)), sexes, strict=True)]
    write_predictions(tmp_path, {r.image_id: {} for r in records})
    groups = [of.group for of in score_diagnosis(Predictions(tmp_path, records), QUICK)]
    assert groups == ["all", "sex: male"]


def test_presence_comes_from_the_written_table(tmp_path: Path) -> None:
    records = with_streaks(10)
    rows = {
        f"I{i}": {"streaks_probability": 1 - i / 10, "streaks_present": int(i in (0, 1, 2, 7))}
        for i in range(10)
    }
    write_predictions(tmp_path, rows)
    (figures,) = score_presence(Predictions(tmp_path, records), QUICK)
    assert (figures.indicator, figures.images, figures.positives) == ("streaks", 10, 5)
    assert figures.auc is not None
    assert figures.auc.value == 1.0
    assert figures.decisions is not None
    assert figures.decisions.positive_predictive_value == Rate(3, 4)
    assert figures.decisions.sensitivity == Rate(3, 5)


def test_an_indicator_without_an_operating_point_has_an_auc_alone(tmp_path: Path) -> None:
    records = with_streaks(6)
    write_predictions(tmp_path, {r.image_id: {"streaks_present": ""} for r in records})
    (figures,) = score_presence(Predictions(tmp_path, records), QUICK)
    assert figures.decisions is None
    assert figures.auc is not None
