import json
from pathlib import Path

import pytest

from biounet_edge.errors import InputError
from train.evaluation.report import Evaluation, load_evaluation

FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}

CONTENT = {
    "format": 1,
    "model": {
        "name": "tiny",
        "row": None,
        "seed": 3,
        "config": "tiny.toml",
        "base_width": 4,
        "image_size_px": 64,
        "encoders": [["streaks", "melanoma"]],
        "training": ["rendered: 42 train"],
    },
    "data": {
        "source": "rendered",
        "side": "test",
        "images": 9,
        "counts": {"streaks": {"with": 4, "without": 5}},
    },
    "settings": None,
    "diagnosis": None,
    "presence": {"streaks": {"images": 9, "positives": 4, "auc": FIGURE, "predictive_value": FIGURE}},
    "localisation": {
        "grad_cam": {
            "streaks": {
                "images": 9,
                "images_filled": 4,
                "cdc_filled": FIGURE,
                "cdc_all": FIGURE,
                "dice": None,
                "jaccard": FIGURE,
                "cdc_everything": 0.2,
                "cdc_filled_at": {"0.0": 0.5, "0.1": 0.4},
            }
        }
    },
    "pooled_jaccard": {"grad_cam": {"mean": 0.3, "streaks": 0.3}},
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_evaluation_reads_what_it_writes(tmp_path: Path) -> None:
    evaluation = Evaluation.model_validate(CONTENT)
    (tmp_path / "evaluation.json").write_text(evaluation.to_json(), encoding="utf-8")
    assert json.loads(evaluation.to_json()) == CONTENT
    assert load_evaluation(tmp_path / "evaluation.json") == evaluation
    assert load_evaluation(tmp_path) == evaluation


def test_missing_evaluation_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an evaluation at .*evaluation\.json.*train evaluate"):
        load_evaluation(tmp_path)


def test_damaged_evaluation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"is not an evaluation of format 1 \(file: Invalid JSON.*\); run"):
        load_evaluation(path)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("format", 2, "format"), ("localisation", {"saliency": {}}, "saliency"), ("extra", 1, "extra")],
)
def test_other_content_is_refused_by_name(tmp_path: Path, key: str, value: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_evaluation(write(tmp_path / "evaluation.json", {**CONTENT, key: value}))


def test_figures_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    content = {**CONTENT, "pooled_jaccard": {"grad_cam": {"mean": float("nan")}}}
    with pytest.raises(InputError, match="finite number"):
        load_evaluation(write(tmp_path / "evaluation.json", content))


def test_an_evaluation_from_before_operating_points_were_judged_is_read(tmp_path: Path) -> None:
    older = json.loads(json.dumps(CONTENT))
    del older["presence"]["streaks"]["predictive_value"]
    del older["localisation"]["grad_cam"]["streaks"]["cdc_everything"]
    evaluation = load_evaluation(write(tmp_path / "evaluation.json", older))
    assert evaluation.presence["streaks"].predictive_value is None
    assert evaluation.localisation["grad_cam"]["streaks"].cdc_everything is None
