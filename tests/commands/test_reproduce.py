from types import SimpleNamespace

import pytest

from lmlab.commands import reproduce
from lmlab.errors import UserError


@pytest.fixture
def computed(monkeypatch, compose):
    """Ask for a run of four threads again; the configuration that is computed."""

    def ask(**options):
        configs = []
        original = SimpleNamespace(status="finished", manifest={}, path="")
        saved = {"name": "a", "trainer": {"threads": 4, "devices": 2}}
        for name, value in (
            ("find", lambda *_: original),
            ("adopt", lambda *_: None),
            ("config_here", lambda _: saved),
            ("compute", lambda config, **_: configs.append(config)),
            ("show", lambda *_: []),
        ):
            monkeypatch.setattr(reproduce, name, value)
        reproduce.main(**compose("run=a", command="reproduce") | options)
        return configs[0]

    return ask


def test_a_run_is_computed_with_its_own_threads_or_with_those_that_are_given(computed):
    assert computed()["trainer"] == {"threads": 4, "devices": 2}
    assert computed(threads=1)["trainer"] == {"threads": 1, "devices": 2}
    with pytest.raises(UserError, match="threads=0: expected"):
        computed(threads=0)
