"""The process of a run: what goes to its log."""

import logging

import pytest

from lmlab.training.process import is_no_advertisement


@pytest.mark.parametrize(
    "name, message, is_kept",
    [
        (
            "pytorch_lightning.utilities.rank_zero",
            "💡 Tip: For cloud uploads, try installing litmodels",
            False,
        ),
        ("lightning_fabric.utilities.rank_zero", "Tip: try something", False),
        ("pytorch_lightning.utilities.rank_zero", "GPU available: False, used: False", True),
        ("lmlab", "Tip: a line of lmlab's own", True),
    ],
)
def test_tips_of_lightning_do_not_go_to_a_run_s_log(name, message, is_kept):
    assert is_no_advertisement(logging.LogRecord(name, logging.INFO, "", 0, message, (), None)) is is_kept
