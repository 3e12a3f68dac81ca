import csv
import json
import os
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge import INDICATORS, InputError, OutputError, PredictionFailure
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.prediction import make_prediction
from biounet_edge.results.tables import COLUMNS
from biounet_edge.results.writer import ResultWriter

ALL = ("masks", "overlays", "heatmaps", "probabilities")


def predict(manifest, photograph):
    """The first indicator present in the upper left quarter, the others absent."""
    mask = np.full((5, 40, 40), 0.02, np.float32)
    mask[:, :20, :20] = 0.98
    outputs = {
        "melanoma_probability": np.float32(0.75),
        "melanoma_contribution": np.full(5, 0.5, np.float32),
        "indicator_probability": np.array([1, 0, 0, 0, 0], np.float32),
        "heatmap": mask[:, ::4, ::4],
        "heatmap_scale": np.ones(5, np.float32),
        "mask_probability": mask,
    }
    return make_prediction(manifest, "full", outputs, "in/a.jpg", photograph.shape[:2], photograph)


@pytest.fixture
def outcome(bundle, photograph):
    return predict(bundle.manifest, photograph)


@pytest.fixture
def undecided(undecided_bundle, photograph):
    """The same, but that streaks have no operating point."""
    return predict(undecided_bundle.manifest, photograph)


def image(name: str) -> InputImage:
    return InputImage(Path(f"in/{name}.jpg"), name)


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def leftovers(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.name.startswith(".tmp-")]


def test_masks_have_isic_names_source_size_and_two_values(tmp_path, outcome, photograph):
    with ResultWriter(tmp_path, ("masks",)) as writer:
        writer.write(image("sub/a"), outcome)
    masks = sorted(path.name for path in (tmp_path / "masks" / "sub").iterdir())
    assert masks == sorted(f"a_attribute_{name}.png" for name in INDICATORS)
    for name in INDICATORS:
        mask = cv2.imread(str(tmp_path / f"masks/sub/a_attribute_{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == photograph.shape[:2]
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask > 0, outcome.indicators[name].mask)
        assert set(np.unique(mask)) == ({0, 255} if name == INDICATORS[0] else {0})


def test_masks_are_8_bit_grey(tmp_path, outcome):
    with ResultWriter(tmp_path, ("masks",)) as writer:
        writer.write(image("a"), outcome)
    for path in (tmp_path / "masks").iterdir():
        bit_depth, colour_type = path.read_bytes()[24:26]  # of the header chunk
        assert (bit_depth, colour_type) == (8, 0)


def test_masks_are_read_by_the_challenges_own_scoring(tmp_path, outcome):
    scoring = pytest.importorskip(
        "isic_challenge_scoring.load_image", reason="it is in requirements/study.txt"
    )
    with ResultWriter(tmp_path, ("masks",)) as writer:
        writer.write(image("a"), outcome)
    for name, finding in outcome.indicators.items():
        mask = scoring.load_segmentation_image(tmp_path / "masks" / f"a_attribute_{name}.png")
        np.testing.assert_array_equal(mask, finding.mask.astype(np.uint8) * 255)


def test_every_kind_of_file_is_written_and_listed(tmp_path, outcome, photograph):
    with ResultWriter(tmp_path, ALL, "Not for clinical use.") as writer:
        writer.write(image("a"), outcome)
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*") if p.parent != tmp_path)
    assert len(files) == 16
    line = json.loads((tmp_path / "predictions.jsonl").read_text())
    assert sorted(line["files"]) == files
    assert line["indicators"]["streaks"]["present"] is False
    assert decode(tmp_path / "overlays" / "a.jpg").shape[1] >= 520
    for kind, array in (("heatmaps", "heatmap"), ("probabilities", "mask_probability")):
        grey = cv2.imread(str(tmp_path / kind / "a_streaks.png"), cv2.IMREAD_UNCHANGED)
        assert grey.shape == photograph.shape[:2]
        assert np.abs(grey / 255 - getattr(outcome.indicators["streaks"], array)).max() <= 0.5 / 255 + 1e-6


def test_indicator_without_an_operating_point_has_no_mask_file(tmp_path, undecided):
    with ResultWriter(tmp_path, ("masks",)) as writer:
        writer.write(image("a"), undecided)
    names = [f"masks/a_attribute_{name}.png" for name in INDICATORS if name != "streaks"]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == sorted(names)
    assert json.loads((tmp_path / "predictions.jsonl").read_text())["files"] == names


def test_indicator_without_an_operating_point_has_empty_cells(tmp_path, undecided):
    with ResultWriter(tmp_path) as writer:
        writer.write(image("a"), undecided)
    (row,) = rows(tmp_path)
    assert (row["streaks_present"], row["streaks_area_pct"]) == ("", "")
    assert (row["streaks_probability"], row["streaks_contribution"]) == ("0.000000", "0.500000")
    assert (row["globules_present"], row["globules_area_pct"]) == ("0", "0.0000")


def test_indicator_without_an_operating_point_is_null_in_json(tmp_path, undecided):
    with ResultWriter(tmp_path) as writer:
        writer.write(image("a"), undecided)
    line = json.loads((tmp_path / "predictions.jsonl").read_text())
    assert (line["indicators"]["streaks"]["present"], line["indicators"]["streaks"]["area_pct"]) == (
        None,
        None,
    )


def test_mask_probability_of_every_indicator_is_written(tmp_path, undecided):
    """Of the present one, of the absent ones and of the one without an operating point."""
    with ResultWriter(tmp_path, ("probabilities",)) as writer:
        writer.write(image("a"), undecided)
    assert [undecided.indicators[name].present for name in INDICATORS] == [True, False, None, False, False]
    for name in INDICATORS:
        grey = cv2.imread(str(tmp_path / f"probabilities/a_{name}.png"), cv2.IMREAD_UNCHANGED)
        assert grey.max() == 250, name  # 0.98 of 255


def test_table_has_a_row_per_image_in_input_order(tmp_path, outcome):
    with ResultWriter(tmp_path) as writer:
        for i in range(30):
            failure = PredictionFailure(f"{i}", "the file is empty")
            writer.write(image(str(i)), failure if i % 3 == 0 else outcome)
    table = rows(tmp_path)
    assert list(table[0]) == COLUMNS
    assert [row["status"] for row in table] == ["error", "ok", "ok"] * 10
    assert [row["image"] for row in table[::3]] == [str(i) for i in range(0, 30, 3)]
    assert table[0]["error"] == "the file is empty"
    assert table[0]["melanoma_probability"] == ""
    assert table[1]["melanoma_probability"] == "0.750000"
    assert (table[1]["width"], table[1]["height"]) == ("120", "90")
    assert table[1]["pigment_network_present"] == "1"
    assert float(table[1]["pigment_network_area_pct"]) == pytest.approx(25)
    assert float(table[1]["streaks_area_pct"]) == 0
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == [row["status"] for row in table]


def test_table_survives_any_file_name(tmp_path):
    names = ['a\nb,"c".jpg', "病変.jpg", os.fsdecode(b"\xff.jpg"), "a;b.jpg"]
    with ResultWriter(tmp_path) as writer:
        for name in names:
            writer.write(image("a"), PredictionFailure(name, "no"))
    assert [row["image"] for row in rows(tmp_path)] == [names[0], names[1], "\\udcff.jpg", names[3]]
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["image"] for line in lines] == names


def test_error_in_the_run_keeps_the_finished_rows(tmp_path, outcome):
    def run() -> None:
        with ResultWriter(tmp_path, ("masks",)) as writer:
            for i in range(3):
                writer.write(image(str(i)), outcome)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    kept = rows(tmp_path)
    assert all(row["status"] == "ok" for row in kept)
    assert len(list((tmp_path / "masks").iterdir())) >= 5 * len(kept)
    assert leftovers(tmp_path) == []


def test_full_disk_stops_the_run_with_a_sentence_and_no_half_file(tmp_path, outcome, monkeypatch):
    real_write = Path.write_bytes

    def full(self, content):
        if "tmp-" in self.name and self.parent.name == "masks":
            real_write(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return real_write(self, content)

    def run() -> None:
        with ResultWriter(tmp_path, ("masks",)) as writer:
            writer.write(image("good"), PredictionFailure("good", "no"))
            for i in range(20):
                writer.write(image(str(i)), outcome)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OutputError, match=r"\.png cannot be written \(No space left on device\): check the free"
    ):
        run()
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "masks").iterdir()) == []
    assert [row["image"] for row in rows(tmp_path)] == ["good"]


def test_output_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"predictions.csv cannot be written \("):
        ResultWriter(tmp_path / "out")


def test_table_that_cannot_be_put_in_place_is_an_error(tmp_path):
    (tmp_path / "predictions.csv" / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"predictions.csv cannot be written"), ResultWriter(tmp_path):
        pass
    assert leftovers(tmp_path) == []


def test_overlay_without_a_photograph_says_what_is_missing(tmp_path, bundle, predictor, photograph):
    prediction = predictor.predict(photograph)
    with (
        pytest.raises(InputError, match="an overlay needs the photograph: predict with preview_px above 0"),
        ResultWriter(tmp_path, ("overlays",)) as writer,
    ):
        writer.write(image("a"), prediction)


def test_writer_counts_the_memory_of_what_it_writes(bundle, outcome, tmp_path, monkeypatch):
    counted = []

    @contextmanager
    def room_for(needed_bytes, what, *, must_fit):
        counted.append((needed_bytes, must_fit))
        yield

    monkeypatch.setattr("biounet_edge.results.writer.room_for", room_for)
    for save in (("masks", "heatmaps"), ("masks",), ()):
        with ResultWriter(tmp_path / "out", save) as writer:
            writer.write(image("a"), outcome)
    pixels = outcome.size[0] * outcome.size[1]
    assert counted == [(12 * pixels, False), (6 * pixels, False), (0, False)]
