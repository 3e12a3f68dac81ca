from dataclasses import replace
from pathlib import Path

from tests.train.scoring.written import POINTS, QUICK, with_streaks, write_predictions, write_probabilities
from train.data.records import Record
from train.scoring.masks import score_masks
from train.scoring.page import format_scores
from train.scoring.predictions import Predictions
from train.scoring.probabilities import score_diagnosis, score_presence


def test_the_page_shows_every_figure(tmp_path: Path, masked: list[Record]) -> None:
    write_probabilities(tmp_path, masked)
    records = [replace(r, melanoma=index == 0) for index, r in enumerate(masked)]
    write_predictions(tmp_path, {r.image_id: {"melanoma": 1} for r in records})
    loaded = Predictions(tmp_path, records)
    page = format_scores(
        list(score_diagnosis(loaded, QUICK)),
        list(score_presence(loaded, QUICK)),
        list(score_masks(loaded, POINTS, QUICK)),
    )
    tables = [table.splitlines() for table in page.split("\n\n")]
    assert [len(table) for table in tables] == [3, 4, 5]
    for table in tables:
        assert len({row.count("|") for row in table}) == 1
    assert "| all | 3 | 1 | 0.500 (0.500 to 0.500) | 0.333 (0.333 to 0.667) |" in tables[0][2]
    assert "| 1.000 (0.207 to 1.000), 1 of 1 | 0.000 (0.000 to 0.658), 0 of 2 |" in tables[0][2]
    assert tables[1][2] == (
        "| streaks | 3 | 2 | 0.500 (0.500 to 0.500) | 0.667 (0.208 to 0.939), 2 of 3 "
        "| 1.000 (0.342 to 1.000), 2 of 2 |"
    )
    assert tables[1][3] == "| mean |  |  | 0.500 |  |  |"
    assert tables[2][2].startswith("| streaks | all | 2 of 3 | ")
    # The paper's 14.17 %, in Table 2.
    assert "| 0.142 | not measured | 0.139 |" in tables[2][2]


def test_the_page_says_where_there_is_no_operating_point(tmp_path: Path) -> None:
    records = with_streaks(6)
    write_predictions(tmp_path, {r.image_id: {"streaks_present": ""} for r in records})
    page = format_scores([], list(score_presence(Predictions(tmp_path, records), QUICK)), [])
    assert "| streaks | 6 | 3 | 0.500 (0.500 to 0.500) | probability only |  |" in page
