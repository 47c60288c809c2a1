import pytest
from hydra._internal.hydra import Hydra

from lmlab.commands.app import _mode_from_words


@pytest.mark.parametrize(
    ("command", "words", "reads"),
    [
        ("train", [], False),
        ("train", ["-m", "seed=1,2"], False),
        ("train", ["sweep=random"], True),
        ("train", ["+experiment=diagnostics"], True),
        ("train", ["hydra.mode=MULTIRUN"], True),
        ("study", [], True),
        ("describe", ["model=gru"], False),
    ],
)
def test_hydra_reads_its_mode_where_something_may_set_it(command, words, reads):
    own = Hydra.get_mode
    with _mode_from_words(command, words):
        assert (Hydra.get_mode is own) == reads
    assert Hydra.get_mode is own
