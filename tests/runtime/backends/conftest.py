import pytest

from .bundles import copy_without_cache


@pytest.fixture(scope="module")
def own_bundle(bundle, tmp_path_factory):
    """A copy, beside which a model cache may be written."""
    return copy_without_cache(bundle, tmp_path_factory.mktemp("openvino") / "bundle")


@pytest.fixture(scope="module")
def golden(bundle):
    return bundle.golden()
