from pathlib import Path

import pytest

from biounet_edge import OutputError, storage
from biounet_edge.storage import remove_result, write_atomically, write_result


def leftovers(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.name.startswith(".tmp-")]


def test_write_atomically_replaces_whole_files(tmp_path):
    path = tmp_path / "a" / "b.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert leftovers(tmp_path) == []


def test_write_result_makes_folders_below_the_output_folder_only(tmp_path, monkeypatch):
    write_result(tmp_path, "masks/sub/a.png", b"one")
    assert (tmp_path / "masks" / "sub" / "a.png").read_bytes() == b"one"
    with pytest.raises(OutputError, match=r"a.png cannot be written \(No such file or directory\)"):
        write_result(tmp_path / "gone", "masks/sub/a.png", b"one")
    monkeypatch.setattr(storage, "_make_folder_of", lambda path, output: None)  # removed behind it
    with pytest.raises(OutputError, match=r"a.png cannot be written \(No such file or directory\)"):
        write_result(tmp_path / "gone", "masks/a.png", b"one")
    assert not (tmp_path / "gone").exists()


def test_remove_result_stays_below_the_output_folder(tmp_path):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for path in (output / "masks" / "a.png", elsewhere / "b.png"):
        write_atomically(path, b"content")
    (output / "overlays").symlink_to(elsewhere)
    for name in ("masks/a.png", "overlays/b.png", "heatmaps/never.png"):
        remove_result(output, name)
    assert not (output / "masks" / "a.png").exists()
    assert (elsewhere / "b.png").exists()
