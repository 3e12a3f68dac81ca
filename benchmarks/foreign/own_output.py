"""What the tool itself writes: masks, heatmaps, mask probabilities, overlays and pages of its report."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.foreign.members import read_picture
from benchmarks.foreign.picture import Picture, Set
from biounet_edge import Predictor
from biounet_edge.errors import InputError
from biounet_edge.photographs.discovery import discover
from biounet_edge.results.html import REPORT_NAME
from biounet_edge.results.kinds import Save
from biounet_edge.runs.folder import RunOptions, run_folder

PHOTOGRAPHS: Final = 8
"""Photographs that are predicted for a set."""

SAVED: Final[dict[Save, int]] = {"masks": 8, "heatmaps": 8, "probabilities": 6, "overlays": 3}
"""Files of each kind that a set takes. Overlays, a photograph above a legend, are the least foreign."""

WINDOWS: Final = ((1280, 1600), (640, 1200))
"""Widths and heights of the windows that the report is shown in."""

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")


def make_own_outputs(of: Set, photographs: Sequence[Path]) -> Iterator[Picture]:
    """Predict photographs drawn at random with the demo bundle and take some of the files.

    Args:
        of: The set.
        photographs: Dermoscopy photographs, as for `damage_photographs`.

    Raises:
        InputError: If there are too few photographs, or no Chromium is installed.
        BiounetEdgeError: If the photographs cannot be predicted.
    """
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        raise InputError("the report is photographed by Chromium; install it: apt-get install chromium")
    if len(photographs) < PHOTOGRAPHS:
        raise InputError(f"{PHOTOGRAPHS} photographs are needed, and there are {len(photographs)}")
    rng = np.random.default_rng([31, of == "judge"])
    drawn = rng.choice(np.array(sorted(photographs), dtype=object), PHOTOGRAPHS, replace=False)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary)
        version = _predict(sorted(drawn), output)
        for kind, count in SAVED.items():
            files = [path for path in sorted((output / kind).iterdir()) if _shows_something(path)]
            for path in rng.permutation(np.array(files, dtype=object))[:count]:
                pixels = read_picture(path.read_bytes(), path.name, "")
                yield Picture(of, "own-output", f"{kind}-{path.stem}", f"{kind} of {version}", pixels)
        for width, height in WINDOWS:
            picture = output / f"report-{width}.png"
            _photograph(browser, output / REPORT_NAME, picture, width, height)
            pixels = read_picture(picture.read_bytes(), picture.name, "")
            yield Picture(of, "own-output", picture.stem, f"report of {version}", pixels)


def _predict(photographs: Sequence[Path], output: Path) -> str:
    options = RunOptions((*SAVED, "report"))
    with Predictor(device="cpu") as predictor:
        for _ in run_folder(predictor, discover(photographs), output, options):
            pass
        return f"{predictor.bundle.manifest.name} {predictor.bundle.manifest.version}"


def _shows_something(path: Path) -> bool:
    return int(np.ptp(read_picture(path.read_bytes(), path.name, ""))) > 32


def _photograph(browser: str, page: Path, picture: Path, width: int, height: int) -> None:
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
        f"--user-data-dir={page.with_name('profile')}", f"--window-size={width},{height}",
        f"--screenshot={picture}",
    )  # fmt: skip
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True)
    if not picture.exists():
        raise InputError(f"{browser} made no picture of the report: {done.stderr.strip()[-300:]}")
