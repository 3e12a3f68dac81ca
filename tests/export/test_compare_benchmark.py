from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import comparison
from benchmarks.compare import print_comparison, run_comparison
from benchmarks.comparison import Comparison, compare
from benchmarks.compiled_parts import explain_as_function
from benchmarks.parts import answer, eager_part
from benchmarks.sides import SIDES, Side, open_side
from biounet_edge.benchmark import peak
from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import InputError
from tests.export.conftest import SIZE_PX, rendered_images
from train.data.dataset import normalise
from train.flops import count_flops
from train.gradcam import explain
from train.network import BioUNet

pytestmark = pytest.mark.usefixtures("one_thread")
OUTPUTS = ("melanoma_probability", "melanoma_contribution", "indicator_probability")


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SIZES", (64,))
    monkeypatch.setattr(comparison, "TORCH_SIZE", 64)


@pytest.fixture(scope="module")
def comparison_of_sides(exported: tuple[Path, object], photographs: Path) -> Comparison:
    """At level full, two rounds of two photographs."""
    names = ("cpu-float32", "grad-cam", "grad-cam-one-call", "channels-last", "eager-bfloat16", "cpu-int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak, "SIZES", (64,))
        patch.setattr(comparison, "TORCH_SIZE", 64)
        return run_comparison(
            Bundle.open(exported[0]), names=names, images=photographs, batch_size=2, rounds=2, threads=1
        )


def rows(measured: Comparison) -> dict[str, comparison.Row]:
    return {row.side: row for row in measured.rows}


def test_compare_holds_every_side_against_the_baseline(comparison_of_sides: Comparison) -> None:
    found = rows(comparison_of_sides)
    assert list(found) == [name for name in SIDES if name in found]  # in their order, the baseline first
    eager = found["eager"]
    assert eager.ratio == 1
    assert eager.agreement is not None
    assert eager.agreement.images == 4
    assert eager.agreement.probability_difference == 0
    measured = [row for row in comparison_of_sides.rows if row.problem is None]
    assert len(measured) == 6
    for row in measured:
        assert row.seconds_per_image is not None
        assert row.gflops_per_s == pytest.approx(comparison_of_sides.gflops_per_image / row.seconds_per_image)
        best, _ = comparison_of_sides.peaks[str(row.precision)]
        assert row.peak_fraction == pytest.approx(row.gflops_per_s / best)


def test_compare_counts_what_the_baseline_computes(
    comparison_of_sides: Comparison, small_model: BioUNet
) -> None:
    one = count_flops(small_model.config)
    expected = 5 * (one.grad_cam + one.segmentation_forward)
    assert comparison_of_sides.gflops_per_image == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    # float32 sums in another order; pytorch-grad-cam resizes to the input's size and back; bfloat16
    # has eight bits, and what untrained weights show is faint.
    ("name", "probability", "correlation", "iou"),
    [
        ("cpu-float32", 1e-4, 0.9999, 0.98),
        ("channels-last", 1e-4, 0.9999, 0.98),
        ("grad-cam", 1e-4, 0.9, 0.0),
        ("grad-cam-one-call", 1e-4, 0.9, 0.0),
        ("eager-bfloat16", 5e-2, 0.5, 0.0),
    ],
)
def test_sides_compute_the_same_function(
    name: str, probability: float, correlation: float, iou: float, comparison_of_sides: Comparison
) -> None:
    agreement = rows(comparison_of_sides)[name].agreement
    assert agreement is not None
    assert agreement.probability_difference <= probability
    assert len(agreement.heatmap_correlation) == len(agreement.mask_iou) == 5
    assert min(spread.median for spread in agreement.heatmap_correlation.values()) >= correlation
    assert min(agreement.mask_iou.values()) >= iou


def test_compare_says_which_side_ran_on_fewer_images(
    comparison_of_sides: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(comparison_of_sides)
    assert found["grad-cam"].images_per_call == 1
    assert found["grad-cam-one-call"].images_per_call == found["cpu-float32"].images_per_call == 2
    assert found["grad-cam"].agreement is not None
    assert found["grad-cam"].agreement.images == 2  # one in each round
    print_comparison(comparison_of_sides)
    printed = capsys.readouterr().out
    assert "a call per layer, weight gradients on; float32, on 1 image of each batch" in printed
    assert printed.count("on 1 image of each batch") == 1


def test_compare_says_why_a_side_was_not_measured(
    comparison_of_sides: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    row = rows(comparison_of_sides)["cpu-int8"]
    assert row.seconds_per_image is None
    assert row.problem is not None
    assert row.problem.startswith("int8 was asked for")
    print_comparison(comparison_of_sides)
    assert (
        "cpu-int8: this project's int8 graph in ONNX Runtime; NOT MEASURED: int8" in capsys.readouterr().out
    )


def test_compare_says_why_compiling_failed(
    bundle: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    measured = run_comparison(
        Bundle.open(bundle), names=("compiled",), images=photographs, level="classify", rounds=1, threads=1
    )
    assert rows(measured)["compiled"].problem == "RuntimeError: no C++ compiler"
    assert rows(measured)["eager"].problem is None


def test_compare_knows_its_sides(bundle: Path) -> None:
    with pytest.raises(InputError, match="there is no side tpu: choose from eager, channels-last"):
        run_comparison(Bundle.open(bundle), names=("tpu",))


def test_compare_runs_the_golden_images_where_none_are_named(bundle: Path) -> None:
    measured = run_comparison(
        Bundle.open(bundle), names=(), level="classify", batch_size=3, rounds=2, threads=1
    )
    assert measured.photographs.endswith("golden images")
    (row,) = measured.rows
    assert row.agreement is not None
    assert row.agreement.images == 6  # the golden images again
    assert row.agreement.heatmap_correlation == {}


def test_grad_cam_library_has_nothing_to_do_at_level_classify(bundle: Path, small_model: BioUNet) -> None:
    with pytest.raises(InputError, match="makes heatmaps, and level classify has none: choose cam or full"):
        open_side("grad-cam", Bundle.open(bundle), small_model, "classify")


def test_sides_alternate_and_are_timed_per_image(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    """Fake sides on a fake clock: the baseline takes 2 s and 4 s an image, the other half of that."""
    clock = SimpleNamespace(wall=0.0, cpu=0.0)
    monkeypatch.setattr(
        comparison,
        "time",
        SimpleNamespace(
            perf_counter=lambda: clock.wall, process_time=lambda: clock.cpu, sleep=lambda seconds: None
        ),
    )
    monkeypatch.setattr(
        comparison, "Peaks", lambda sides: SimpleNamespace(measure=lambda: None, best={"float32": (10.0, "")})
    )
    calls: list[str] = []

    def side(name: str, part: float, images: int | None = None) -> Side:
        def compute(batch: np.ndarray) -> dict[str, np.ndarray]:
            calls.append(f"{name}{len(batch)}")
            clock.wall += part * 2 * len(batch) * batch.max()
            clock.cpu += 1.5 * part * 2 * len(batch) * batch.max()
            shapes = [(len(batch),), (len(batch), 5), (len(batch), 5)]
            return {key: np.zeros(shape, np.float32) for key, shape in zip(OUTPUTS, shapes, strict=True)}

        return Side(name, "", "float32", compute, images)

    batches = [np.full((4, 2, 2, 3), value, np.uint8) for value in (1, 2)]
    manifest = Bundle.open(bundle).manifest
    measured, _ = compare([side("eager", 1), side("fast", 0.5, images=1)], batches, manifest, 6.0)
    assert calls == ["eager4", "fast1", "eager4", "fast1", "fast1", "eager4"]
    eager, fast = measured
    assert eager.seconds_per_image == pytest.approx(3)
    assert fast.seconds_per_image == pytest.approx(1.5)
    assert (eager.ratio, fast.ratio) == pytest.approx((1, 2))
    assert eager.threads_busy == pytest.approx(1.5)
    assert fast.gflops_per_s == pytest.approx(4)
    assert fast.peak_fraction == pytest.approx(0.4)


def test_both_ways_to_call_the_library_give_the_same_masks(bundle: Path, small_model: BioUNet) -> None:
    """The heatmaps of one call are those of twelve, in the order of the layers."""
    images = rendered_images(1, SIZE_PX, seed=6).numpy()
    sides = [
        open_side(name, Bundle.open(bundle), small_model, "full")
        for name in ("grad-cam", "grad-cam-one-call")
    ]
    one, other = (side.answer(images)["mask_probability"] for side in sides)
    # The library divides once more by a maximum after it has resized: off by 5e-3, and by far more in another
    # order.
    np.testing.assert_allclose(one, other, atol=2e-2)
    assert not any(parameter.requires_grad for parameter in small_model.parameters())
    assert all(parameter.grad is None for parameter in small_model.parameters())


@pytest.mark.parametrize("targets", [1, 12])
def test_gradient_as_a_function_is_that_of_autograd(targets: int, small_model: BioUNet) -> None:
    pixels = normalise(rendered_images(2, SIZE_PX, seed=3))
    network = small_model.network("streaks")
    expected = explain(network.encoder, network.classification_head, pixels, task=0)
    with torch.no_grad():
        features, logits, raw = explain_as_function(network, pixels, targets)
    torch.testing.assert_close(features, expected.features)
    torch.testing.assert_close(logits, expected.logits)
    assert len(raw) == targets
    for one, other in zip(raw, expected.raw_heatmaps[-targets:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.max()))
    assert any(map_.any() for map_ in raw)


@pytest.mark.parametrize("level", ["classify", "cam", "full"])
def test_compiled_sides_compute_what_the_baseline_does(
    level: str, bundle: Path, small_model: BioUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the compiler, which takes minutes: what is compiled is right, and once for each network."""
    compiled: list[object] = []

    def keep(function: object, **options: object) -> object:
        assert options["fullgraph"]
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", keep)
    images = rendered_images(2, SIZE_PX, seed=4).numpy()
    side = open_side("compiled", Bundle.open(bundle), small_model, level)  # type: ignore[arg-type]
    actual = side.answer(images)
    side.answer(images)
    assert len(compiled) == 5
    expected = answer(small_model, eager_part(level), images)  # type: ignore[arg-type]
    assert set(actual) == set(expected) == set(Bundle.open(bundle).manifest.levels[level].outputs)  # type: ignore[index]
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, atol=1e-2, err_msg=name)


def test_compare_prints_json(bundle: Path) -> None:
    import typer

    from benchmarks.compare import main

    app = typer.Typer()
    app.command()(main)
    arguments = [str(bundle), "--level", "classify", "--rounds", "1", "--side", "eager", "--threads", "1"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert '"gflops_per_image"' in result.stdout
    result = CliRunner().invoke(app, [str(bundle), "--side", "tpu"])
    assert result.exit_code == 1
    assert "error: there is no side tpu" in result.stderr
