"""Runs that train while their text is tokenised end with the same numbers as on text that was tokenised before."""

import json
from pathlib import Path

import pytest

from lmlab.runs.files import read_jsonl

CORPUS = '''
import os
import signal
import threading
import time
from pathlib import Path

from lmlab.data import streamed_order
from lmlab.data.corpora import Corpus

streamed_order.SHARD = 512


class Slow(Corpus):
    """Documents that a preparation in the background gets slowly; at one of them it kills its process once."""

    name = "slow"
    licence = "none"
    splits = ("train", "validation")

    def __init__(self, stream=False, kill=None, pause=0.01):
        super().__init__(stream)
        self.kill = kill
        self.pause = pause

    def find(self, corpora, cache, progress=False):
        pass

    def documents(self, split):
        for number in range(200 if split == "train" else 10):
            if split == "train" and threading.current_thread().name == "prepare":
                time.sleep(self.pause)
                if self.kill and number == 150 and not Path(self.kill).exists():
                    Path(self.kill).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            yield f"document {number} of the {split} split, whose square is {number ** 2}\\n"
'''


@pytest.fixture
def train(lmlab, small, tmp_path):
    """Train a run that streams its text, in an outputs folder of its own; return its directory and its output."""
    (tmp_path / "corpus.py").write_text(CORPUS)

    def trains(name: str, *options: str, before: bool = False, tokens: int = 7680) -> tuple[Path, str]:
        outputs = {"LMLAB_OUTPUTS": str(tmp_path / name)}
        data = ["data=stdlib", "data._target_=corpus.Slow", "data.stream=true", "tokenizer=byte", *options]
        if before:
            assert "Fingerprint" in lmlab("data", "prepare", *data, **outputs).stdout
        words = [word for word in small if not word.startswith(("data", "tokenizer", "budget"))]
        done = lmlab("train", *data, *words, "logger=[]", "model=lstm", f"budget.tokens={tokens}", **outputs)
        (run,) = (tmp_path / name / "runs").iterdir()
        return run, done.stdout + done.stderr

    return trains


def results(run: Path) -> list[object]:
    rows = read_jsonl(run / "metrics.jsonl")
    manifest = json.loads((run / "run.json").read_text())
    losses = [{name: value for name, value in row.items() if "time/" not in name} for row in rows]
    recorded = [manifest["metrics"], manifest["data"], json.loads((run / "breakdown.json").read_text())]
    return [recorded, losses, (run / "model.safetensors").read_bytes()]


@pytest.mark.slow  # it trains several runs
def test_the_result_does_not_depend_on_when_the_text_is_prepared(train, tmp_path):
    before, _ = train("before", before=True)
    during, _ = train("during")
    killed, _ = train("killed", f"+data.kill={tmp_path / 'killed.txt'}")
    assert (tmp_path / "killed.txt").exists()
    assert results(during) == results(before)
    assert results(killed) == results(before)
    manifest = json.loads((during / "run.json").read_text())
    assert "train" not in manifest["data"]["splits"]


@pytest.mark.slow  # it trains on two ranks
def test_ranks_wait_for_the_same_preparation(train):
    one, _ = train("one", before=True)
    two, _ = train("two", "trainer.devices=2")
    final = [json.loads((run / "run.json").read_text())["metrics"]["validation/loss"] for run in (one, two)]
    assert final[0] == pytest.approx(final[1], rel=1e-5)


@pytest.mark.slow  # it trains a run
def test_a_finished_run_is_evaluated_without_the_rest_of_its_text(train, lmlab, tmp_path):
    run, _ = train("early", "+data.pause=0.2", tokens=64)
    assert list((tmp_path / "early" / "cache").glob(".slow-*.tmp")), "the run ended before the preparation"
    (tmp_path / "corpus.py").write_text(
        CORPUS.replace("        pass", "        raise RuntimeError('the text is gone')")
    )
    scored = lmlab("evaluate", f"run={run}", LMLAB_OUTPUTS=str(tmp_path / "early"))
    assert "bits/byte" in scored.stdout
