import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from biounet_edge.errors import CheckpointError, InputError
from biounet_edge.indicators import INDICATORS
from train.cli.main import app
from train.config.run import TrainConfig
from train.data.records import read_mask
from train.tables import paper
from train.tables.cells import format_cell, format_mean
from train.tables.counts import count_sources
from train.tables.rows import ROWS, TABLE_3, TABLE_4, TABLE_5
from train.tables.tables import format_tables

runner = CliRunner()


def _figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def _localisation(dice: dict[str, float]) -> dict[str, Any]:
    """Continuous Dice of some indicators as it is; cut at 0.6 it is a tenth more."""
    return {
        indicator: {
            "images": 9,
            "images_filled": 4,
            "cdc_filled": _figure(value),
            "cdc_all": _figure(value),
            "dice": _figure(value),
            "jaccard": _figure(value),
            "cdc_filled_at": {"0.0": value, "0.6": value * 1.1},
        }
        for indicator, value in dice.items()
    }


def _write_run(
    folder: Path,
    row: str | None,
    seed: int = 1,
    maps: dict[str, dict[str, float]] | None = None,
    diagnosis: dict[str, float] | None = None,
    source: str = "rendered",
    width: int = 8,
) -> Path:
    """A run folder with what tables read: model.json and an evaluation with the given figures."""
    rest = ("balanced_accuracy", "auc", "average_precision", "sensitivity_at_95_specificity")
    figures = {
        name: _figure((diagnosis or {}).get(name, 0.5)) for name in ("accuracy", *rest, "calibration_error")
    }
    evaluation = {
        "format": 1,
        "model": {
            "name": "tiny",
            "row": row,
            "seed": seed,
            "config": f"{row}.toml",
            "base_width": width,
            "image_size_px": 64,
            "encoders": [["streaks", "melanoma"]],
            "training": ["rendered: 20 train"],
        },
        "data": {
            "source": source,
            "side": "test",
            "images": 9,
            "counts": {"streaks": {"with": 4, "without": 5}},
        },
        "diagnosis": {"images": 9, "melanomas": 3, "figures": figures} if diagnosis else None,
        "presence": {},
        "localisation": {method: _localisation(dice) for method, dice in (maps or {}).items()},
        "pooled_jaccard": {},
    }
    place = folder / "evaluation" / f"{source}-test"
    place.mkdir(parents=True)
    (place / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    encoders = [[indicator, "melanoma"] for indicator in INDICATORS]
    network = {"base_width": width, "image_size_px": 64, "heatmap_size_px": 32, "encoders": encoders}
    (folder / "model.json").write_text(json.dumps({"name": "tiny", "network": network}), encoding="utf-8")
    return folder


def _section(text: str, number: int) -> str:
    return text.split(f"## Table {number}: ")[1].split("\n## ")[0]


def _cells(section: str, label: str, column: str, part: int = 0) -> str:
    """One cell of the `part`-th table of a section, by its line and column."""
    tables: list[list[list[str]]] = []
    for line, before in zip(section.splitlines(), ["", *section.splitlines()], strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    header, _, *lines = tables[part]
    (found,) = [line for line in lines if line[0] == label]
    return found[header.index(column)]


def test_tables_without_runs_are_all_there_and_not_measured() -> None:
    text = format_tables([])
    for number in range(1, 8):
        assert f"## Table {number}: " in text
    assert _cells(_section(text, 1), "globules", "with: ours / paper") == "not measured / 603"
    assert _cells(_section(text, 2), "f_Res + LIME", "globules") == "not measured / 3.36"
    assert _cells(_section(text, 3), "Bio-U-Net", "streaks") == "not measured / 14.17"
    assert _cells(_section(text, 4), "Repeat 4", "pigment network") == "not measured / 43.19"
    assert _cells(_section(text, 5), "Bio-U-Net (six tasks)", "melanoma AUC") == "not measured / 0.83"
    assert _cells(_section(text, 6), "streaks", "0.6") == "not measured / 18.66"


def test_cell_is_ours_then_the_papers() -> None:
    assert format_cell([12.345], 14.2, 2, 2) == "12.35 / 14.20"
    assert format_cell([], None, 2, 2) == "not measured / -"


def test_mean_of_seeds_has_the_sample_standard_deviation() -> None:
    # Mean 4; squared deviations 4, 0 and 4 over n - 1 = 2 are 4, whose root is 2.
    assert format_mean([2, 4, 6], 2) == "4.00 ± 2.00 (3)"
    assert format_mean([2], 2) == "2.00"


def test_tables_show_percent_at_both_thresholds(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "a", "f_res", maps={"layer_cam": {"globules": 0.2}})
    section = _section(format_tables([run]), 2)
    assert _cells(section, "f_Res + Layer-CAM", "globules") == "20.00 / 14.53"
    assert _cells(section, "f_Res + Layer-CAM", "globules", part=1) == "22.00 / 14.53"
    assert _cells(section, "f_Res + Grad-CAM", "globules") == "not measured / 14.21"
    assert _cells(section, "f_Res + Layer-CAM", "streaks") == "not measured / 5.83"


def test_tables_average_the_seeds_of_a_row(tmp_path: Path) -> None:
    runs = [
        _write_run(tmp_path / str(seed), "bio_u_net", seed, {"grad_cam": {"streaks": value}}, {"auc": auc})
        for seed, value, auc in ((1, 0.10, 0.7), (2, 0.20, 0.8))
    ]
    text = format_tables(runs)
    # 0.05 each side of the mean: sqrt(2 x 0.05^2 / 1) is 0.0707.
    assert _cells(_section(text, 2), "Bio-U-Net (Grad-CAM)", "streaks") == "15.00 ± 7.07 (2) / 14.17"
    assert _cells(_section(text, 4), "Bio-U-Net", "melanoma AUC") == "0.750 ± 0.071 (2) / 0.82"


def test_tables_count_only_seeds_that_have_the_figure(tmp_path: Path) -> None:
    runs = [
        _write_run(tmp_path / "1", "vat", 1, {"grad_cam": {"streaks": 0.1}}),
        _write_run(tmp_path / "2", "vat", 2, {"grad_cam": {"globules": 0.3}}),
    ]
    section = _section(format_tables(runs), 2)
    assert _cells(section, "VAT + Grad-CAM", "streaks") == "10.00 / 1.50"


def test_tables_show_accuracy_balanced_accuracy_and_auc_side_by_side(tmp_path: Path) -> None:
    figures = {"accuracy": 0.6, "balanced_accuracy": 0.7, "auc": 0.8}
    run = _write_run(tmp_path / "a", "without_f_seg", maps={}, diagnosis=figures)
    section = _section(format_tables([run]), 3)
    assert _cells(section, "f_Res + f_CLR", "melanoma accuracy") == "0.600 / 0.80"
    assert _cells(section, "f_Res + f_CLR", "melanoma balanced accuracy") == "0.700 / -"
    assert _cells(section, "f_Res + f_CLR", "melanoma AUC") == "0.800 / 0.80"


def test_decoder_stands_under_rows_with_f_seg(tmp_path: Path) -> None:
    maps = {"grad_cam": {"streaks": 0.1}, "decoder": {"streaks": 0.4}}
    text = format_tables([_write_run(tmp_path / "a", "without_f_clr", maps=maps)])
    assert _cells(_section(text, 3), "f_Res + f_Seg, decoder", "streaks") == "40.00 / -"
    assert "f_Res + f_CLR, decoder" not in text


def test_table_3_ticks_what_a_row_trains() -> None:
    section = _section(format_tables([]), 3)
    ticks = {
        label: (_cells(section, label, "f_Seg"), _cells(section, label, "f_CLR"))
        for label in ("f_Res", "f_Res + f_Seg", "f_Res + f_CLR", "Bio-U-Net")
    }
    assert ticks == {
        "f_Res": ("", ""),
        "f_Res + f_Seg": ("✓", ""),
        "f_Res + f_CLR": ("", "✓"),
        "Bio-U-Net": ("✓", "✓"),
    }


def test_table_6_takes_bio_u_nets_grad_cam(tmp_path: Path) -> None:
    maps = {"grad_cam": {"milia_like_cyst": 0.5}, "decoder": {"milia_like_cyst": 0.9}}
    section = _section(format_tables([_write_run(tmp_path / "a", "bio_u_net", maps=maps)]), 6)
    assert _cells(section, "milia-like cyst", "0.0") == "50.00 / 2.33"
    assert _cells(section, "milia-like cyst", "0.6") == "55.00 / 3.84"
    assert _cells(section, "milia-like cyst", "0.9") == "not measured / 4.19"


def test_table_7_has_the_full_width_and_the_runs_topology(tmp_path: Path) -> None:
    section = _section(format_tables([_write_run(tmp_path / "a", "f_res")]), 7)
    full = "base width 64, 512 px, heatmaps 512 px"
    assert _cells(section, "f_CLR: one forward of the encoder", full) == "42.7 / 43.2"
    assert _cells(section, "f_Res: update, forward and backward", full).endswith(" / 129.5")
    assert _cells(section, "f_Seg: update, forward and backward", full).endswith(" / 469.3")
    assert " / 642.0" in section
    assert "base width 8, 64 px, heatmaps 32 px" in section
    assert "f_CLR -1.1 %" in section


def test_table_1_counts_the_held_out_images_of_the_runs(tmp_path: Path) -> None:
    section = _section(format_tables([_write_run(tmp_path / "a", "f_res")]), 1)
    assert _cells(section, "streaks", "images") == "rendered, test 9"
    assert _cells(section, "streaks", "with: ours / paper") == "4 / 100"
    assert _cells(section, "streaks", "without: ours / paper") == "5 / 2494"
    assert _cells(section, "pigment network", "without: ours / paper") == "not measured / 881 (read as 1071)"


def test_table_1_counts_all_sides_of_the_data(config: TrainConfig, data_root: Path) -> None:
    (counts,) = count_sources(config, data_root)
    masks = data_root / "ISIC2018_Task2_Training_GroundTruth_v3"
    assert counts.images == 60
    for indicator in INDICATORS:
        filled = sum(read_mask(path).any() for path in masks.glob(f"*_attribute_{indicator}.png"))
        assert counts.present[indicator] == filled
        assert counts.present[indicator] + counts.absent[indicator] == 60
    section = _section(format_tables([], counts=[counts]), 1)
    assert _cells(section, "streaks", "with: ours / paper") == f"{counts.present['streaks']} / 100"


def test_tables_name_their_runs(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "vat-3", "vat", seed=3, maps={"grad_cam": {"streaks": 0.1}})
    (run / "run.json").write_text(
        '{"starts": [{"git_revision": "0123456789abcdef-dirty"}]}', encoding="utf-8"
    )
    text = format_tables([run])
    assert "| VAT | 3 | vat-3 | vat.toml | 0123456789ab-dirty | 8 | 64 px | rendered: 20 train |" in text
    assert "| grad_cam | not measured | not measured | not measured | not measured | 4 |" in text


def test_tables_take_the_source_that_is_asked_for(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "a", "vat", maps={"grad_cam": {"streaks": 0.1}})
    _write_run(run, "vat", maps={"grad_cam": {"streaks": 0.2}}, source="painted")
    with pytest.raises(InputError, match="judged on painted, rendered; choose one with --source"):
        format_tables([run])
    assert "20.00 / 1.50" in format_tables([run], "painted")


@pytest.mark.parametrize("row", ["bio_net", None])
def test_tables_refuse_unknown_rows(tmp_path: Path, row: str | None) -> None:
    run = _write_run(tmp_path / "a", row)
    with pytest.raises(InputError, match=f"fills row {row!r} of the paper's tables; the rows are f_res, "):
        format_tables([run])


def test_tables_refuse_a_run_that_was_not_judged(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "a", "vat")
    with pytest.raises(InputError, match=r"expected an evaluation at .*painted-test.*found none"):
        format_tables([run], "painted")
    with pytest.raises(InputError, match="no run was judged"):
        format_tables([tmp_path])


def test_tables_refuse_the_same_seed_twice(tmp_path: Path) -> None:
    runs = [_write_run(tmp_path / name, "vat", seed=3) for name in "ab"]
    with pytest.raises(InputError, match="both row vat with seed 3"):
        format_tables(runs)


def test_tables_refuse_to_average_different_networks(tmp_path: Path) -> None:
    runs = [_write_run(tmp_path / str(width), "vat", seed=width, width=width) for width in (8, 16)]
    with pytest.raises(InputError, match="both row vat but of different networks"):
        format_tables(runs)


def test_tables_refuse_a_run_without_a_model(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "a", "vat")
    (run / "model.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected a finished run's .*model\.json, found none"):
        format_tables([run])


def test_paper_figures_agree_where_the_paper_repeats_them() -> None:
    for row in ("f_res", "bio_u_net"):
        assert (
            paper.TABLE_2[row, "grad_cam"] == paper.TABLE_3[row] == paper.TABLE_4[row] == paper.TABLE_5[row]
        )
    at_zero = {indicator: figures[0] for indicator, figures in paper.TABLE_6.items()}
    assert at_zero == paper.TABLE_2["bio_u_net", "grad_cam"]


def test_corrected_class_counts_sum_to_the_images() -> None:
    for present, absent in {**paper.TABLE_1, **paper.TABLE_1_CORRECTED}.values():
        assert present + absent == paper.IMAGES


def test_rows_of_every_table_are_known_and_told_apart() -> None:
    assert {*TABLE_3, *TABLE_4, *TABLE_5} | {"vat"} == set(ROWS)
    switches = [
        (r.contrastive, r.segmentation, r.repeats, r.tasks, r.virtual_adversarial) for r in ROWS.values()
    ]
    assert len(set(switches)) == len(ROWS)


def test_tables_command_prints_and_writes(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "a", "vat", maps={"grad_cam": {"streaks": 0.1}})
    output = tmp_path / "out" / "tables.md"
    result = runner.invoke(app, ["tables", str(run), "--output", str(output)])
    assert result.exit_code == 0
    assert "10.00 / 1.50" in result.stdout
    assert output.read_text(encoding="utf-8") == result.stdout


def test_tables_command_counts_a_configurations_data(config_path: Path, data_root: Path) -> None:
    result = runner.invoke(app, ["tables", "--config", str(config_path), "--data-root", str(data_root)])
    assert result.exit_code == 0
    assert "| globules | rendered, all 60 | " in result.stdout
