from pathlib import Path

import pytest
from compared_arms import arm


@pytest.fixture
def runs(tmp_path) -> Path:
    """A folder with a fair arm in it: the Transformer's."""
    arm(tmp_path / "runs", "transformer")
    return tmp_path / "runs"
