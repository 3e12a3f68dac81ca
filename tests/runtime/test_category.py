import pytest

from biounet_edge import Category, ImageError, UnfamiliarError


@pytest.mark.parametrize(
    ("cause", "category"),
    [
        (None, Category.REFUSED),
        (ValueError("damaged"), Category.REFUSED),
        (PermissionError("locked"), Category.RETRY),
        (MemoryError(), Category.RETRY),
        (ImportError("no such library"), Category.FAILED),
    ],
)
def test_category_of_an_image_error_follows_from_its_cause(cause, category):
    error = ImageError("the reason")
    error.__cause__ = cause
    assert error.category is category
    assert error.is_of_content == (category is Category.REFUSED)


def test_category_that_was_given_counts():
    error = ImageError("the file changed while it was read", Category.RETRY)
    assert error.category is Category.RETRY
    assert not error.is_of_content


def test_unfamiliar_error_has_the_score():
    error = UnfamiliarError("not assessed", 12.5)
    assert (error.category, error.familiarity, str(error)) == (Category.UNFAMILIAR, 12.5, "not assessed")
    assert isinstance(error, ImageError)


def test_only_what_went_wrong_is_a_failure():
    failures = {category for category in Category if category.is_failure}
    assert failures == {Category.REFUSED, Category.FAILED, Category.RETRY}
