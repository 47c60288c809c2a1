import json

from compared_arms import arm, between, doubt_about


def test_13_one_seed_two_seeds_other_seeds(tmp_path):
    for model in ("lstm", "transformer"):
        arm(tmp_path / "one", model, seeds=(1,))
        arm(tmp_path / "two", model, seeds=(1, 2))
        arm(tmp_path / "unpaired", model, seeds=(1, 2, 3) if model == "lstm" else (2, 3, 4))
    doubt_about(tmp_path / "one", 13, "refuse", "lstm 1, transformer 1", "seed=1,2,3")
    doubt_about(tmp_path / "two", 13, "doubt", "2 seeds")
    doubt_about(tmp_path / "unpaired", 13, "doubt", "lstm has no seed 4; transformer has no seed 1", "seed=1,4")


def test_13_batches_left_out(runs):
    arm(runs, "lstm")
    run = between(runs).runs[0]
    run.run.events.write_text(json.dumps({"step": 9, "what": "spike", "done": "roll_back", "to": 4}) + "\n")
    assert doubt_about(runs, 13, "doubt", "1 of 6 runs").runs == (run.label,)
