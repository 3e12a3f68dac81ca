"""One picture of the evaluation set, its kind and its set."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB pixels, shape (H, W, 3)."""

Set = Literal["choose", "judge"]
"""Published scores are compared on `choose`; `judge` is used once, at the end."""

SETS: Final[tuple[Set, ...]] = get_args(Set)

KINDS: Final = {
    "photographs": "colour photographs of anything",
    "microscopy": "histology and microscopy",
    "radiology": "X-rays and other radiology",
    "documents": "documents, forms and maps, rendered or scanned",
    "patterns": "black, white, uniform colours, gradients and noise",
    "own-output": "masks, heatmaps, overlays and report pages of this tool",
    "skin": "skin without a lesion, from photographs of faces and hands",
    "damaged": "dermoscopy photographs damaged until nobody can read them",
}
"""What is in each kind, by the name of its folder."""


@dataclass(frozen=True)
class Picture:
    """A picture that is to be written."""

    set: Set
    """Where it belongs."""
    kind: str
    """One of `KINDS`."""
    name: str
    """File name without its extension, unique in its kind and set."""
    source: str
    """Where the pixels are from."""
    pixels: Image
    """RGB, shape (H, W, 3)."""
