"""Draws the panel of the paper's Figure 3: a line an example, a column a method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from biounet_edge.indicators import indicator_label
from train.tables.panels import Example, ExplainedMap
from train.tables.png import save_figure

CELL_INCHES: Final = 1.5

COLOUR_MAP: Final = "viridis"
"""Perceptually uniform, so that equal steps of a map look equal."""

OUTLINE: Final = "#ff3b30"
"""Border of the true mask: red is not in the colour map."""

KEY: Final = (
    "maps are divided by their maximum; the decoder's is a probability\n"
    "cDC: continuous Dice of the map as it is; red: outline of the truth"
)


def draw_panel(examples: Sequence[Example], output: Path) -> None:
    """Draw image, truth and maps of each example.

    Args:
        examples: At least one, all with the same methods.
        output: PNG to write.
    """
    columns = 2 + len(examples[0].maps)
    size = (columns * CELL_INCHES + 1.0, len(examples) * (CELL_INCHES + 0.22) + 1.0)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.03)
    figure = Figure(size, dpi=150, layout=layout)
    axes = figure.subplots(len(examples), columns, squeeze=False)
    for line, example in zip(axes, examples, strict=True):
        _draw_example(line, example)
    for axis, title in zip(axes[0], ("image", "truth", *(m.title for m in examples[0].maps)), strict=True):
        axis.set_title(title, fontsize=9)
    scale = ScalarMappable(Normalize(0, 1), COLOUR_MAP)
    bar = figure.colorbar(scale, ax=axes, fraction=0.02, pad=0.01, aspect=30, shrink=0.6)
    bar.ax.tick_params(labelsize=8)
    figure.supxlabel(KEY, fontsize=7.5)
    save_figure(figure, output)


def _draw_example(axes: Sequence[Axes], example: Example) -> None:
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[0].set_ylabel(indicator_label(example.indicator), fontsize=9)
    axes[0].imshow(example.image)
    axes[0].set_xlabel(example.image_id, fontsize=6.5)
    truth = example.maps[0].truth
    axes[1].imshow(truth, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes[1].set_xlabel(f"{100 * truth.mean():.1f} % of the image", fontsize=7.5)
    for axis, shown in zip(axes[2:], example.maps, strict=True):
        _draw_map(axis, shown)


def _draw_map(axis: Axes, shown: ExplainedMap) -> None:
    axis.imshow(shown.heatmap, cmap=COLOUR_MAP, vmin=0, vmax=1, interpolation="nearest")
    outlined = _levelled(shown.truth)
    if outlined.any():
        axis.contour(outlined, levels=[0.5], colors=OUTLINE, linewidths=0.6)
    axis.set_xlabel(f"cDC {100 * shown.continuous_dice:.2f} %", fontsize=7.5)


def _levelled(truth: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mask with an empty border, so that its outline closes at the edge of the image."""
    levelled = truth.astype(np.float32)
    levelled[[0, -1]] = 0
    levelled[:, [0, -1]] = 0
    return levelled
