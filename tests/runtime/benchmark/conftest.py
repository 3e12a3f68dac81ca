import pytest


class Clock:
    """Moves by a nanosecond when it is read, and otherwise only where a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        self.now += 1e-9
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
