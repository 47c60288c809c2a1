from types import SimpleNamespace

from lmlab.runs.checkpoints import place, saved
from lmlab.training.callbacks.checkpoint import Checkpoint


def test_a_run_killed_after_its_last_checkpoint_still_removes_old_ones_when_it_ends(tmp_path):
    for step in (10, 20, 30):  # killed between writing the last one and removing the first
        place(tmp_path, step).mkdir()
    resumed = Checkpoint(tmp_path, keep=2)
    resumed.load_state_dict({"best": 1.0, "saved_step": 30})
    resumed.on_train_end(SimpleNamespace(global_step=30, is_global_zero=True, loggers=[]), None)
    assert list(saved(tmp_path)) == [20, 30]
