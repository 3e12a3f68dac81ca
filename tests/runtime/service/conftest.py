import pytest

from biounet_edge import Predictor


@pytest.fixture(scope="session")
def classifying(bundle):
    with Predictor(bundle, device="cpu", level="classify") as predictor:
        yield predictor


@pytest.fixture
def make_app(classifying):
    """Makes a service with some limits of its own."""
    from biounet_edge.service import Limits, create_app

    return lambda **limits: create_app(classifying, Limits(**limits))


@pytest.fixture(scope="session")
def content(photograph, write_image, tmp_path_factory) -> bytes:
    return write_image(tmp_path_factory.mktemp("sent") / "a.jpg", photograph).read_bytes()
