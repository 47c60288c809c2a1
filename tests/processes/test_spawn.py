import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmlab.processes.spawn import warm_up


def test_a_server_that_is_started_leaves_this_process_s_environment_as_it_was():
    before = dict(os.environ)
    warm_up()
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.parametrize(("wandb", "mode"), [(True, "offline"), (True, "disabled"), (False, "offline")])
def test_forked_processes_have_wandb_where_their_runs_log_to_it(wandb, mode, tmp_path):
    command = (
        "import sys\nfrom lmlab.processes import spawn\n"
        f"spawn.warm_up({wandb})\n"
        "process = spawn._CONTEXT.Process(target=exec, args=(\"import sys; sys.exit('wandb' in sys.modules)\",))\n"
        "process.start()\nprocess.join()\nsys.exit(process.exitcode)"
    )
    environment = {**os.environ, "WANDB_MODE": mode}
    ended = subprocess.run([sys.executable, "-c", command], env=environment, cwd=tmp_path)
    assert ended.returncode == int(wandb and mode != "disabled")


@pytest.mark.slow
def test_a_server_does_not_outlive_the_command_while_it_imports(tmp_path):
    (tmp_path / "torch.py").write_text("import time\n\ntime.sleep(3600)\n")
    command = (
        "from multiprocessing import forkserver\nfrom pathlib import Path\nfrom lmlab.processes.spawn import warm_up\n"
        "warm_up()\nPath('pid').write_text(str(forkserver._forkserver._forkserver_pid))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", command], env=environment, cwd=tmp_path, check=True)
    server = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    until = time.monotonic() + 20
    while server.exists() and server.read_text().rpartition(")")[2].split()[0] != "Z":  # not waited for by anyone
        assert time.monotonic() < until
        time.sleep(0.05)
