import sys
import threading

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from biounet_edge import Predictor
from biounet_edge.photographs.dicom.signature import Frame
from biounet_edge.runs.folder import RunOptions
from biounet_edge.runs.watch import watch_folder

from ..dicom_files import dataset, write


@pytest.mark.parametrize("trouble", ["library", "memory", "disk"])
@pytest.mark.parametrize("frames", [1, 2])
def test_trouble_of_the_machine_is_not_the_contents(
    predictor, photograph, tmp_path, monkeypatch, trouble, frames
):
    pixels = photograph if frames == 1 else np.stack([photograph] * frames)
    path = write(tmp_path / "a.dcm", dataset(pixels, frames=frames))

    def fail(*_, **__):
        raise MemoryError if trouble == "memory" else OSError(5, "Input/output error")

    if trouble == "library":
        monkeypatch.setitem(sys.modules, "pydicom", None)
    else:
        monkeypatch.setattr("biounet_edge.photographs.dicom.reading._decode", fail)
    (outcome,) = predictor.stream([path if frames == 1 else Frame(path, 1)])
    assert {"library": "is not installed", "memory": "memory", "disk": "Input/output"}[
        trouble
    ] in outcome.error
    assert outcome.sha256 is None


@pytest.fixture
def nameless(bundle, photograph, tmp_path):
    """A watch of a folder whose one photograph belongs to no study, the lines it reports and what ends it."""
    write(tmp_path / "in" / "a.dcm", dataset(photograph, StudyInstanceUID=""))
    lines, stop, options = [], threading.Event(), RunOptions(("dicom-sr",), batch_size=1)
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        folders = tmp_path / "in", tmp_path / "out"
        yield (
            watch_folder(
                predictor, *folders, options, stop,
                settle_s=0, interval_s=0.02, retry_s=0.05, tell=lines.append,
            ),
            lines,
            stop,
        )  # fmt: skip


def test_watch_that_is_stopped_tells_what_could_not_be_written_as_dicom(nameless):
    run, lines, stop = nameless
    next(run)
    stop.set()
    assert list(run) == []
    assert len(lines) == 1
    assert "has no StudyInstanceUID" in lines[0]


def test_watch_tries_again_what_could_not_be_written_as_dicom(nameless):
    run, lines, _ = nameless
    assert len({next(run).outcome.sha256 for _ in range(3)}) == 1
    run.close()
    assert len(lines) == 3
