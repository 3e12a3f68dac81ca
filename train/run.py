"""What the stages of one training run share."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from train.config import TrainConfig
from train.data.batches import Batches
from train.data.dataset import ImageSet
from train.data.splits import Split
from train.network import NetworkConfig


class Reporter(Protocol):
    """Where a run tells how far it is."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A task of `total` steps begins, `done` of which an earlier run did."""

    def advance(self, count: int = 1) -> None:
        """Steps of the current task are done."""

    def message(self, text: str) -> None:
        """A line worth keeping."""


@dataclass
class Run:
    """What the stages of one run share."""

    config: TrainConfig
    folder: Path
    split: Split
    training: ImageSet
    validation: ImageSet
    batches: Batches
    report: Reporter
    epochs: dict[str, int] = field(default_factory=dict)
    """Epochs that each stage has trained."""

    @property
    def network_config(self) -> NetworkConfig:
        """Topology of every network of the run."""
        model = self.config.model
        return NetworkConfig(model.base_width, model.image_size_px, model.heatmap_size_px)

    @property
    def validating_sources(self) -> frozenset[str]:
        """Sources whose validation images count."""
        return frozenset(source.name for source in self.config.data.annotated if source.validates)

    def log(self, **values: object) -> None:
        """Append a line to metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
