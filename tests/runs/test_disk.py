import errno

import pytest

from lmlab.errors import UserError
from lmlab.runs.files import system_error


def test_the_refusal_behind_an_error_is_found():
    refusal = OSError(errno.ENOSPC, "no space")
    try:
        try:
            raise refusal
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        assert system_error(error) is refusal


def test_errors_that_stand_behind_each_other_have_an_end():
    """An error that is unwrapped and raised anew has what wrapped it behind it, and so itself."""
    try:
        try:
            try:
                raise UserError("refused")
            except UserError as error:
                raise RuntimeError("wrapped") from error
        except RuntimeError as error:
            raise error.__cause__ from None
    except UserError as error:
        assert system_error(error) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_libraries_written_in_rust_are_understood(number):
    found = system_error(ValueError(f"I/O error: cannot write (os error {number})"))
    assert found is not None and found.errno == number
