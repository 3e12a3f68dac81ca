import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from biounet_edge import Bundle, ImageError, InputError
from biounet_edge.benchmark import measurement, peak, workload
from biounet_edge.benchmark.measurement import benchmark
from biounet_edge.benchmark.peak import PeakMeter
from biounet_edge.benchmark.workload import STAGES, Recorder, fill, photographs
from biounet_edge.checks.selection import Selection
from biounet_edge.cli.benchmark import benchmark as benchmark_command
from biounet_edge.cli.benchmark import print_benchmark
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.results.writer import ResultWriter


class FakeBackend:
    """Takes half a second of the fake clock for each image, and returns golden outputs."""

    description, device, precision = "fake 1.0", "cpu", "float32"

    def __init__(self, bundle: Bundle, clock) -> None:
        self.clock = clock
        self.outputs = bundle.golden().outputs
        self.batches: list[np.ndarray] = []

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.clock.now += 0.5 * len(images)
        self.batches.append(images)
        names = ("melanoma_probability", "melanoma_contribution", "indicator_probability")
        return {name: np.repeat(self.outputs[name][:1], len(images), axis=0) for name in names}

    def close(self) -> None:
        pass


class FakeMeter:
    """A machine whose peak is 8 GFLOP/s, measured once a round."""

    measured = 0
    method, gflops_per_s = "fake product", 8.0

    def __init__(self, device: str, precision: str) -> None:
        assert (device, precision) == ("cpu", "float32")
        FakeMeter.measured = 0

    def measure(self) -> None:
        FakeMeter.measured += 1


@pytest.fixture
def backend(bundle: Bundle, clock, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    monkeypatch.setattr(workload, "perf_counter", clock.read)
    backend = FakeBackend(bundle, clock)
    monkeypatch.setattr(
        "biounet_edge.predictor.open_backend", lambda *arguments, **options: Selection(backend, ())
    )
    monkeypatch.setattr(measurement, "PeakMeter", FakeMeter)
    return backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photograph, write_image) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        write_image(folder / f"{number}.jpg", np.roll(photograph, 20 * number, axis=1))
    return folder


def with_gflops(bundle: Bundle, gflops: float | None) -> Bundle:
    levels = {
        level: spec.model_copy(update={"gflops": gflops}) for level, spec in bundle.manifest.levels.items()
    }
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"levels": levels}), bundle.checksum)


def test_recorder_keeps_calls_by_stage_and_round(clock, monkeypatch):
    monkeypatch.setattr(workload, "perf_counter", clock.read)

    def work(seconds: float) -> str:
        clock.now += seconds
        return "done"

    recorder = Recorder()
    recorder.start_round()  # the first round is still empty: no other begins
    assert recorder.time("decode", work, 1.0) == "done"
    recorder.time("decode", work, seconds=2.0)
    recorder.start_round()
    recorder.time("decode", work, 4.0)
    assert recorder.rounds("decode") == [pytest.approx([1.0, 2.0]), pytest.approx([4.0])]


def test_benchmark_divides_images_by_time_and_operations_by_the_peak(bundle, backend, folder):
    report = benchmark(
        with_gflops(bundle, 3.0), images=folder, level="classify", batch_size=2, rounds=3, device="cpu"
    )
    inference = report.stages[1]
    assert (inference.name, inference.call) == ("inference", "batch of 2")
    assert (inference.p50_ms, inference.p90_ms) == pytest.approx((1000, 1000))  # 2 images of half a second
    assert (inference.images_per_s, report.end_to_end.images_per_s) == pytest.approx((2, 2))
    assert report.end_to_end.p50_ms == pytest.approx(2000)  # 4 images
    assert report.inference_gflops_per_s == pytest.approx(6)  # 3 GFLOP, twice a second
    assert report.peak_fraction == pytest.approx(6 / 8)
    assert report.to_dict()["peak_fraction"] == report.peak_fraction
    assert FakeMeter.measured == 3


def test_benchmark_runs_full_batches_of_the_photographs(bundle, backend, folder):
    report = benchmark(bundle, images=folder, level="classify", batch_size=2, rounds=3)
    # To warm up, one batch in a stage and one in the stream; then two in each, three times.
    assert [len(batch) for batch in backend.batches] == [2] * (1 + 1 + 3 * (2 + 2))
    assert report.images_per_round == 4
    assert report.photographs == f"3 in {folder}"
    staged, streamed = backend.batches[2:4], backend.batches[4:6]
    for one, other in zip(staged, streamed, strict=True):
        np.testing.assert_array_equal(one, other)  # the stages work on what the real path works on
    assert not np.array_equal(staged[0][0], staged[0][1])
    np.testing.assert_array_equal(staged[1][1], staged[0][0])  # the fourth is the first again


def test_benchmark_writes_every_result_and_leaves_nothing_behind(
    bundle, backend, folder, tmp_path, monkeypatch
):
    written = []

    class Writer(ResultWriter):
        def write(self, image, outcome):
            written.append((image.stem, outcome.source))
            super().write(image, outcome)

    for module in ("biounet_edge.benchmark.workload", "biounet_edge.runs.folder"):
        monkeypatch.setattr(f"{module}.ResultWriter", Writer)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    benchmark(bundle, images=folder, level="classify", batch_size=2, rounds=1)
    stems = ["0", "1", "2", "again_1/0"]
    assert [stem for stem, _ in written] == stems[:2] * 2 + stems * 2
    assert written[-1] == ("again_1/0", str(folder / "0.jpg"))
    assert list(tmp_path.iterdir()) == []


def test_benchmark_says_why_a_peak_is_not_measured(bundle, backend, folder, monkeypatch, capsys):
    monkeypatch.setattr(measurement, "PeakMeter", PeakMeter)
    monkeypatch.setattr(backend, "device", "cuda", raising=False)
    report = benchmark(with_gflops(bundle, 3.0), images=folder, level="classify", rounds=1)
    assert report.peak_gflops_per_s is None
    assert report.peak_fraction is None
    print_benchmark(report)
    assert "Peak: the peak of cuda in float32 is not measured: only products on" in capsys.readouterr().out


def test_benchmark_does_not_guess_what_a_graph_computes(bundle, backend, folder, capsys):
    report = benchmark(with_gflops(bundle, None), images=folder, level="classify", rounds=1)
    assert report.inference_gflops_per_s is None
    assert report.peak_fraction is None
    print_benchmark(report)
    printed = capsys.readouterr().out
    assert "GFLOP/s unknown, the bundle does not give its graph's operation count" in printed
    assert "Peak: 8.0 GFLOP/s in float32 (fake product)" in printed


@pytest.mark.parametrize("name", ["batch_size", "rounds", "limit"])
def test_benchmark_refuses_numbers_below_one(name, bundle):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        benchmark(bundle, **{name: 0})


def test_benchmark_names_a_photograph_that_cannot_be_read(bundle, backend, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no photograph")
    with pytest.raises(ImageError, match=r"broken.jpg: .*; a benchmark needs photographs that can be read"):
        benchmark(bundle, images=tmp_path, level="classify")


def test_fill_repeats_photographs_to_two_full_batches_at_least():
    found = [InputImage(Path(f"{name}.jpg"), name) for name in "abc"]
    filled = fill(found, 4)
    assert [image.path.stem for image in filled] == list("abcabcab")
    assert [image.stem for image in filled[:4]] == ["a", "b", "c", "again_1/a"]
    assert len({image.stem for image in filled}) == 8
    assert [len(fill(found, batch_size)) for batch_size in (1, 2, 3)] == [3, 4, 6]


def test_photographs_are_no_more_than_the_limit(bundle, folder):
    with photographs(bundle, folder, 2) as (found, description):
        assert [image.path.name for image in found] == ["0.jpg", "1.jpg"]
        assert description == f"2 of {folder}"


def test_photographs_are_the_golden_images_where_none_are_named(bundle):
    golden = bundle.golden().image
    with photographs(bundle, None, 32) as (found, description):
        assert len(found) == len(golden)
        assert all(image.path.read_bytes()[:2] == b"\xff\xd8" for image in found)
        size = f"{golden.shape[2]} x {golden.shape[1]}"
        assert description.startswith(
            f"the bundle's {len(golden)} golden images as JPEG files of {size} pixels"
        )
        decoded = workload.read_photograph(found[0].path, 16, 16).pixels
        # A JPEG of quality 95 is off by some grey levels, and a swapped colour by dozens.
        assert np.abs(decoded.astype(int) - golden[0]).mean() < 6
    assert not found[0].path.exists()


def test_benchmark_measures_the_real_path(bundle, folder, monkeypatch):
    monkeypatch.setattr(peak, "SIZES", (64,))
    lines: list[str] = []
    report = benchmark(
        with_gflops(bundle, 0.5),
        images=folder,
        level="classify",
        device="cpu",
        precision="float32",
        batch_size=2,
        rounds=2,
        tell=lines.append,
    )
    assert lines == ["warming up", "round 1 of 2", "round 2 of 2"]
    assert tuple(stage.name for stage in report.stages) == STAGES
    for stage in (*report.stages, report.end_to_end):
        assert 0 < stage.p50_ms <= stage.p90_ms
        assert stage.images_per_s > 0
    inference = report.stages[1]
    # Two calls of a round are together as long as 4 images take; each is between the extremes.
    assert report.inference_gflops_per_s == pytest.approx(0.5 * inference.images_per_s)
    assert report.peak_fraction == pytest.approx(report.inference_gflops_per_s / report.peak_gflops_per_s)
    assert report.backend.startswith("onnxruntime")
    assert (report.device, report.precision, report.saved) == ("cpu", "float32", ())


def test_benchmark_decodes_previews_where_overlays_are_written(bundle, folder, monkeypatch):
    monkeypatch.setattr(peak, "SIZES", (64,))
    previews = []
    reduce_to = workload.reduce_to

    def spy(image, longer_side_px):
        previews.append(longer_side_px)
        return reduce_to(image, longer_side_px)

    monkeypatch.setattr(workload, "reduce_to", spy)
    report = benchmark(bundle, images=folder, level="full", device="cpu", batch_size=1, rounds=1)
    assert report.saved == ("masks", "overlays")
    assert previews == [workload.OVERLAY_PX] * (1 + 3)  # to warm up, and a round


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(benchmark_command)
    return app


def test_command_prints_json(command, bundle, backend, folder):
    arguments = [str(bundle.folder), "--images", str(folder), "--level", "classify", "--rounds", "1"]
    result = CliRunner().invoke(command, [*arguments, "--batch-size", "1", "--limit", "2", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["images_per_round"] == 2
    assert [stage["name"] for stage in content["stages"]] == list(STAGES)
    assert content["end_to_end"]["images_per_s"] == pytest.approx(2)
    assert content["checksum"] == bundle.checksum
