import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmlab.runs.launch import warm_up


def test_a_server_that_is_started_leaves_this_process_s_environment_as_it_was():
    before = dict(os.environ)
    warm_up()
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_server_does_not_outlive_the_command_while_it_imports(tmp_path):
    (tmp_path / "torch.py").write_text("import time\n\ntime.sleep(3600)\n")
    command = "from multiprocessing import forkserver\nfrom lmlab.runs.launch import warm_up\n"
    command += "warm_up()\nprint(forkserver._forkserver._forkserver_pid)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    output = subprocess.run(
        [sys.executable, "-c", command], env=environment, check=True, capture_output=True, text=True
    )
    stat = Path("/proc") / output.stdout.strip() / "stat"
    until = time.monotonic() + 60
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":  # nobody may have waited for it
        assert time.monotonic() < until
        time.sleep(0.05)
