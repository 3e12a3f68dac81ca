"""What the report's tests share: predictions with known findings, and a headless Chromium.

The browser is driven over the pipe of its DevTools protocol, which takes no package beside the browser.
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from biounet_edge import Bundle, Prediction
from biounet_edge.prediction import make_prediction

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 60


class Browser:
    """One page of a headless Chromium that runs on its own, without a network."""

    def __init__(self, chromium: str, width: int = 1440, height: int = 1000) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()
        arguments = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
            f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        # Chromium reads commands from descriptor 3 and answers on descriptor 4.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *arguments],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._received = bytearray()
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(20)
        finally:
            self._process.kill()  # does nothing where it has ended
            self._process.wait(20)
            self._commands.close()
            self._answers.close()
            self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> Any:
        """Sends a command and waits for its answer; keeps what the page requests and complains about."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def wait_for(self, event: str) -> None:
        """Waits for an event of the page."""
        while self._receive().get("method") != event:
            pass

    def _receive(self) -> Any:
        while b"\0" not in self._received:
            readable, _, _ = select.select([self._answers], [], [], PATIENCE_S)
            assert readable, f"the browser has said nothing for {PATIENCE_S} seconds"
            content = self._answers.read(1 << 16)
            assert content, "the browser has ended"
            self._received += content
        answer, _, self._received = self._received.partition(b"\0")
        message = json.loads(answer)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Log.entryAdded":
            self.complaints.append(message["params"]["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
        return message

    def open(self, page: Path) -> None:
        """Loads a file."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        """Changes the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def colours(self, scheme: str) -> None:
        """Prefers "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def run(self, script: str) -> Any:
        """Evaluates an expression; its value must be JSON."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Presses a key by its name, such as "ArrowRight"."""
        codes = {
            "Enter": 13,
            "Escape": 27,
            " ": 32,
            "End": 35,
            "Home": 36,
            "ArrowLeft": 37,
            "ArrowRight": 39,
            "Tab": 9,
        }
        code = {"windowsVirtualKeyCode": codes[key], "key": key, "code": "Space" if key == " " else key}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def screenshot(self, whole: bool = False) -> bytes:
        """PNG of the window, or of the whole page."""
        return b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """The printed page."""
        return b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = next((path for name in NAMES if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with Browser(chromium) as page:
        yield page


MakePrediction = Callable[..., Prediction]


@pytest.fixture
def predict(bundle: Bundle, photograph: np.ndarray) -> MakePrediction:
    return maker(bundle, photograph)


@pytest.fixture
def predict_undecided(undecided_bundle: Bundle, photograph: np.ndarray) -> MakePrediction:
    """The same numbers, but that streaks have no operating point."""
    return maker(undecided_bundle, photograph)


def maker(bundle: Bundle, photograph: np.ndarray) -> MakePrediction:
    """Makes predictions: pigment network and streaks present, in the upper left and lower right corner."""

    def make(
        name: str = "in/a.jpg", contributions: tuple[float, ...] = (0.5, -0.25, 1, 0, 2), level: Any = "full"
    ) -> Prediction:
        melanoma = bundle.manifest.melanoma
        logit = melanoma.bias + sum(contributions)
        mask = np.full((5, 40, 40), 0.01, np.float32)
        mask[0, :20, :20] = mask[2, 30:, 30:] = 0.99
        outputs = {
            "melanoma_probability": np.float32(1 / (1 + np.exp(-logit / melanoma.temperature))),
            "melanoma_contribution": np.array(contributions, np.float32),
            "indicator_probability": np.array([1, 0, 1, 0, 0], np.float32),
        }
        if level != "classify":
            outputs |= {"heatmap": mask[:, ::10, ::10], "heatmap_scale": np.ones(5, np.float32)}
        if level == "full":
            outputs["mask_probability"] = mask
        return make_prediction(bundle.manifest, level, outputs, name, photograph.shape[:2], photograph)

    return make
