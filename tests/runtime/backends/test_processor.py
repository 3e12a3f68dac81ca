import os
import platform
from pathlib import Path

from biounet_edge.backends.processor import processor_name, usable_threads


def test_processor_name_is_never_empty(monkeypatch):
    assert processor_name()

    def missing(path, **options):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor_name() == (platform.processor() or platform.machine())


def test_usable_threads_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert usable_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_threads() == 1
