"""From samples of any depth to 8 bits, the depth that models are trained on.

The upper 8 bits of 16 are kept, as libpng and libtiff do. Cameras of 10 or 12 bits write their values into
16, some shifted up and some not, and what is not would be black. So where no value needs more than
8, 10 or 12 bits, they are taken to have no more; a photograph of skin reaches a sixteenth of full scale.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_8_bits(samples: NDArray[Any], bits: int, used_bits: int | None = None) -> NDArray[np.uint8]:
    """Scale samples to 8 bits.

    Args:
        samples: Of any shape, uint8 or uint16.
        bits: Bits per sample in the file: 1, 2, 4, 8, 10, 12, 14 or 16.
        used_bits: Bits per sample that the file says are used; None where it says nothing.

    Returns:
        The same shape, uint8.
    """
    if bits == 8:
        return np.asarray(samples, dtype=np.uint8)
    if bits < 8:
        return (samples.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    if bits == 16:
        largest = int(samples.max(initial=0))
        guesses = (used_bits,) if used_bits else (8, 10, 12)
        bits = next((guess for guess in guesses if 0 < largest < 1 << guess), 16)
    return (samples >> (bits - 8)).astype(np.uint8)
