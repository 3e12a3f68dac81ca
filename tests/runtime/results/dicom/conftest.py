"""Predictions as DICOM objects; what needs the dicom extra is imported where a fixture is asked for."""

from pathlib import Path

import pytest

from biounet_edge.prediction import Prediction


@pytest.fixture(scope="session")
def prediction(bundle, photograph) -> Prediction:
    from .objects import predict

    return predict(bundle.manifest, photograph)


@pytest.fixture(scope="session")
def written(bundle, prediction, photograph, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Every object for every source, as a file."""
    from .objects import SOURCES, Authorship, write_objects

    folder, author = tmp_path_factory.mktemp("objects"), Authorship.of(bundle)
    return {
        (kind, name): path
        for kind in SOURCES
        for name, path in write_objects(kind, photograph, prediction, author, folder).items()
    }


@pytest.fixture(scope="session")
def undecided(undecided_bundle, photograph, tmp_path_factory) -> dict[str, Path]:
    """Every object of a prediction in which streaks have no operating point, as a file."""
    from .objects import Authorship, predict, write_objects

    prediction = predict(undecided_bundle.manifest, photograph)
    author = Authorship.of(undecided_bundle)
    return write_objects("single", photograph, prediction, author, tmp_path_factory.mktemp("undecided"))
