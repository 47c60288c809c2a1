import pytest

from lmlab.models.heads import head


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    """Small predictions would be kept whole; here the ways of working in chunks are what is tested."""
    monkeypatch.setattr(head, "KEPT_ELEMENTS", 0)
