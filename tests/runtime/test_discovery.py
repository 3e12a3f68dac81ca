from pathlib import Path

import pytest

from biounet_edge import InputError
from biounet_edge.discovery import discover


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*paths: Path, output: Path | None = None) -> list[tuple[str, str]]:
    return [(image.path.name, image.stem) for image in discover(paths, output)]


def test_discover_walks_folders_in_order(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "sub/c.tiff", "sub/deeper/d.webp", "e.bmp")
    assert [image.stem for image in discover([tmp_path])] == ["a", "b", "e", "sub/c", "sub/deeper/d"]


def test_discover_leaves_out_hidden_files_and_other_endings(tmp_path):
    touch(tmp_path, "a.jpg", ".b.jpg", ".hidden/c.jpg", "labels.csv", "README")
    assert found(tmp_path) == [("a.jpg", "a")]


def test_discover_tries_a_named_file_whatever_its_ending(tmp_path):
    touch(tmp_path, "photo.dat", ".hidden")
    assert found(tmp_path / "photo.dat", tmp_path / ".hidden") == [
        ("photo.dat", "photo"),
        (".hidden", ".hidden"),
    ]


def test_discover_keeps_the_order_of_its_paths(tmp_path):
    touch(tmp_path, "z.jpg", "folder/b.jpg", "a.jpg")
    paths = [tmp_path / "z.jpg", tmp_path / "folder", tmp_path / "a.jpg"]
    assert [image.stem for image in discover(paths)] == ["z", "b", "a"]


def test_discover_reads_each_file_once(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    assert found(tmp_path / "b.jpg", tmp_path, tmp_path) == [("b.jpg", "b"), ("a.jpg", "a")]


def test_discover_leaves_out_the_output_folder(tmp_path):
    touch(tmp_path, "a.jpg", "predictions/overlays/a.jpg")
    assert found(tmp_path, output=tmp_path / "predictions") == [("a.jpg", "a")]


def test_discover_does_not_follow_loops(tmp_path):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "twice").symlink_to(tmp_path / "sub")
    assert found(tmp_path) == [("a.jpg", "a"), ("b.jpg", "sub/b")]


def test_discover_follows_a_link_to_a_folder(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "link").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "input") == [("a.jpg", "link/a")]


def test_discover_keeps_the_ending_where_only_it_differs(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert [image.stem for image in discover([tmp_path])] == ["a.jpg", "a.png", "b"]


def test_discover_treats_upper_and_lower_case_as_one_name(tmp_path):
    touch(tmp_path / "one", "A.jpg")
    touch(tmp_path / "two", "a.jpg")
    stems = [image.stem for image in discover([tmp_path / "one", tmp_path / "two"])]
    assert stems == ["one/A.jpg", "two/a.jpg"]


def test_discover_puts_the_folder_in_front_where_two_hold_the_same_name(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")
    stems = [image.stem for image in discover([tmp_path / "one", tmp_path / "two"])]
    assert stems == ["one/a.jpg", "two/a.jpg", "b"]


def test_discover_numbers_what_still_clashes(tmp_path):
    touch(tmp_path, "x/in/a.jpg", "y/in/a.jpg", "z/in/a.jpg")
    stems = [image.stem for image in discover([tmp_path / name / "in" for name in "xyz"])]
    assert stems == ["in/a.jpg", "in/a.jpg_2", "in/a.jpg_3"]


def test_discover_never_repeats_a_stem(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.png", "a.jpg.jpg", "in/a.jpg", "x/in/a.jpg", "in/a.jpg_2.png")
    paths = [tmp_path, tmp_path / "x" / "in", tmp_path / "in", tmp_path / "a.jpg"]
    stems = [image.stem for image in discover(paths)]
    assert len({stem.casefold() for stem in stems}) == len(stems) == 7


@pytest.mark.parametrize("name", ["../x.jpg", "sub/../../x.jpg"])
def test_discover_keeps_results_below_their_folder(tmp_path, name, monkeypatch):
    touch(tmp_path, "x.jpg", "here/sub/y.jpg")
    monkeypatch.chdir(tmp_path / "here")
    assert [image.stem for image in discover([Path(name), Path("..")])] == ["x", "here/sub/y"]


def test_discover_reports_a_missing_path(tmp_path):
    with pytest.raises(InputError, match=r"there is no file or folder .*missing: check the path"):
        discover([tmp_path / "missing"])


def test_discover_reports_a_folder_without_images(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match=r"the folder .* holds no images: expected files ending in \.bmp, "):
        discover([tmp_path])


def test_discover_reports_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"the folder .* cannot be read: Permission denied"):
        discover([tmp_path])
