import pytest

from biounet_edge.doctor import diagnosis as doctor_module

from .machines import CPU


@pytest.fixture
def machine(monkeypatch):
    """Sets the machine that is diagnosed."""
    monkeypatch.setattr(doctor_module, "look", lambda: CPU)
    return lambda other: monkeypatch.setattr(doctor_module, "look", lambda: other)
