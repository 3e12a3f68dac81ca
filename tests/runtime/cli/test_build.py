import json
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from biounet_edge import Bundle, InputError
from biounet_edge.backends.tensor_rt.building import BuiltEngine
from biounet_edge.backends.tensor_rt.progress import BuildProgress
from biounet_edge.backends.tensor_rt.sidecar import BatchProfile, Sidecar, build_command
from biounet_edge.cli.build import build as build_command_line


@pytest.fixture
def asked(monkeypatch) -> list:
    """What the command asked `build_engines` for, which builds nothing here."""
    calls = []

    def build_engines(bundle, device, levels, precision, batch_profile, compute_capabilities, *, progress):
        calls.append((bundle.folder, device, levels, precision, batch_profile, compute_capabilities))
        built = []
        for level, expected in zip(levels or ("cam", "full"), (None, 600.0), strict=False):
            for step in range(3):
                progress(BuildProgress(f"{level}.onnx", "Tactics", step / 3, 1.0, expected))
            sidecar = Sidecar(
                device=device,
                library_version="1.7.1",
                platform=None,
                gpu=None if compute_capabilities else "NVIDIA L4",
                compute_capabilities=tuple(compute_capabilities) or ("8.9",),
                cuda=None,
                bundle=bundle.manifest.name,
                bundle_checksum=bundle.checksum,
                part=level,
                precision=precision or "float32",
                graph=f"{level}.onnx",
                graph_sha256="a" * 64,
                weights_sha256="b" * 64,
                batch_profile=batch_profile,
                engine_sha256="c" * 64,
                engine_bytes=62_900_000,
                build_seconds=34.4,
            )
            built.append(BuiltEngine(bundle.folder / f"{level}.engine", sidecar))
        return built

    monkeypatch.setattr("biounet_edge.backends.tensor_rt.building.build_engines", build_engines)
    return calls


@pytest.fixture
def run():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(build_command_line)
    app.command("other")(lambda: None)  # one command alone would lose its name
    return lambda *words: CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(app, list(map(str, words)))


def test_build_passes_every_option_on(run, bundle, asked):
    result = run(
        *("build", bundle.folder, "--device", "tensorrt-rtx", "--level", "cam", "--level", "full"),
        *(
            "--precision",
            "float32",
            "--batch-profile",
            "1,2,4",
            "--compute-capability",
            "8.9, 12.0",
            "--json",
        ),
    )
    assert result.exit_code == 0, result.output
    assert asked == [
        (bundle.folder, "tensorrt-rtx", ["cam", "full"], "float32", BatchProfile(1, 2, 4), ["8.9", "12.0"])
    ]
    engines = json.loads(result.stdout)["engines"]
    assert [engine["part"] for engine in engines] == ["cam", "full"]
    assert engines[0]["path"] == str(bundle.folder / "cam.engine")
    assert engines[0]["compute_capabilities"] == ["8.9", "12.0"]


def test_build_without_options_takes_the_demo_bundle_and_this_gpu(run, bundle, asked):
    result = run("build")
    assert result.exit_code == 0, result.output
    assert asked == [(Bundle.open().folder, "tensorrt", None, None, BatchProfile(1, 8, 32), [])]
    for text in ("NVIDIA L4", "1,8,32", "62.9 MB", "34 s"):
        assert text in result.stdout
    assert result.stdout.splitlines()[-1] == f"engines in {Bundle.open().folder}"


def test_build_says_once_per_engine_how_long_it_may_take(run, asked):
    result = run("build")
    assert result.stderr.splitlines() == [
        "cam.onnx: no estimate before the first build on this GPU",
        "full.onnx: may take 10 minutes",
    ]


def test_the_command_of_an_error_message_asks_for_what_it_names(run, bundle, asked):
    command = shlex.split(build_command(bundle, "cam", "tensorrt", "float32", BatchProfile(2, 2, 6)))
    assert command[0] == "biounet-edge"
    result = run(*command[1:])
    assert result.exit_code == 0, result.output
    assert asked == [(Path(bundle.folder), "tensorrt", ["cam"], "float32", BatchProfile(2, 2, 6), [])]


def test_build_names_a_bad_profile_before_anything_else(run, asked):
    result = run("build", "/no/such/bundle", "--batch-profile", "8,1,32")
    assert isinstance(result.exception, InputError)
    assert "the smallest, the usual and the largest batch" in str(result.exception)


@pytest.mark.parametrize("words", [("--device", "cpu"), ("--precision", "int8")])
def test_build_offers_what_tensorrt_can_do(words, run, asked):
    result = run("build", *words)
    assert result.exit_code == 2
    assert asked == []
