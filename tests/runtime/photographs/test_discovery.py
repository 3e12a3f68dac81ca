import os
from pathlib import Path

import pytest

from biounet_edge import InputError
from biounet_edge.photographs import discovery
from biounet_edge.photographs.discovery import discover, look_through
from biounet_edge.photographs.names import comparable as folded


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


@pytest.mark.parametrize("link", [False, True])
def test_discover_refuses_the_output_folder(tmp_path, link):
    touch(tmp_path, "in/a.jpg")
    if link:
        (tmp_path / "out").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match=r"in is the output folder itself: choose another .* with --output"):
        discover([tmp_path / "in"], tmp_path / ("out" if link else "in"))


def test_discover_says_that_a_path_which_is_too_long_is_not_there(tmp_path):
    touch(tmp_path, "a.jpg")
    with pytest.raises(InputError, match=r"there is no file or folder .*xxx: check the path"):
        discover([tmp_path / ("x" * 300)])
    assert found(tmp_path, output=tmp_path / ("x" * 300)) == [("a.jpg", "a")]


@pytest.mark.parametrize("name", ["..jpg", "...jpg", "sub/..jpg"])
def test_discover_takes_dots_for_a_name(tmp_path, name):
    touch(tmp_path, name, "sub.jpg")
    (image, _) = discover([tmp_path / name, tmp_path / "sub.jpg"])
    assert image.stem == Path(name).name


def test_discover_reports_a_folder_without_images(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match=r"the folder .* holds no images: expected files ending in \.avif, "):
        discover([tmp_path])


def test_discover_reports_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"the folder .* cannot be read: Permission denied"):
        discover([tmp_path])


def test_discover_reports_a_subfolder_that_cannot_be_read_as_an_image(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    iterdir = Path.iterdir

    def refuse(self):
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert found(tmp_path) == [("a.jpg", "a"), ("locked", "locked"), ("z.jpg", "z")]


def test_discover_walks_deeper_than_python_recurses(tmp_path):
    folders = [str(tmp_path / "in")]
    for _ in range(1100):
        folders.append(f"{folders[-1]}/d")
    try:
        for folder in folders:
            os.mkdir(folder)
        Path(folders[-1], "a.jpg").touch()
        ((name, stem),) = found(tmp_path / "in")
        assert name == "a.jpg"
        assert len(stem) <= 200
    finally:  # what pytest cleans up with recurses
        os.unlink(f"{folders[-1]}/a.jpg")
        for folder in reversed(folders):
            os.rmdir(folder)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_discover_takes_links_that_lead_nowhere_for_images(tmp_path):
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    (tmp_path / "no image").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path) == [("gone.jpg", "gone"), ("long.jpg", "long"), ("self.jpg", "self")]


def test_discover_names_results_apart_that_one_file_system_takes_for_the_same(tmp_path):
    touch(tmp_path, "\u00e9.jpg", "e\u0301.png", "a.jpg/b.jpg", "a.jpg_/b.jpg")
    stems = [image.stem for image in discover([tmp_path])]
    assert len({folded(stem) for stem in stems}) == len(stems) == 4


def test_discover_keeps_names_short_enough_for_what_comes_behind_them(tmp_path):
    touch(tmp_path, f"{'x' * 251}.jpg", f"{'x' * 250}y.jpg")
    stems = [image.stem for image in discover([tmp_path])]
    assert len(set(stems)) == 2
    assert all(len(stem) <= 200 for stem in stems)


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setattr(discovery.importlib.util, "find_spec", lambda name: None)


def left_out(*paths: Path) -> list[str]:
    return [part.sentence for part in look_through(paths).left_out]


@pytest.mark.parametrize(
    "name", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "System Volume Information"]
)
def test_discover_leaves_out_what_systems_keep_beside_photographs(tmp_path, name):
    touch(tmp_path, "a.jpg", f"{name}/a.jpg/THUMB.jpg", f"sub/{name}/b.jpg", "sub/c.jpg")
    assert found(tmp_path) == [("a.jpg", "a"), ("c.jpg", "sub/c")]
    assert left_out(tmp_path) == [f"2 folders that a system keeps beside photographs: {name}"]


@pytest.mark.parametrize(
    "line", ['{"journal": 1, "anonymous": false}', '{"run": "a", "stem": "b", "files": {}}']
)
def test_discover_leaves_out_the_results_of_any_run(tmp_path, line):
    touch(tmp_path, "a.jpg", "predictions/overlays/a.jpg", "deep/er/masks/a.png", "plain/b.jpg")
    for folder in ("predictions", "deep/er"):
        (tmp_path / folder / "journal.jsonl").write_text(line + "\n", encoding="utf-8")
    (tmp_path / "plain" / "journal.jsonl").write_text("Dear diary\n", encoding="utf-8")
    assert found(tmp_path) == [("a.jpg", "a"), ("b.jpg", "plain/b")]
    assert "2 folders with results of biounet-edge" in left_out(tmp_path)


def test_discover_reads_no_results_where_their_folder_is_named(tmp_path):
    touch(tmp_path, "overlays/a.jpg")
    (tmp_path / "journal.jsonl").write_text('{"journal": 1}\n', encoding="utf-8")
    with pytest.raises(
        InputError, match=r"holds no images: .*; left out: 1 folder with results of biounet-edge"
    ):
        discover([tmp_path])


def test_what_is_left_out_is_counted_by_reason(tmp_path, without_heif):
    touch(tmp_path, "a.jpg", "b.HEIC", "c.heic", "sub/d.cr2", ".hidden.jpg", "notes.txt", "Mueller.scan")
    assert left_out(tmp_path) == [
        "1 hidden file or folder",
        "2 files that are no photographs",
        '3 photographs in formats that are not read: CR2, HEIC (pip install "biounet-edge[heif]" reads HEIC)',
    ]


def test_discover_finds_heic_where_it_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery.importlib.util, "find_spec", lambda name: object())
    touch(tmp_path, "a.HEIC", "b.avif")
    assert found(tmp_path) == [("a.HEIC", "a"), ("b.avif", "b")]
