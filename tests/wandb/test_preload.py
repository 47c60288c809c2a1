import subprocess
import sys

PROGRAM = """
import os, sys, tempfile
from lmlab.wandb import preload
media, artifacts = preload._FOLDERS
print(os.path.exists(media.name) or os.path.exists(artifacts.name))
if os.fork() == 0:
    tempfile.tempdir = sys.argv[1]
    preload.make_temporary_folders()
    import wandb
    table = wandb.Table(columns=["text"], data=[["a"]])
    for name in (media.name, artifacts.name):
        print(os.path.dirname(name) == sys.argv[1] and os.path.isdir(name))
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


def test_a_process_from_which_runs_are_forked_leaves_no_folders_and_each_run_makes_its_own(tmp_path):
    own = tmp_path / "run"
    own.mkdir()
    command = [sys.executable, "-u", "-c", PROGRAM, str(own)]
    done = subprocess.run(command, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
