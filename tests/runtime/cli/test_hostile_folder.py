"""One folder with all that a folder may hold: every good image is done, every bad one is named."""

import csv
import json
import os
import socket
import struct
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biounet_edge.cli.main import app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such files and names")

GOOD = [
    b"plain.png", b"plain.jpg", b"one/same.png", b"two/same.png", b"line\nbreak.png", b'"quo,ted\'.png',
    b"=1+1.png", b"+x.png", b"-x.png", b"@x.png", b"\tx.png", b"\rx.png", b"a;=b.png", b"$(x) `y`.png",
    "Läsion 病変 پوست.png".encode(), b"\xff\xfe.png", b"\x1b[31mred.png", b"[bold]x.png", b"back\\slash.png",
    b"x" * 251 + b".png", b"a.png", b"a.jpg/b.png", b"a_attribute_streaks.png/c.png", b"CASE.png",
    b"case.png",
]  # fmt: skip


@pytest.fixture
def hostile(tmp_path, photograph, write_image, monkeypatch) -> Path:
    folder = tmp_path / "images"
    png, jpg = (
        write_image(tmp_path / f"source{suffix}", photograph).read_bytes() for suffix in (".png", ".jpg")
    )
    for name in GOOD:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpg if path.suffix == ".jpg" else png)
    deep = folder / "/".join("d" * 250)
    deep.mkdir(parents=True)
    (deep / "deep.png").write_bytes(png)
    (folder / "link.png").symlink_to(folder / "plain.png")
    (folder / "loop").symlink_to(folder)
    (folder / "outside").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "other.png").write_bytes(png)
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").write_text("no image")
    (folder / "empty folder.png").mkdir()

    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.png").touch()
    (bad / "cut.jpg").write_bytes(jpg[: len(jpg) // 2])
    (bad / "text.jpg").write_text("=no image")
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    header = b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\x00\xff\x00\x01\x01\x11\x00"
    (bad / "huge.jpg").write_bytes(header + scan)
    (bad / "bomb.tif").write_bytes(
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 273, 4, 2**31, 8) + b"\0" * 32
    )
    (bad / "gone.png").symlink_to(bad / "nowhere.png")
    (bad / "self.png").symlink_to(bad / "self.png")
    (bad / "device.png").symlink_to("/dev/zero")
    os.mkfifo(bad / "pipe.png")
    monkeypatch.chdir(bad)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    monkeypatch.chdir(folder)  # so that names stand at the start of their cells
    return folder


BAD = {
    "empty.png": "the file is empty",
    "cut.jpg": "the JPEG image is truncated or damaged: its end marker is missing",
    "text.jpg": "the file is not an image in a known format",
    "huge.jpg": "the image is too large: 65280 x 65280 pixels",
    "bomb.tif": "the TIFF image is damaged: its tags claim more bytes than the file has",
    "gone.png": "there is no such file",
    "self.png": "there is no such file",
    "device.png": "this is not a regular file",
    "pipe.png": "this is not a regular file",
    "socket.png": "this is not a regular file",
}


def outside(tmp_path: Path, output: Path) -> set[str]:
    return {
        os.path.join(folder, name)
        for folder, folders, names in os.walk(tmp_path)
        if not folder.startswith(str(output))
        for name in folders + names
    }


def predict(bundle, *options: str):
    arguments = ["predict", ".", "--bundle", str(bundle.folder), "--device", "cpu", *options]
    return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, arguments)


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_hostile_folder_is_read_to_its_end(hostile, tmp_path, bundle, place):
    output = tmp_path / "out" if place == "beside" else hostile / "out"
    before = outside(tmp_path, output)
    result = predict(bundle, "--output", str(output))
    assert result.exit_code == 3, result.output
    assert outside(tmp_path, output) - {str(output)} == before - {str(output)}

    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text("utf-8").splitlines()]
    failed = {Path(line["image"]).name: line["error"] for line in lines if line["status"] == "error"}
    assert set(failed) == set(BAD)
    for name, reason in BAD.items():
        assert failed[name].startswith(reason)
        assert f"error: bad/{name}: {reason}" in result.stderr
    good = [line for line in lines if line["status"] == "ok"]
    expected = {os.fsdecode(name) for name in GOOD} | {
        "link.png",
        "outside/other.png",
        "d/" * 250 + "deep.png",
    }
    assert {line["image"] for line in good} == expected
    files = [name for line in good for name in line["files"]]
    assert len(set(files)) == len(files) == 6 * len(good)
    assert all((output / name).is_file() for name in files)

    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [line["status"] for line in lines]
    assert not any(
        row[column][:1] in tuple("=+-@\t\r") for row in rows for column in ("image", "error") if row[column]
    )
    assert "\x1b" not in result.stdout + result.stderr


def test_hostile_folder_is_kept_by_a_second_run(hostile, tmp_path, bundle):
    options = ("--output", str(tmp_path / "out"), "--level", "classify")
    predict(bundle, *options)
    tables = [(tmp_path / "out" / name).read_bytes() for name in ("predictions.csv", "predictions.jsonl")]
    result = predict(bundle, *options)
    assert result.exit_code == 3
    assert [
        (tmp_path / "out" / name).read_bytes() for name in ("predictions.csv", "predictions.jsonl")
    ] == tables


def test_anonymous_run_leaks_no_name_of_a_hostile_folder(hostile, tmp_path, bundle):
    result = predict(bundle, "--output", str(tmp_path / "out"), "--anonymous", "--level", "cam")
    assert result.exit_code == 3, result.output
    said = result.stdout + result.stderr
    for path in (tmp_path / "out").rglob("*"):
        said += path.relative_to(tmp_path / "out").as_posix()
        said += path.read_text("latin-1") if path.suffix in (".csv", ".jsonl") else ""
    for name in [*BAD, "plain", "same", "Läsion", "quo,ted", "deep.png", "bold]x"]:
        assert name not in said
    assert said.count("unreadable-") >= 5


@pytest.mark.parametrize("path", ["Mustermann_Max.jpg", "Mustermann"])
def test_anonymous_run_does_not_repeat_the_path_that_was_typed(tmp_path, bundle, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Mustermann").mkdir()
    result = CliRunner().invoke(app, ["predict", path, "--anonymous"])
    assert result.exit_code == 1
    assert "a path that was named does not exist, cannot be read or holds no images: leave" in result.stderr
    assert "Mustermann" not in result.output
