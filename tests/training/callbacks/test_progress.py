import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from lmlab.runs.version import measures_of
from lmlab.training.callbacks import Progress, Samples


def shown(terminal: bool, text: str, fn: str = "fit") -> str:
    """Return the lines after a validation at step 5 of 10."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=70)
    samples = Samples.__new__(Samples)
    samples.latest = text
    trainer = SimpleNamespace(
        global_step=5,
        max_steps=10,
        is_global_zero=True,
        state=SimpleNamespace(fn=fn),
        callbacks=[samples],
        val_dataloaders=[],
        datamodule=SimpleNamespace(validates_all=True),
    )
    latest = {"train/loss": 2.5, "validation/loss": 2.0, "validation/bits_per_byte": 1.25}
    module = SimpleNamespace(latest=latest, tokens_per_step=8)
    progress = Progress("lstm", measures_of({}), console)
    progress.on_train_start(trainer, module)
    progress.on_validation_start(trainer, module)
    progress.on_validation_end(trainer, module)
    progress.on_train_end(trainer, module)
    return console.file.getvalue()


def test_a_line_after_each_validation_shows_its_loss_and_the_beginning_of_the_sample():
    line = shown(False, "one\ntwo\x7f" + "x" * 100)
    assert line.startswith("lstm: step 5 of 10, ")
    assert line.endswith("validation bits/byte 1.2500, sample: 'one\\ntwo\\x7f" + "x" * 52 + "'\n")
    assert shown(False, "").endswith("validation bits/byte 1.2500\n")
    assert shown(False, "text", fn="validate") == ""


@pytest.mark.parametrize("text", ["short", "x" * 60])
def test_on_a_terminal_the_line_stands_above_the_bar_and_fits(text):
    lines = shown(True, text).replace("\r", "\n").split("\n")
    (line,) = [line for line in lines if "step 5 of 10" in line]
    assert "validation bits/byte 1.25" in line and len(line.split("lstm: ")[1]) <= 70 - len("lstm: ")
