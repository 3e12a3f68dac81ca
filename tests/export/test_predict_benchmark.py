from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import predict
from benchmarks.machine import describe_machine
from benchmarks.predict import measure_predict
from biounet_edge.bundle.folder import Bundle
from biounet_edge.errors import InputError
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.prediction import Outcome
from biounet_edge.results.writer import ResultWriter

pytestmark = pytest.mark.usefixtures("one_thread")


def test_predict_measures_throughput_memory_and_the_first_result(
    bundle: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    class Writer(ResultWriter):
        def write(self, image: InputImage, outcome: Outcome) -> None:
            written.append(image.stem)
            super().write(image, outcome)

    monkeypatch.setattr("biounet_edge.runs.folder.ResultWriter", Writer)
    report = measure_predict(
        Bundle.open(bundle),
        photographs,
        count=17,
        level="classify",
        device="cpu",
        precision="float32",
        batch_size=1,
        starts=1,
    )
    assert len(written) == len(set(written)) == 17  # each once, none left out
    assert report.images == 17
    assert report.photographs == f"4 of {photographs}"
    assert report.predict_images_per_s > 0
    assert report.inference_images_per_s > 0
    assert report.first_result_s > 0
    assert report.memory_first_part_mb is not None
    assert report.memory_all_mb is not None
    assert report.memory_all_mb > 50  # Python with its libraries
    assert report.backend.startswith("cpu in float32 (onnxruntime")


def test_predict_leaves_out_what_was_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each part the first two batches are not timed; the clock moves by one where a result is written."""
    clock = SimpleNamespace(now=0.0)
    pauses: list[float] = []
    fake_time = SimpleNamespace(perf_counter=lambda: clock.now, sleep=pauses.append)
    monkeypatch.setattr(predict, "time", fake_time)

    def run_folder(predictor: object, files: list[object], *options: object) -> Generator[object, None, None]:
        for _ in files:
            clock.now += 1
            yield SimpleNamespace(outcome="a prediction")

    def run(images: np.ndarray) -> None:
        clock.now += 0.25 * len(images)

    monkeypatch.setattr(predict, "run_folder", run_folder)
    monkeypatch.setattr(predict, "read_input", lambda path, height, width: np.zeros((height, width, 3)))
    spec = SimpleNamespace(height=4, width=4)
    fake = SimpleNamespace(
        bundle=SimpleNamespace(manifest=SimpleNamespace(input=spec)),
        backend=SimpleNamespace(run=run),
    )
    files = [SimpleNamespace(path=Path(f"{number}.jpg")) for number in range(37)]
    rates, memory = predict._alternate(fake, files, 2, (), lambda line: None)  # type: ignore[arg-type]
    assert rates == [pytest.approx((1, 4))] * 5
    assert clock.now == 37 + 0.25 * (4 + 8 + 8 + 8 + 8 + 8)  # all 37, and full batches of inference alone
    assert (
        pauses == [pytest.approx(1.5 * 4)] * 5
    )  # what was taken ahead is done before inference alone begins
    assert len(memory) == 5


def test_predict_refuses_too_few_photographs(bundle: Path, photographs: Path) -> None:
    with pytest.raises(
        InputError, match="at least 30 photographs for batches of 2, got 4: repeat them with --count"
    ):
        measure_predict(Bundle.open(bundle), photographs, batch_size=2)


def test_predict_says_why_the_command_gave_no_result(bundle: Path, tmp_path: Path) -> None:
    from benchmarks.processes import first_result_s

    with pytest.raises(InputError, match=r"the command ended without a result: error: .*no images"):
        first_result_s(Bundle.open(bundle), tmp_path, ["--level", "classify"])


def test_machine_names_processor_and_versions() -> None:
    machine = describe_machine(3)
    assert machine.versions["torch"] == torch.__version__.partition("+")[0]
    assert str(machine).startswith(f"{machine.processor}, 3 threads; python 3.")
