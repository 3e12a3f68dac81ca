"""What a report says about the run that it shows."""

from dataclasses import dataclass

from biounet_edge.bundle.manifest import Level, Manifest
from biounet_edge.photographs.left_out import LeftOut


@dataclass(frozen=True, slots=True)
class Run:
    """What the head of a report says about a run."""

    manifest: Manifest
    """The bundle's manifest."""
    checksum: str
    """The bundle's checksum, in hexadecimal."""
    level: Level
    """How much was computed."""
    device: str
    """What it was computed on, in words."""
    total: int
    """Number of photographs that were to be read."""
    beside: bool
    """Whether the photographs are beside the page, in place of being in it."""
    left_out: tuple[LeftOut, ...] = ()
    """What was found beside the photographs."""
