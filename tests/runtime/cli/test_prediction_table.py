from dataclasses import replace

import pytest

from biounet_edge.cli.prediction_table import _cells


@pytest.mark.parametrize(("present", "style"), [(True, "bold"), (False, "dim"), (None, "")])
def test_cell_of_an_indicator_shows_whether_it_is_present(undecided_predictor, photograph, present, style):
    prediction = undecided_predictor.predict(photograph)
    streaks = replace(prediction.indicators["streaks"], present=present)
    _, cell = _cells(replace(prediction, indicators={"streaks": streaks}))
    assert cell == ((f"{streaks.probability:.0%}", f"{streaks.contribution:+.1f}"), style)
