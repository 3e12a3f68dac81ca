import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from biounet_edge.errors import InputError, OutputError
from train.tables.curves import COLOURS, Curve, draw_curves, read_curves


def _line(
    stage: str, epoch: int, score: float | None, losses: dict[str, float], **figures: float
) -> dict[str, Any]:
    return {"stage": stage, "epoch": epoch, "seconds": 1.0, "score": score, "losses": losses, **figures}


LINES = [
    _line("pretrain-1", 1, 0.5, {"classification": 0.7}, auc_streaks=0.5, auc_melanoma=0.5),
    _line("pretrain-1", 2, 0.6, {"classification": 0.6}, auc_streaks=0.6, auc_melanoma=0.6),
    _line("streaks", 1, 0.7, {"classification": 0.5, "segmentation": 0.9}, auc_streaks=0.7, cdc_streaks=0.1),
    _line("streaks", 2, 0.9, {"classification": 0.4, "segmentation": 0.8}, auc_streaks=0.8, cdc_streaks=0.3),
    _line("streaks", 3, 0.8, {"classification": 0.3, "segmentation": 0.7}, auc_streaks=0.9, cdc_streaks=0.2),
    {"stage": "finished", "epochs": {"streaks": 3}, "auc_melanoma": 0.9},
]


def _run(folder: Path, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    return folder


def _find(curves: list[Curve], panel: str, colour: str | None = None) -> list[Curve]:
    return [c for c in curves if c.panel == panel and colour in (None, c.colour)]


def _picture(path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_curves_follow_the_pretraining(tmp_path: Path) -> None:
    curves = list(read_curves(_run(tmp_path / "run", LINES)))
    before, after = _find(curves, "loss: classification")
    assert (before.epochs, before.values) == ([1, 2], [0.7, 0.6])
    assert (after.epochs, after.values) == ([3, 4, 5], [0.5, 0.4, 0.3])


def test_curves_of_one_indicator_share_its_colour(tmp_path: Path) -> None:
    curves = list(read_curves(_run(tmp_path / "run", LINES)))
    panels = {curve.panel for curve in curves if curve.colour == COLOURS["streaks"]}
    assert panels == {
        "loss: classification",
        "loss: segmentation",
        "validation AUC, indicator",
        "validation continuous Dice, decoder",
    }


def test_curves_mark_the_epoch_of_the_best_score(tmp_path: Path) -> None:
    curves = list(read_curves(_run(tmp_path / "run", LINES)))
    (dice,) = _find(curves, "validation continuous Dice, decoder")
    assert dice.kept == 4
    assert _find(curves, "loss: segmentation")[0].kept is None


def test_curves_take_the_last_of_a_repeated_epoch(tmp_path: Path) -> None:
    again = _line("streaks", 2, 0.9, {"classification": 0.45}, auc_streaks=0.8)
    curves = list(read_curves(_run(tmp_path / "run", [*LINES[:4], again, *LINES[4:]])))
    assert _find(curves, "loss: classification", COLOURS["streaks"])[0].values == [0.5, 0.45, 0.3]


def test_curves_leave_out_epochs_without_the_figure(tmp_path: Path) -> None:
    lines = [
        _line("globules", 1, None, {"classification": 0.7}),
        _line("globules", 2, 0.6, {"classification": 0.6}, auc_globules=0.6),
    ]
    curves = list(read_curves(_run(tmp_path / "run", lines)))
    assert _find(curves, "validation AUC, indicator")[0].epochs == [2]


def test_curves_name_an_encoder_of_two_indicators(tmp_path: Path) -> None:
    lines = [_line("globules+streaks", 1, 0.5, {"classification": 0.7}, auc_globules=0.5, auc_streaks=0.6)]
    curves = list(read_curves(_run(tmp_path / "run", lines)))
    assert {curve.label for curve in curves} == {"globules + streaks", "globules", "streaks"}


def test_draw_curves_writes_a_panel_for_each_kind(tmp_path: Path) -> None:
    output = tmp_path / "pictures" / "curves.png"
    draw_curves(_run(tmp_path / "run", LINES), output)
    # Five panels, three in a line: 12 x 6.2 inches at 150 dots an inch.
    assert _picture(output).shape == (930, 1800, 3)


def test_draw_curves_draws_the_values(tmp_path: Path) -> None:
    changed = json.loads(json.dumps(LINES))
    changed[3]["cdc_streaks"] = 0.05
    pictures = []
    for name, lines in (("run", LINES), ("other", changed)):
        folder = tmp_path / name
        folder.mkdir()
        draw_curves(_run(folder / "run", lines), folder / "curves.png")
        pictures.append(_picture(folder / "curves.png").astype(int))
    difference = np.abs(pictures[0] - pictures[1]).sum((0, 2))  # by column of pixels
    assert difference[600:1200].any()  # the decoder's panel is the second of the second line
    assert not difference[:600].any()


def test_read_curves_refuses_a_folder_without_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the metrics of a run at .*metrics\.jsonl, found none"):
        list(read_curves(tmp_path))


def test_read_curves_refuses_a_run_without_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished epoch yet"):
        list(read_curves(_run(tmp_path / "run", LINES[-1:])))


def test_read_curves_names_the_damaged_line(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", LINES[:1])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "stre')
    with pytest.raises(InputError, match="line 2 is not JSON"):
        list(read_curves(run))


def test_draw_curves_says_where_it_cannot_write(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", LINES)
    with pytest.raises(OutputError, match=r"cannot write .*; choose another --output"):
        draw_curves(run, run / "metrics.jsonl" / "curves.png")
