"""Synthetic dermoscopy: lesions and structures whose masks are known exactly.

Expert masks of all five indicators are scarce, and their licences forbid passing them on. Rendered images
know neither limit, and structures painted into real photographs bring true masks to real skin. NumPy and
OpenCV only.
"""

from train.synthesis.dataset import write_isic2018
from train.synthesis.render import PaintedImage, RenderedImage, paint_indicators, render_lesion

__all__ = ["PaintedImage", "RenderedImage", "paint_indicators", "render_lesion", "write_isic2018"]
