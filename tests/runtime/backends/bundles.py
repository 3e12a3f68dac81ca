"""Copies of a bundle that a test may change."""

import json
import shutil

from biounet_edge import Bundle


def unchecked(bundle: Bundle, folder, **changes) -> Bundle:
    """The bundle of a folder without its checksums, to reach the checks behind them."""
    content = json.loads(bundle.manifest.to_json()) | changes
    return Bundle(folder, type(bundle.manifest).model_validate(content), bundle.checksum)


def copy_without_cache(bundle: Bundle, folder) -> Bundle:
    return Bundle.open(shutil.copytree(bundle.folder, folder, ignore=shutil.ignore_patterns("compiled")))
