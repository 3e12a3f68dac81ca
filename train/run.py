"""What the stages of one training run share, and what the run folder says about where it ran."""

import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from train.checkpoint import write_text
from train.config.run import TrainConfig
from train.data.batches import Batches
from train.data.dataset import ImageSet
from train.data.splits import Split
from train.engine import Engine
from train.network import NetworkConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Reporter(Protocol):
    """Where a run tells how far it is."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A task of `total` steps begins, `done` of which an earlier run did."""

    def advance(self, count: int = 1) -> None:
        """Steps of the current task are done."""

    def message(self, text: str) -> None:
        """A line worth keeping."""


class Silence:
    """A reporter that tells nothing; that of all processes but the first."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""


@dataclass
class Run:
    """What the stages of one run share."""

    config: TrainConfig
    folder: Path
    split: Split
    training: ImageSet
    validation: ImageSet
    batches: Batches
    engine: Engine
    report: Reporter
    epochs: dict[str, int] = field(default_factory=dict)
    """Epochs that each stage has trained."""

    @property
    def network_config(self) -> NetworkConfig:
        """Topology of every network of the run."""
        return self.config.model.network

    @property
    def validating_sources(self) -> frozenset[str]:
        """Sources whose validation images count."""
        return frozenset(source.name for source in self.config.data.annotated if source.validates)

    @cached_property
    def _board(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"))

    def log(self, stage: str, **values: Any) -> None:
        """Append a line to metrics.jsonl, and its figures of an epoch to TensorBoard."""
        if not self.engine.is_first:
            return
        path = self.folder / "metrics.jsonl"
        written = path.read_bytes() if path.is_file() else b""
        # A kill while a line was written left a part of it; what it was about is done again.
        with path.open("ab") as file:
            file.truncate(written.rfind(b"\n") + 1)
            file.write(json.dumps({"stage": stage, **values}).encode() + b"\n")
        if "epoch" in values:
            losses = {f"loss_{name}": value for name, value in values.get("losses", {}).items()}
            for name, value in {**values, **losses}.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{stage}/{name}", value, values["epoch"])
            self._board.flush()

    def close(self) -> None:
        """Close what the run has open."""
        if "_board" in self.__dict__:
            self._board.close()


def describe_environment(config: TrainConfig, engine: Engine) -> dict[str, Any]:
    """Everything outside the configuration that a run depends on."""
    device = engine.device
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": config.seed,
        "machine": asdict(engine.machine),
        "processes": engine.share.world,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_revision": git_revision(),
        "packages": {
            distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()
        },
    }


def record_start(folder: Path, environment: dict[str, Any]) -> None:
    """Append a start to run.json; a resumed run has several."""
    path = folder / "run.json"
    starts = json.loads(path.read_text(encoding="utf-8"))["starts"] if path.is_file() else []
    write_text(path, json.dumps({"starts": [*starts, environment]}, indent=1, sort_keys=True) + "\n")


def git_revision() -> str | None:
    """Commit of this code, with `-dirty` where files differ from it; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
