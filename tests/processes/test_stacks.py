from lmlab.processes import stacks
from lmlab.runs.run import Run

HANGS = """Timeout (0:15:00)!
Thread 0x00007f12 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 331 in wait

Thread 0x00007f13 (most recent call first):
  File "/home/me/mine.py", line 12 in on_train_batch_start
  File "/site-packages/pytorch_lightning/trainer/call.py", line 227 in _call_callback_hooks
"""
WAITS = """Timeout (0:15:00)!
Thread 0x00007f14 (most recent call first):
  File "/site-packages/torch/autograd/graph.py", line 869 in _engine_run_backward
  File "/home/me/lmlab/training/worker.py", line 66 in train
"""


def leave(run, *texts):
    stacks.clear(run)
    for rank, text in enumerate(texts):
        with stacks.open_for(run, rank) as file:
            file.write(text)


def test_a_rank_that_waits_for_another_is_not_blamed(tmp_path):
    run = Run(tmp_path)
    leave(run, WAITS, HANGS, WAITS)
    assert stacks.hung(run) == (
        "rank 1 made no progress for 0:15:00 (rank 0 was in _engine_run_backward (autograd/graph.py:869), "
        "rank 1 was in on_train_batch_start (me/mine.py:12), "
        f"rank 2 was in _engine_run_backward (autograd/graph.py:869); stacks of all threads: {tmp_path}/stacks)"
    )


def test_all_are_named_where_none_stands_out_and_none_that_wrote_nothing(tmp_path):
    run = Run(tmp_path)
    leave(run, WAITS, "", WAITS)
    assert stacks.hung(run).startswith("ranks 0, 2 made no progress for 0:15:00 (rank 0 ")
    leave(run, "Timeout (0:00:01)!\ncut sh")
    assert stacks.hung(run).startswith("rank 0 made no progress for 0:00:01 (")


def test_nothing_hung(tmp_path):
    run = Run(tmp_path)
    assert stacks.hung(run) is None
    leave(run, "", "")
    assert stacks.hung(run) is None
    leave(run, HANGS)
    stacks.clear(run)
    assert stacks.hung(run) is None


def test_stacks_of_a_rank_that_went_on_are_dropped(tmp_path):
    run = Run(tmp_path)
    file = stacks.open_for(run, 0)
    file.write(HANGS)
    file.flush()
    stacks.drop(file)
    assert stacks.hung(run) is None
    file.write(WAITS)
    file.flush()
    assert stacks.hung(run).startswith("rank 0 made")
    stacks.close(file)
    assert not list((tmp_path / "stacks").iterdir())
