"""What a client may ask of the service."""

from dataclasses import dataclass, fields

from biounet_edge.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on size, number and time; all of them are above 0."""

    photograph_bytes: int = 50 * 1024**2
    """Largest photograph, in bytes."""
    request_bytes: int = 100 * 1024**2
    """Largest request, in bytes: all its photographs, and what is around them."""
    photographs: int = 16
    """Most photographs in one request."""
    requests: int = 8
    """Most requests at once, those that are still being received included; one more is sent away."""
    upload_s: float = 300.0
    """Longest time until a request is received whole, in seconds."""
    stall_s: float = 10.0
    """Time that a request has before its `bytes_per_s` counts, in seconds."""
    bytes_per_s: int = 16 * 1024
    """Least bytes per second, on average after `stall_s`: a client that sends one at a time is cut off."""
    predict_s: float = 120.0
    """Longest time until a request's photographs are read, in seconds; large ones wait for one another."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise InputError(f"{field.name} must be above 0, got {getattr(self, field.name)}")
