import math
import re
from itertools import pairwise

import pytest

from biounet_edge import INDICATORS
from biounet_edge.results.html.steps import Axis, logit_of, steps


def test_steps_add_up_to_the_probability(predict):
    prediction = predict()
    summands = steps(prediction.to_dict())
    assert [step.name for step in summands] == ["bias", *INDICATORS]
    assert summands[0].start == 0
    for before, after in pairwise(summands):
        assert after.start == before.end
    logit = summands[-1].end
    probability = 1 / (1 + math.exp(-logit / prediction.melanoma_temperature))
    assert probability == pytest.approx(prediction.melanoma_probability, abs=1e-6)


def test_steps_of_a_real_prediction_add_up_to_its_probability(predictor, photograph):
    prediction = predictor.predict(photograph)
    logit = steps(prediction.to_dict())[-1].end
    probability = 1 / (1 + math.exp(-logit / prediction.melanoma_temperature))
    assert probability == pytest.approx(prediction.melanoma_probability, abs=1e-5)


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.5, 0.0), (0.8, 2 * math.log(4)), (0, None), (1, None)]
)
def test_logit_of_undoes_the_sigmoid(probability, expected):
    assert logit_of(probability, 2.0) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "values", [[0.0], [0.3, -0.2], [-2.8, 0.6], [4.0, 1.0], [-4.001], [1e-9, 17.0], [-1e6, 3.0]]
)
def test_axis_holds_every_value_and_zero(values):
    axis = Axis.around(values)
    assert axis.low <= min(0, *values, 0)
    assert axis.high >= max(0, *values, 0)
    assert 0.5 <= -axis.low / axis.high <= 2


def test_bar_begins_and_ends_where_it_should():
    bar = Axis(-4, 4).bar(-2, 1, "for", 0.5)
    assert '<rect class="for" x="25.00%" width="37.50%"' in bar
    lines = re.findall(r'<line class="(\w+)" x1="([\d.]+)%" x2="([\d.]+)%" y1="(\d+)%" y2="(\d+)%"/>', bar)
    assert lines == [
        ("zero", "50.00", "50.00", "0", "100"),
        ("threshold", "56.25", "56.25", "0", "100"),
        ("carry", "25.00", "25.00", "0", "50"),
        ("carry", "62.50", "62.50", "50", "100"),
    ]


def test_bar_of_nothing_is_still_seen():
    assert 'x="50.00%" width="0.40%"' in Axis(-1, 1).bar(0, 0, "against", None)


def test_axis_labels_are_its_ends_and_zero():
    assert re.findall(r">([^<]+)</text>", Axis(-4, 2).labels()) == ["\N{MINUS SIGN}4", "0", "+2"]
