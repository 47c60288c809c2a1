import subprocess
import sys

import pytest

from lmlab.commands.train import check_data
from lmlab.errors import UserError
from lmlab.runs.run import Run


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    run = Run(tmp_path / "run")
    config = {"name": "a", "seed": 1, "tags": [], "model": {}}
    run.create(config, "0123456789", data={"fingerprint": "f" * 64})
    check_data(run, "f" * 64)
    with pytest.raises(UserError, match="its data have changed since it began"):
        check_data(run, "e" * 64)


def test_a_sweep_that_cannot_lay_out_a_run_says_why(lmlab, small_task):
    done = lmlab("train", "-m", "model=min_gru", *small_task, "seed=1,2", "paths.runs=/dev/null/runs", check=False)
    assert done.returncode == 1 and "/dev/null/runs/min_gru-parity-" in done.stderr and "Not a directory" in done.stderr


PROGRAM = """
import sys
from lmlab import cli
from lmlab.commands import train

def execute(*_):
    heavy = ("matplotlib", "pandas", "pytorch_lightning", "scipy", "torch._dynamo.utils", "torchmetrics", "wandb")
    print([name for name in heavy if name in sys.modules])
    sys.exit()

train.warm_up, train.execute = lambda *_: None, execute
cli.main()
"""


def test_the_process_that_asks_for_a_run_imports_torch_alone(small_task, tmp_path):
    arguments = ["train", *small_task, f"paths.outputs={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]"], done.stderr
