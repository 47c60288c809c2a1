import os
from pathlib import Path

import pytest


@pytest.fixture
def corpora() -> Path:
    """The folder of real corpora that LMLAB_CORPORA names."""
    folder = os.environ.get("LMLAB_CORPORA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LMLAB_CORPORA names no folder of corpora")
    return Path(folder)
