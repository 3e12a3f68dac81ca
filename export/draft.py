"""A bundle that is being written: its graphs in every precision, and the files that describe them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from biounet_edge.bundle.folder import MANIFEST_NAME, Bundle, graph_file
from biounet_edge.bundle.manifest import GraphPrecision, Level, Manifest, WeightFormat
from export.components import make_components
from export.compose import LEVEL_OUTPUTS, compose, level_outputs, output_shapes
from export.describe import add_metadata, input_spec, make_manifest
from export.flops import count_gflops
from export.precision import convert
from export.weights import write_graphs
from train.checkpoint import ModelInfo
from train.network import BioUNet


@dataclass
class Draft:
    """A folder that becomes a bundle."""

    folder: Path
    """Where it is written."""
    model: BioUNet
    """The network, its convolutions rounded to what is stored."""
    info: ModelInfo
    """What the checkpoint says about it."""
    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    weights: WeightFormat
    """Number format that convolution weights are stored in."""
    components: dict[GraphPrecision, dict[str, ir.Model]] = field(default_factory=dict)
    """Components by precision and name."""
    levels: dict[GraphPrecision, dict[Level, ir.Model]] = field(default_factory=dict)
    """Composed graphs by precision and level."""

    def add_graphs(
        self,
        precisions: Sequence[GraphPrecision],
        calibration: NDArray[np.uint8] | None,
        report: Callable[[str], None],
    ) -> None:
        """Make every graph in float32 and in other precisions.

        Args:
            precisions: Number formats; float32 is made whether it is named or not.
            calibration: Images that show int8 the range of activations, shape (G, H, W, 3); None for none.
            report: Called with a line about what is being done.

        Raises:
            ExportError: If the model cannot be written in one of them.
        """
        float32 = make_components(self.model, report)
        for precision in dict.fromkeys(("float32", *precisions)):
            components = convert(precision, float32, calibration, report)
            report(f"composing the graphs in {precision}")
            spec = input_spec(self.info)
            levels = {level: compose(level, components, spec) for level in LEVEL_OUTPUTS}
            for name, graph in (*levels.items(), *components.items()):
                add_metadata(graph, self.name, self.version, name, precision, self.info.notice)
            self.components[precision], self.levels[precision] = components, levels

    def write_graphs(self) -> None:
        """Write all graphs with one file of weights."""
        files = {
            graph_file(name, precision): graph
            for precision in self.components
            for name, graph in self._graphs(precision).items()
        }
        write_graphs(files, self.folder, self.weights)

    def drop(self, precisions: Sequence[GraphPrecision]) -> None:
        """Take precisions out again, and what only they needed out of the weights.

        Args:
            precisions: Those that are not to be in the bundle.
        """
        for precision in precisions:
            for name in self._graphs(precision):
                (self.folder / graph_file(name, precision)).unlink()
            del self.components[precision], self.levels[precision]
        if precisions:
            self.write_graphs()

    def write_manifest(self) -> Manifest:
        """Describe every file in the folder; called again when files have changed.

        Returns:
            The manifest, as the runtime reads it.
        """
        path = self.folder / MANIFEST_NAME
        path.unlink(missing_ok=True)
        manifest = make_manifest(
            self.model,
            self.info,
            self.name,
            self.version,
            self.weights,
            {level: level_outputs(level, self.components["float32"]) for level in LEVEL_OUTPUTS},
            output_shapes(self.components["float32"]),
            {
                precision: [graph_file(name, precision) for name in components]
                for precision, components in self.components.items()
            },
            {level: count_gflops(graph) for level, graph in self.levels["float32"].items()},
            self.folder,
        )
        path.write_text(manifest.to_json(), encoding="utf-8")
        return Bundle.open(self.folder).manifest

    def _graphs(self, precision: GraphPrecision) -> Mapping[str, ir.Model]:
        levels: dict[str, ir.Model] = dict(self.levels[precision].items())
        return levels | self.components[precision]
