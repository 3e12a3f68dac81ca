"""Files that appear whole or not at all, alone and with a companion."""

from pathlib import Path

import pytest

from onnx_gradcam.errors import OutputError
from onnx_gradcam.storage import new_files


def write(path: Path, text: str, companion: Path | None = None, *, overwrite: bool = False) -> None:
    companions = [] if companion is None else [companion]
    with new_files(path, companions, overwrite=overwrite) as folder:
        for target in (path, *companions):
            (folder / target.name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_files(out, overwrite=False) as folder:
        (folder / "out").write_text("new")
        assert not out.exists()
    assert contents(tmp_path) == {"out": "new"}


@pytest.mark.parametrize("there", ["out", "out.data"])
def test_what_is_there_is_refused_and_untouched(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("old")
    with pytest.raises(OutputError, match="is there already: choose another name, or replace it with"):
        write(tmp_path / "out", "new", tmp_path / "out.data")
    assert contents(tmp_path) == {there: "old"}


def test_overwrite_replaces_the_file_and_its_companion(tmp_path: Path) -> None:
    write(tmp_path / "out", "old", tmp_path / "out.data")
    write(tmp_path / "out", "new", tmp_path / "out.data", overwrite=True)
    assert contents(tmp_path) == {"out": "new", "out.data": "new"}


def test_a_companion_that_is_not_written_stays(tmp_path: Path) -> None:
    (tmp_path / "out.data").write_text("old")
    with new_files(tmp_path / "out", [tmp_path / "out.data"], overwrite=True) as folder:
        (folder / "out").write_text("new")
    assert contents(tmp_path) == {"out": "new", "out.data": "old"}


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt), new_files(tmp_path / "out", overwrite=True):
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"out": "old"}


@pytest.mark.parametrize("old", [True, False])
def test_a_failing_move_brings_the_companion_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    out, companion = tmp_path / "out", tmp_path / "out.data"
    if old:
        write(out, "old", companion)
    replace = Path.replace

    def fail_for_out(self: Path, target: Path) -> Path:
        if target == out:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_for_out)
    with pytest.raises(OutputError, match=r"out cannot be written \(No space left on device\)"):
        write(out, "new", companion, overwrite=True)
    assert contents(tmp_path) == ({"out": "old", "out.data": "old"} if old else {})
