import os
import pickle

import pytest
import torch
from torch.distributed import checkpoint

from lmlab.runs.checkpoints import Damaged, begin, complete, newest_good, place, temporary
from lmlab.training.load import check_loadable


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def save_shards(folder, **values):
    checkpoint.save(values, checkpoint_id=folder, no_dist=True)


def test_states_of_tensors_and_plain_values_are_loadable(tmp_path):
    state = {"step": 3, "lr": 1e-3, "betas": (0.9, 0.95), "weight": torch.ones(2, 3), "none": None, "names": ["a"]}
    torch.save(state, tmp_path / "state")
    check_loadable(tmp_path / "state")
    save_shards(tmp_path / "shards", **state)
    torch.save({"step": 3}, tmp_path / "shards" / "meta.pt")
    check_loadable(tmp_path / "shards")


def test_code_in_any_part_of_a_state_is_neither_run_nor_recommended_to_be(tmp_path):
    mark, state = tmp_path / "mark", {"weight": torch.ones(2)}
    torch.save(state | {"evil": Evil(mark)}, tmp_path / "state")
    for name in ("in_metadata", "in_values", "beside"):
        save_shards(tmp_path / name, **state, **({"evil": Evil(mark)} if name == "in_values" else {}))
    (tmp_path / "in_metadata" / ".metadata").write_bytes(pickle.dumps(Evil(mark)))
    torch.save(Evil(mark), tmp_path / "beside" / "meta.pt")
    for name in ("state", "in_metadata", "in_values", "beside"):
        with pytest.raises(Damaged, match="more than tensors and plain values") as refused:
            check_loadable(tmp_path / name)
        assert "weights_only" not in str(refused.value)
    assert not mark.exists()


def test_a_run_goes_on_from_the_checkpoint_before_one_that_holds_code(tmp_path):
    for step, state in ((5, {"weight": torch.ones(2)}), (10, {"evil": Evil(tmp_path / "mark")})):
        begin(tmp_path, step)
        torch.save(state, temporary(tmp_path, step) / "state")
        complete(tmp_path, step, step - 5, step)
    lines = []
    good = newest_good(tmp_path, lines.append, check_loadable)
    assert good.state == place(tmp_path, 5) / "state" and not (tmp_path / "mark").exists()
    (line,) = lines
    assert "step-00000010 is damaged: state holds more than tensors" in line and "step-00000005 instead" in line
