import pytest

from biounet_edge.benchmark.figures import BenchmarkFigures as BenchmarkReport
from biounet_edge.benchmark.figures import StageFigures as StageReport
from biounet_edge.benchmark.figures import summarise
from biounet_edge.benchmark.workload import STAGES
from biounet_edge.cli.benchmark import print_benchmark


def test_summarise_gives_percentiles_of_calls_and_throughput_of_rounds():
    stage = summarise("inference", "batch of 2", [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], images=4)
    # Calls: 100 to 600 ms; the median round took 0.3 + 0.4 s for 4 images.
    assert (stage.name, stage.call) == ("inference", "batch of 2")
    assert stage.p50_ms == pytest.approx(350)
    assert stage.p90_ms == pytest.approx(550)
    assert stage.images_per_s == pytest.approx(4 / 0.7)


def make_report(**changes) -> BenchmarkReport:
    stages = tuple(StageReport(name, "1 photograph", 1234.5, 2345.6, 7.8) for name in STAGES)
    fields = {
        "bundle": "demo 1.0",
        "checksum": "0" * 64,
        "level": "full",
        "device": "openvino",
        "precision": "bfloat16",
        "backend": "OpenVINO 1",
        "processor": "CPU, 2 threads",
        "batch_size": 8,
        "photographs": "3 in lesions",
        "images_per_round": 16,
        "rounds": 5,
        "saved": ("masks",),
        "stages": stages,
        "end_to_end": StageReport("end to end", "16 photographs", 3000.0, 4000.0, 5.5),
        "gflops_per_image": 10.0,
        "peak_gflops_per_s": 100.0,
        "peak_method": "MatMul",
    }
    return BenchmarkReport(**(fields | changes))


def test_print_benchmark_shows_every_stage_and_the_peak(capsys):
    print_benchmark(make_report())
    printed = capsys.readouterr().out
    for text in (*STAGES, "end to end", "1,234.50", "2,345.60", "16 photographs", "5.5"):
        assert text in printed
    assert "demo 1.0, level full, openvino in bfloat16 (OpenVINO 1)" in printed
    assert (
        "16 photographs per round (3 in lesions), batches of 8, 5 rounds, written: masks, tables" in printed
    )
    assert "10.00 GFLOP per photograph, 78.0 GFLOP/s, 78% of the peak. Peak: 100.0 GFLOP/s in bf" in printed
    assert "Something else" not in printed


def test_print_benchmark_doubts_a_peak_that_was_exceeded(capsys):
    print_benchmark(make_report(peak_gflops_per_s=50.0))
    printed = capsys.readouterr().out
    assert "156% of the peak" in printed
    assert "Something else kept the machine busy while the peak was measured: repeat" in printed
