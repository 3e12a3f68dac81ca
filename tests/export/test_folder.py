from pathlib import Path

import pytest

from biounet_edge.errors import ExportError
from export.folder import new_folder


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    with new_folder(path, overwrite=overwrite) as folder:
        (folder / "file").write_text(text)


def test_folder_appears_at_the_end_with_its_parents(tmp_path: Path) -> None:
    out = tmp_path / "engines" / "name"
    with new_folder(out, overwrite=False) as folder:
        assert not out.exists()
        (folder / "file").write_text("new")
    assert [path.name for path in out.parent.iterdir()] == ["name"]
    assert (out / "file").read_text() == "new"


def test_existing_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    write(tmp_path / "name", "old")
    with pytest.raises(ExportError, match="is already there"):
        write(tmp_path / "name", "new")
    assert (tmp_path / "name" / "file").read_text() == "old"


def test_overwrite_replaces_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "name", "old")
    write(tmp_path / "name", "new", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name" / "file").read_text() == "new"


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "name", "old")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "name", overwrite=True):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name" / "file").read_text() == "old"


def test_failing_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "name", "old")
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="disk"):
        write(tmp_path / "name", "new", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name" / "file").read_text() == "old"
