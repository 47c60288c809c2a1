"""What tests of training share: the same draws in every order of the tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)
