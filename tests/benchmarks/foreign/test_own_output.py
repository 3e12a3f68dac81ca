import pytest

from benchmarks.foreign import own_output
from benchmarks.foreign.own_output import make_own_outputs
from biounet_edge.errors import InputError


def test_own_output_needs_chromium(monkeypatch):
    monkeypatch.setattr(own_output.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="apt-get install chromium"):
        next(make_own_outputs("choose", []))


def test_own_output_needs_enough_photographs(monkeypatch):
    monkeypatch.setattr(own_output.shutil, "which", lambda name: name)
    with pytest.raises(InputError, match="8 photographs are needed, and there are 0"):
        next(make_own_outputs("choose", []))
