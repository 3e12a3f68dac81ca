import os

import pytest

from biounet_edge import InputError
from biounet_edge.photographs.discovery import discover
from biounet_edge.runs.folder import RunOptions, run_folder

from .folder_runs import IMAGES, finish, results


def test_anonymous_run_names_results_by_their_content(predictor, folder, tmp_path):
    patient = folder / "Mustermann_Max_1970"
    (folder / "6.png").rename(patient.with_suffix(".png"))
    (folder / "Gone_Gabi.png").symlink_to(tmp_path / "missing.png")
    outcomes = [
        item.outcome
        for item in run_folder(
            predictor,
            discover([folder]),
            tmp_path / "out",
            RunOptions(("masks", "overlays"), 2, anonymous=True),
        )
    ]
    assert [o.source for o in outcomes if o.sha256] == [o.sha256[:32] for o in outcomes if o.sha256]
    assert [o.source for o in outcomes if not o.sha256] == ["unreadable-7"]
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert (tmp_path / "out" / "overlays" / f"{outcomes[0].source}.jpg") in written
    for path in written:
        for name in (b"Mustermann", b"Gone_Gabi", str(folder).encode()):
            assert name not in path.read_bytes() + os.fsencode(path.relative_to(tmp_path / "out"))


def test_anonymous_run_is_continued(counting, folder, tmp_path):
    finish(counting, folder, tmp_path / "out", anonymous=True)
    whole = results(tmp_path / "out")
    (folder / "0.png").rename(folder / "00.png")  # comes before it too
    assert finish(counting, folder, tmp_path / "out", anonymous=True) == [True] * IMAGES
    assert results(tmp_path / "out") == whole
    finish(counting, folder, tmp_path / "named")
    with pytest.raises(InputError, match="has results with file names"):
        finish(counting, folder, tmp_path / "named", anonymous=True)
