"""What a bundle with a familiarity score does with photographs that it does not know: the dark ones, here."""

import json
import pickle

import numpy as np
import pytest

from biounet_edge import Category, ImageError, Prediction, PredictionFailure, Predictor, UnfamiliarError
from biounet_edge.bundle.manifest import CANNOT_JUDGE
from biounet_edge.checks.verification import verify
from biounet_edge.prediction import WARNING, is_unfamiliar, make_prediction
from biounet_edge.results.outcome_record import outcome_from_dict
from biounet_edge.results.tables import csv_row

from .familiar_bundles import THRESHOLD


@pytest.fixture(scope="session")
def dark(photograph: np.ndarray) -> np.ndarray:
    return photograph // 4


def test_familiar_photograph_has_its_score(judge, predictor, photograph):
    prediction = judge.predict(photograph)
    assert prediction.familiarity == pytest.approx(photograph.mean(), abs=2)
    assert (prediction.status, prediction.category, prediction.warning) == ("ok", None, None)
    assert prediction.melanoma_probability == predictor.predict(photograph).melanoma_probability


def test_unfamiliar_photograph_gets_no_prediction(judge, dark):
    with pytest.raises(
        UnfamiliarError, match=r"not assessed: it does not look like .* expected 100 or more\)"
    ) as e:
        judge.predict(dark)
    assert e.value.familiarity == pytest.approx(dark.mean(), abs=2)
    assert isinstance(e.value, ImageError)


def test_stream_says_which_photographs_are_unfamiliar(judge, photograph, dark):
    first, second, third = judge.stream([photograph, dark, photograph])
    assert isinstance(first, Prediction)
    assert isinstance(third, Prediction)
    assert isinstance(second, PredictionFailure)
    assert (second.status, second.category) == ("unfamiliar", Category.UNFAMILIAR)
    assert set(second.to_dict()) == {"image", "sha256", "status", "category", "error", "familiarity"}


def test_unfamiliar_photograph_is_assessed_with_a_warning_where_it_is_accepted(lenient, predictor, dark):
    prediction = lenient.predict(dark)
    assert (prediction.status, prediction.category) == ("unfamiliar", Category.UNFAMILIAR)
    assert prediction.warning == WARNING
    assert prediction.melanoma_probability == predictor.predict(dark).melanoma_probability
    content = json.loads(json.dumps(prediction.to_dict()))
    assert content["warning"] == WARNING
    row = csv_row(prediction)
    assert (row["status"], row["category"], row["warning"]) == ("unfamiliar", "unfamiliar", WARNING)


def test_bundle_without_a_score_cannot_judge(predictor, dark):
    prediction = predictor.predict(dark)
    assert (prediction.familiarity, prediction.status) == (None, "ok")
    assert csv_row(prediction)["familiarity"] == ""
    assert "cannot judge" in CANNOT_JUDGE


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_score_that_is_no_number_is_unfamiliar(judging_bundle, score):
    assert is_unfamiliar(judging_bundle.manifest, {"familiarity": np.float32(score)})


def test_score_at_the_threshold_is_familiar(judging_bundle):
    assert not is_unfamiliar(judging_bundle.manifest, {"familiarity": np.float32(THRESHOLD)})


@pytest.mark.parametrize("output", ["melanoma_probability", "familiarity"])
def test_unfamiliar_comes_before_values_that_are_no_numbers(
    judging_bundle, photograph, dark, monkeypatch, output
):
    with Predictor(judging_bundle, device="cpu", level="classify") as predictor:
        run = predictor.backend.run

        def broken(images):
            outputs = run(images)
            outputs[output][:] = np.nan
            return outputs

        monkeypatch.setattr(predictor.backend, "run", broken)
        bright, black = predictor.stream([photograph, dark])
    assert black.category is Category.UNFAMILIAR
    assert black.familiarity is None if output == "familiarity" else black.familiarity < THRESHOLD
    expected = Category.UNFAMILIAR if output == "familiarity" else Category.FAILED
    assert bright.category is expected


def test_outcomes_are_read_back(judge, lenient, dark):
    for outcome in (*judge.stream([dark]), lenient.predict(dark)):
        record = json.loads(json.dumps(outcome.to_dict()))
        assert outcome_from_dict(record).to_dict() == record


def test_outcomes_of_earlier_versions_are_read_back(predictor, photograph):
    new = ("category", "familiarity", "warning", "notes")
    record = predictor.predict(photograph).to_dict()
    old = {key: value for key, value in record.items() if key not in new}
    assert outcome_from_dict(old).to_dict() == record | {"notes": []}
    for sha256, category in (("ab" * 32, Category.REFUSED), (None, Category.RETRY)):
        outcome = outcome_from_dict({"image": "a", "sha256": sha256, "status": "error", "error": "no"})
        assert (outcome.category, outcome.error) == (category, "no")


def test_pickled_predictor_keeps_its_options(judging_bundle, dark):
    with (
        Predictor(
            judging_bundle, device="cpu", level="classify", accept_unfamiliar=True, any_modality=True
        ) as predictor,
        pickle.loads(pickle.dumps(predictor)) as copy,
    ):
        assert (copy.accept_unfamiliar, copy.any_modality) == (True, True)
        assert copy.predict(dark).status == "unfamiliar"


def test_verify_compares_the_score(judging_bundle):
    certificate = verify(judging_bundle, "cpu", "float32")
    assert certificate.passed
    checks = [
        check for level in certificate.levels for check in level.checks if check.output == "familiarity"
    ]
    assert len(checks) == 3


def test_prediction_of_outputs_without_a_threshold(bundle):
    outputs = {
        "melanoma_probability": np.float32(0.5),
        "melanoma_contribution": np.zeros(5, np.float32),
        "indicator_probability": np.zeros(5, np.float32),
    }
    prediction = make_prediction(bundle.manifest, "classify", outputs, "a", (2, 2), notes=("a note",))
    assert (prediction.familiarity, prediction.unfamiliar, prediction.notes) == (None, False, ("a note",))
