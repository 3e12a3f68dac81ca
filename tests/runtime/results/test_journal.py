import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from biounet_edge import InputError, OutputError, PredictionFailure
from biounet_edge.results.journal import JOURNAL_NAME, Journal
from biounet_edge.results.outcome_record import outcome_from_dict

FAILURE = PredictionFailure("in/a.jpg", "the file is empty", "ab" * 32)


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / JOURNAL_NAME).read_bytes().splitlines()]


def write(output: Path, name: str, content: bytes = b"mask") -> str:
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_bytes(content)
    return name


def test_journal_finds_what_it_was_told(tmp_path):
    with Journal(tmp_path / "out", "run") as journal:
        files = [write(tmp_path / "out", "masks/a.png")]
        journal.add("a", FAILURE, files)
        assert journal.find("a", FAILURE.sha256).files == files
    with Journal(tmp_path / "out", "run") as journal:
        assert len(journal) == 1
        assert "a" in journal
        entry = journal.find("a", FAILURE.sha256)
    assert (entry.outcome, entry.files) == (FAILURE, files)


def test_journal_keeps_every_number_of_a_prediction(tmp_path, predictor, photograph, write_image):
    prediction = predictor.predict(write_image(tmp_path / "a.png", photograph))
    with Journal(tmp_path, "run") as journal:
        journal.add("a", prediction, [])
        outcome = journal.find("a", prediction.sha256).outcome
    assert json.dumps(outcome.to_dict()) == json.dumps(prediction.to_dict())
    assert outcome.indicators["streaks"].mask is None
    assert outcome_from_dict(prediction.to_dict()).to_dict() == prediction.to_dict()


def test_journal_keeps_that_an_indicator_has_no_operating_point(
    tmp_path, undecided_predictor, photograph, write_image
):
    prediction = undecided_predictor.predict(write_image(tmp_path / "a.png", photograph))
    with Journal(tmp_path, "run") as journal:
        journal.add("a", prediction, [])
        outcome = journal.find("a", prediction.sha256).outcome
    assert outcome.indicators["streaks"].present is None
    assert outcome.to_dict() == prediction.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"melanoma_probability": "high"},
        {"melanoma_probability": None},
        {"indicators": {}},
        {"indicators": {"streaks": {}}},
        {"indicators": 3},
        {"width": "wide"},
        {"height": float("inf")},  # 1e999 reads as this
        {"status": "odd", "sha256": None},
    ],
)
def test_journal_does_not_believe_what_it_cannot_have_written(tmp_path, predictor, photograph, change):
    prediction = replace(predictor.predict(photograph), sha256=FAILURE.sha256)
    with Journal(tmp_path, "run") as journal:
        journal.add("a", prediction, [])
        assert journal.find("a", FAILURE.sha256) is not None
    line = lines(tmp_path)[-1]
    with (tmp_path / JOURNAL_NAME).open("a") as file:
        file.write(json.dumps(line | {"outcome": line["outcome"] | change}) + "\n")
    with Journal(tmp_path, "run") as journal:
        assert journal.find("a", FAILURE.sha256) is None


@pytest.mark.parametrize("change", ["content", "run", "file", "size", "name", "nothing kept"])
def test_journal_does_not_find_what_has_changed(tmp_path, change):
    with Journal(tmp_path, "run") as journal:
        journal.add("a", FAILURE, [write(tmp_path, "masks/a.png")])
    if change == "file":
        (tmp_path / "masks" / "a.png").unlink()
    elif change == "size":
        write(tmp_path, "masks/a.png", b"")
    run, resume = "other" if change == "run" else "run", change != "nothing kept"
    with Journal(tmp_path, run, resume=resume) as journal:
        sha256 = "cd" * 32 if change == "content" else FAILURE.sha256
        assert journal.find("b" if change == "name" else "a", sha256) is None


def test_journal_of_another_run_gives_up_what_was_overwritten(tmp_path):
    for run, stem in (("one", "a"), ("one", "b"), ("two", "a")):
        with Journal(tmp_path, run) as journal:
            journal.add(stem, FAILURE, [])
    with Journal(tmp_path, "one") as journal:
        assert ("a" in journal, "b" in journal) == (False, True)


@pytest.mark.parametrize(("earlier", "content"), [("one", "cd"), ("one", "ab"), ("two", "cd")])
def test_journal_gives_up_what_is_about_to_be_overwritten(tmp_path, earlier, content):
    """Run "two" claims the image and is killed before it is finished."""
    with Journal(tmp_path, earlier) as journal:
        journal.add("a", FAILURE, [])
        journal.add("b", FAILURE, [])
    with Journal(tmp_path, "two") as journal:
        journal.claim("a", content * 32)
    with Journal(tmp_path, earlier) as journal:
        assert ("a" in journal, "b" in journal) == (False, True)


def test_journal_keeps_what_is_overwritten_by_the_same(tmp_path):
    with Journal(tmp_path, "run") as journal:
        journal.add("a", FAILURE, [])
        journal.claim("a", FAILURE.sha256)
        journal.claim("b", FAILURE.sha256)
        assert journal.find("a", FAILURE.sha256) is not None
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_journal_that_was_cut_off_loses_its_last_line_only(tmp_path, cut):
    with Journal(tmp_path, "run") as journal:
        journal.add("a", FAILURE, [])
        journal.add("b", FAILURE, [])
    path = tmp_path / JOURNAL_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    whole = cut == 1  # only the end of the line is missing
    for _ in range(2):
        with Journal(tmp_path, "run") as journal:
            assert "a" in journal
            assert (journal.find("b", FAILURE.sha256) is not None) == whole
    with Journal(tmp_path, "run") as journal:
        journal.add("b", FAILURE, [])
    with Journal(tmp_path, "run") as journal:
        assert journal.find("b", FAILURE.sha256) is not None


@pytest.mark.parametrize(
    "line", [b"", b"\0\xff\n", b"[]\n", b"{}\n", b"[" * 100_000, b'{"stem": 3, "run": "run"}\n',
             b'{"stem": "b", "run": "run"}\n', b'{"stem": "b", "run": "run", "outcome": [], "files": []}\n']
)  # fmt: skip
def test_journal_ignores_lines_that_are_none(tmp_path, line):
    with Journal(tmp_path, "run") as journal:
        journal.add("a", FAILURE, [])
    with (tmp_path / JOURNAL_NAME).open("ab") as file:
        file.write(line)
    with Journal(tmp_path, "run") as journal:
        assert journal.find("a", FAILURE.sha256) is not None
        assert journal.find("b", FAILURE.sha256) is None


def test_journal_survives_any_name(tmp_path):
    names = ['a\nb,"c"', "病変", os.fsdecode(b"\xff"), "=1+1", ""]
    with Journal(tmp_path, "run") as journal:
        for name in names:
            journal.add(name, replace(FAILURE, source=name), [])
    with Journal(tmp_path, "run") as journal:
        assert [journal.find(name, FAILURE.sha256).outcome.source for name in names] == names


def test_journal_removes_half_written_files_of_a_killed_run_and_no_others(tmp_path):
    left = [write(tmp_path, f"{name}.tmp-{'0f' * 8}") for name in ("", "masks/sub/")]
    kept = [write(tmp_path, name) for name in (".tmp-mine", "masks/a.png", f"images/.tmp-{'0f' * 8}")]
    Journal(tmp_path, "run").close()
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in kept)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_journal_removes_nothing_outside_of_the_output_folder(tmp_path):
    other = tmp_path / write(tmp_path, f"elsewhere/.tmp-{'0f' * 8}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").symlink_to(tmp_path / "elsewhere")
    Journal(tmp_path / "out", "run").close()
    assert other.exists()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems keep two runs apart")
def test_journal_is_open_for_one_run_at_a_time(tmp_path):
    with (
        Journal(tmp_path, "run"),
        pytest.raises(
            OutputError, match=r"another run is writing to .*: wait until it ends, or choose another"
        ),
    ):
        Journal(tmp_path, "run")
    Journal(tmp_path, "run").close()


@pytest.mark.parametrize("replaced", [False, True])
def test_journal_says_that_the_output_folder_was_removed(tmp_path, replaced):
    output = tmp_path / "out"
    with Journal(output, "run") as journal:
        output.rename(tmp_path / "elsewhere")
        if replaced:
            write(output, JOURNAL_NAME)
        with pytest.raises(OutputError, match=r"the folder .*out was removed or replaced while results were"):
            journal.add("a", FAILURE, [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_journal_that_is_no_file_is_refused(tmp_path, kind):
    path, target = tmp_path / JOURNAL_NAME, tmp_path / "target"
    target.write_bytes(b"mine")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OutputError, match=r"journal.jsonl cannot be written \("):
        Journal(tmp_path, "run")
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("missing", [False, True])
def test_journal_on_a_read_only_disk_says_so(tmp_path, monkeypatch, missing):
    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse) if missing else monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        OutputError, match=r"out.* cannot be written \(Read-only file system\): check the free"
    ):
        Journal(tmp_path / "out", "run")


def test_journal_on_a_full_disk_is_an_error_and_leaves_a_journal_that_opens(tmp_path, monkeypatch):
    with Journal(tmp_path, "run") as journal:
        journal.add("a", FAILURE, [])
        file, calls = journal._file, []

        class Full:
            def write(self, content):
                calls.append(content)
                if len(calls) == 2:
                    raise OSError(28, "No space left on device")
                return file.write(content[:20])

            def fileno(self):
                return file.fileno()

            def close(self):
                file.close()

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(OutputError, match=r"journal.jsonl cannot be written \(No space left on device\)"):
            journal.add("b", FAILURE, [])
    with Journal(tmp_path, "run") as journal:
        assert ("a" in journal, "b" in journal) == (True, False)
        journal.add("b", FAILURE, [])
        assert journal.find("b", FAILURE.sha256) is not None


def test_anonymous_journal_refuses_a_folder_with_names(tmp_path):
    for name in ("journal", "table"):
        output = tmp_path / name
        if name == "journal":
            Journal(output, "run").close()
        else:
            write(output, "predictions.csv")
        with pytest.raises(
            InputError, match=r"has results with file names: choose another with --output, or"
        ):
            Journal(output, "run", anonymous=True)


def test_anonymous_journal_goes_on_in_its_folder(tmp_path):
    for _ in range(2):
        with Journal(tmp_path, "run", anonymous=True) as journal:
            write(tmp_path, "predictions.csv")
            journal.add("a", FAILURE, [])
    Journal(tmp_path, "run").close()
    with pytest.raises(InputError, match="has results with file names"):
        Journal(tmp_path, "run", anonymous=True)
    assert [line["anonymous"] for line in lines(tmp_path) if "journal" in line] == [True, True, False]
