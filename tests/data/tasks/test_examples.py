"""Examples as a task: rows of whole examples, what is scored, and files that are whole or absent."""

import json
import math
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL
from hypothesis import given
from hypothesis import strategies as st
from processes import wait_until

from lmlab.data.examples import Examples, prepared
from lmlab.data.examples.prepared import PreparedExamples, prepare_examples
from lmlab.data.shards import find_prepared
from lmlab.data.tasks.examples import ExamplesTask
from lmlab.data.tokenizers import BPE, Byte, Character, Tokenizer, Word
from lmlab.errors import UserError

TEMPLATE = {"instruction": "Double:", "input": "{number}", "answer": "{twice}"}
CONTINUES = {"input": "twice {number} is", "answer": "{twice}", "continues": True}


class Doubles(Examples):
    """Numbers and twice as much, in words."""

    name, licence = "doubles", "generated"

    def __init__(self, template=TEMPLATE, length=12, loss="answer", numbers=37, metrics=("exact_match",)) -> None:
        super().__init__(template, list(metrics), length, loss)
        self.numbers = numbers

    def records(self, split):
        for number in range(self.numbers if split == "train" else 9):
            yield {"number": "x" * (number % 5) + f" {number}", "twice": [f"is {2 * number}", f"{number} twice"]}


def made(folder: Path, examples: Examples, tokenizer: Tokenizer) -> PreparedExamples:
    return prepare_examples(examples, tokenizer, folder, progress=False)


@pytest.fixture(scope="module", params=["byte", "word", "bpe", "continues", "all"])
def task(request, tmp_path_factory) -> ExamplesTask:
    kind = {"word": Word, "bpe": lambda: BPE(270)}.get(request.param, Byte)
    options = {"continues": {"template": CONTINUES}, "all": {"loss": "all"}}.get(request.param, {})
    examples = Doubles(**options)
    return ExamplesTask(examples, made(tmp_path_factory.mktemp("cache"), examples, kind()), 1, 4, 60)


def scored(tokens_T: torch.Tensor, targets_T: torch.Tensor) -> list[list[int]]:
    """The targets of each stretch of scored positions."""
    stretches, current = [], []
    for target in [*targets_T.tolist(), -1]:
        if target >= 0:
            current.append(target)
        elif current:
            stretches.append(current)
            current = []
    return stretches


def expected(task: ExamplesTask, split: str) -> list[tuple[list[int], list[int]]]:
    """The prompt and the answer of each example as tokens, the answer with its end."""
    end = [] if task.examples.template.continues else [task.tokenizer.separator]
    return [
        (task.tokenizer.encode_prompt(e.prompt).tolist(), [*task.tokenizer.encode_prompt(e.answer).tolist(), *end])
        for e in task.examples.examples(split)
    ]


def test_a_pass_has_every_example_once_and_its_targets_are_answer_and_end(task):
    steps = math.ceil(len(task._rows) / task.batch_size)
    rows = [row for step in range(steps) for row in zip(*batch_rows(task, step), strict=True)][: len(task._rows)]
    if task.examples.loss == "all":
        separator = task.tokenizer.separator
        found = sorted(
            tokens[1 : 1 + len(targets)] for tokens, targets in ((t.tolist(), scored(t, g)[0]) for t, g in rows)
        )
        assert all(tokens[-1] != separator or separator for tokens in found)
        assert sum(int((targets >= 0).sum()) for _, targets in rows) == sum(
            len(prompt) + len(answer) for prompt, answer in expected(task, "train")
        )
        return
    answers = sorted(stretch for row in rows for stretch in scored(*row))
    assert answers == sorted(answer for _, answer in expected(task, "train"))


def batch_rows(task: ExamplesTask, step: int):
    batch = task.training_batch(step, 0, 1, 0, 1)
    return batch.tokens, batch.targets


@given(st.integers(0, 200), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_a_step_has_the_same_rows_however_they_are_shared(task, step, world, accumulate):
    accumulate = min(accumulate, task.batch_size // world)
    whole = task.training_batch(step, 0, 1, 0, 1)
    parts = [
        task.training_batch(step, rank, world, micro, accumulate)
        for rank in range(world)
        for micro in range(accumulate)
    ]
    assert torch.equal(torch.cat([part.tokens for part in parts]), whole.tokens)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert sum(part.share for part in parts) == pytest.approx(1) == sum(part.row_share for part in parts)
    assert torch.equal(whole.where, (whole.targets >= 0).flatten().nonzero()[:, 0])
    read = whole.targets[whole.targets >= 0]
    assert torch.equal(read, torch.where(whole.targets[:, :-1] >= 0, whole.tokens[:, 1:], -1)[
        whole.targets[:, :-1] >= 0
    ]) or (whole.targets[:, -1] >= 0).any()  # fmt: skip


def test_orders_of_passes_and_seeds_differ(task):
    other = ExamplesTask(task.examples, task.prepared, 2, 4, 60)
    rows = len(task._rows)
    assert not torch.equal(batch_rows(task, 0)[0], batch_rows(other, 0)[0])
    assert sorted(task._order(0)) == sorted(task._order(1)) == list(range(rows))
    assert rows == 1 or not np.array_equal(task._order(0), task._order(1))


def test_scored_rows_are_prompt_and_answer_with_all_references(task):
    pairs, references = expected(task, "validation"), [e.references for e in task.examples.examples("validation")]
    found = []
    for batch in task.batches("validation", [5, 0, 3, 8, 1, 2]):
        for tokens_T, targets_T, right in zip(batch.tokens, batch.targets, batch.references, strict=True):
            (answer,) = scored(tokens_T, targets_T)
            first = int((targets_T >= 0).nonzero()[0])
            assert tokens_T[0] == task.tokenizer.separator
            found.append((tokens_T[1 : first + 1].tolist(), answer, right))
    assert sorted(found) == sorted((*pairs[number], references[number]) for number in (5, 0, 3, 8, 1, 2))


class Oracle(torch.nn.Module):
    """A network that knows the answers: it gives the next token of a row that begins like what it has read."""

    def __init__(self, rows: list[list[int]], size: int) -> None:
        super().__init__()
        self.rows, self.size = rows, size
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.head = SimpleNamespace(score=self.score)

    def forward(self, tokens, state):
        hidden = torch.full((*tokens.shape, self.size), -1e9)
        for b, row in enumerate(tokens.tolist()):
            for t in range(len(row)):
                following = {each[t + 1] for each in self.rows if each[: t + 1] == row[: t + 1] and t + 1 < len(each)}
                for token in following:
                    hidden[b, t, token] = 0.0
        return hidden, None, {}

    @staticmethod
    def score(hidden, targets):
        log_probs = hidden.log_softmax(-1)
        confidence, guess = log_probs.exp().max(-1)
        return -log_probs.gather(-1, targets[:, None])[:, 0], guess == targets, confidence


def test_a_model_that_knows_the_answers_has_no_loss(task):
    likelihood = next(judge for judge in task.judges("validation") if "loss" in [m.name for m in judge.metrics])
    separator = task.tokenizer.separator
    rows = [[separator, *prompt, *answer] for prompt, answer in expected(task, "validation")]
    for batch in task.batches("validation"):
        likelihood.update(Oracle(rows, task.tokenizer.size), batch)
    values = likelihood.compute()
    assert values["loss"] == pytest.approx(0, abs=1e-6) and values["accuracy"] == 1
    assert values["bits_per_byte"] == pytest.approx(0, abs=1e-6)


def test_bytes_per_answer_count_its_end_or_its_space(tmp_path):
    for name, template in (("a", TEMPLATE), ("b", CONTINUES)):
        examples = Doubles(template)
        per_byte = made(tmp_path / name, examples, Byte()).answer_tokens_per_byte("validation", 10**6)
        assert per_byte == 1  # of a tokenizer of bytes


def test_bits_per_byte_are_of_the_bytes_that_are_scored(tmp_path):
    prepared = made(tmp_path, Doubles(), Byte())
    lengths, references = prepared.lengths("validation"), prepared.references("validation")
    sizes = [len(right[0].encode()) + 1 for right in references]
    for limit in (1, 3, len(sizes)):
        expected = (lengths[:limit, 1].sum() + limit) / sum(sizes[:limit])
        assert prepared.answer_tokens_per_byte("validation", limit) == pytest.approx(expected)


def test_long_prompts_and_answers_are_counted(tmp_path):
    examples = Doubles(length=4)
    lengths = made(tmp_path, examples, Byte()).lengths("train")
    task = ExamplesTask(examples, made(tmp_path, examples, Byte()), 1, 4, 20)
    cut, long = int((lengths[:, 0] > 15).sum()), int((lengths[:, 1] > 4).sum())
    assert cut and long
    assert f"of {cut} of 37 prompts only the last 15 tokens are read" in " ".join(task.notes)
    assert f"{long} of 37 answers have more than data.length=4 tokens; they are left out of training" in task.notes[1]
    answers = [
        stretch for step in range(9) for row in zip(*batch_rows(task, step), strict=True) for stretch in scored(*row)
    ]
    assert max(map(len, answers)) == 5
    with pytest.raises(UserError, match=r"batch\.context=5: .* no room for a prompt .* up to 4 .* at least 6"):
        ExamplesTask(examples, task.prepared, 1, 4, 5)
    with pytest.raises(UserError, match=r"data\.length=2: every answer of the training split is longer"):
        batch_rows(ExamplesTask(Doubles(length=2), task.prepared, 1, 4, 20), 0)


def test_the_first_tokens_of_a_long_prompt_are_read_if_the_template_says_so(tmp_path):
    examples = Doubles({**TEMPLATE, "truncation_side": "right"}, length=9, numbers=9)
    task = ExamplesTask(examples, made(tmp_path, examples, Byte()), 1, 4, 20)
    assert "prompts only the first 10 tokens are read" in " ".join(task.notes)
    prompts = [task.tokenizer.encode_prompt(each.prompt).tolist() for each in examples.examples("train")]
    assert all(len(prompt) > 10 for prompt in prompts)
    read = {(task.tokenizer.separator, *prompt[:9], prompt[-1]) for prompt in prompts}
    trained_on = {tuple(row[:11].tolist()) for step in range(3) for row in batch_rows(task, step)[0]}
    scored = {tuple(row[:11].tolist()) for batch in task.batches("validation") for row in batch.tokens}
    assert trained_on == scored == read


def test_judges_are_in_the_order_of_the_metrics(tmp_path):
    tokens = made(tmp_path, Doubles(), Byte())

    def primary(*metrics: str) -> tuple[str, set[str]]:
        measures = ExamplesTask(Doubles(metrics=metrics), tokens, 1, 4, 60).measures()
        return measures.primary, set(measures.metrics)

    assert primary("f1", "exact_match")[0] == "validation/f1"
    assert primary("likelihood", "f1")[0] == "validation/bits_per_byte"
    assert "f1" in primary("likelihood", "f1")[1] and "f1" not in primary("likelihood")[1]
    described = ExamplesTask(Doubles(metrics=("bleu",)), tokens, 1, 4, 60).describe()
    assert described["metrics"]["bleu"].startswith("sacreBLEU ") and described["template"]["answer"] == "{twice}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestCache:
    def test_preparing_again_reads_what_is_there(self, tmp_path, monkeypatch):
        first = made(tmp_path, Doubles(), Character())
        monkeypatch.setattr(prepared, "_write", None)
        assert made(tmp_path, Doubles(), Character()).fingerprint == first.fingerprint
        opened = partial(prepared.open_whole, kind=Character)
        assert find_prepared(first.fingerprint, [tmp_path], opened).folder == first.folder
        assert find_prepared("0" * 64, [tmp_path], opened) is None

    def test_what_changes_the_examples_changes_the_place(self, tmp_path):
        several = [
            made(tmp_path, Doubles(), Byte()),
            made(tmp_path, Doubles(numbers=36), Byte()),
            made(tmp_path, Doubles(CONTINUES), Byte()),
            made(tmp_path, Doubles(), Word()),
        ]
        assert len({each.folder for each in several}) == len({each.fingerprint for each in several}) == 4

    @pytest.mark.parametrize("damage", ["train.bin", "validation.jsonl", "train.lengths.npy", "meta.json"])
    def test_a_damaged_folder_is_made_anew(self, tmp_path, damage):
        folder = made(tmp_path, Doubles(), Byte()).folder
        before = contents(folder)
        (folder / damage).write_bytes(before[damage][:-3])
        assert contents(made(tmp_path, Doubles(), Byte()).folder) == before

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, UserError, OSError])
    def test_an_interruption_leaves_nothing_that_is_used(self, tmp_path, failure):
        class Interrupted(Doubles):
            def fingerprint(self):
                return "same"

            def records(self, split):
                for number, record in enumerate(super().records(split)):
                    if split == "validation" and number == 5 and self.interrupted:
                        raise failure("stopped")
                    yield record

        examples = Interrupted()
        examples.interrupted = True
        with pytest.raises((KeyboardInterrupt, UserError)):
            made(tmp_path, examples, Byte())
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]
        examples.interrupted = False
        assert len(made(tmp_path, examples, Byte()).lengths("validation")) == 9

    def test_an_empty_split_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="data=doubles: its train split has no examples"):
            made(tmp_path, Doubles(numbers=0), Byte())


@pytest.mark.parametrize(
    ("option", "counts"),
    [
        ("squad", {"train": 87_599, "validation": 10_570}),
        ("aeslc", {"train": 14_436, "validation": 1_960, "test": 1_906}),
        ("multi30k", {"train": 29_000, "validation": 1_014, "test": 1_000}),
    ],
)
def test_the_corpora_have_the_published_numbers_of_examples(option, counts, compose, tmp_path):
    from lmlab.config.build import build

    folder = os.environ.get("LMLAB_CORPORA")
    if not folder or not Path(folder, option).is_dir():
        pytest.skip(f"LMLAB_CORPORA names no folder with {option}")
    data = build(compose(f"data={option}")["data"])
    data.find(Path(folder), tmp_path)
    assert {split: sum(1 for _ in data.examples(split)) for split in data.splits} == counts


def _prepare_slowly(cache: str, log: str, seconds: float) -> None:
    """Prepare examples that note who writes them, and take their time."""

    class Slow(Doubles):
        def fingerprint(self):
            return "slow"

        def records(self, split):
            with Path(log).open("a") as notes:
                notes.write(f"{split}\n")
            time.sleep(seconds)
            yield from super().records(split)

    made(Path(cache), Slow(), Byte())


@pytest.mark.slow
class TestProcesses:
    SPAWN = multiprocessing.get_context("spawn")

    def started(self, tmp_path: Path, seconds: float = 0.5):
        process = self.SPAWN.Process(
            target=_prepare_slowly, args=(str(tmp_path / "cache"), str(tmp_path / "log"), seconds)
        )
        process.start()
        return process

    def test_one_prepares_and_the_others_wait(self, tmp_path):
        processes = [self.started(tmp_path) for _ in range(3)]
        for process in processes:
            process.join(240)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert (tmp_path / "log").read_text().split() == ["train", "validation"]
        assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1

    def test_a_killed_preparation_is_begun_again(self, tmp_path):
        first = self.started(tmp_path, seconds=600)  # it will be killed
        wait_until((tmp_path / "log").exists, "it never begins")
        os.kill(first.pid, signal.SIGKILL)
        first.join(240)
        assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith("doubles-")]
        second = self.started(tmp_path)
        second.join(240)
        assert second.exitcode == 0
        (folder,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
        assert len(PreparedExamples(folder, Byte).references("train")) == 37


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_a_run_is_judged_and_records_the_rules_of_its_metrics(lmlab, tmp_path, model):
    words = ["data=arithmetic", f"model={model}", "data.examples=200", "data.scored=20", *SMALL, "batch.context=48"]
    said = lmlab("train", *words, "logger=[]").stdout
    assert "validation exact match" in said and "longer" in said
    (manifest,) = (tmp_path / "outputs" / "runs").glob("*/run.json")
    record = json.loads(manifest.read_text())
    assert record["data"]["metrics"] == {"exact_match": "equal to a reference but for white space"}
    assert record["measures"]["primary"] == "validation/exact_match"


def test_answers_that_a_vocabulary_cannot_write_are_counted(tmp_path):
    examples, words = Doubles(numbers=5), Word()
    prepared_examples = made(tmp_path, examples, words)
    seen = {word for example in examples.examples("train") for word in f"{example.prompt} {example.answer}".split()}
    lacking = sum(not set(example.answer.split()) <= seen for example in examples.examples("validation"))
    assert prepared_examples.unspelled("train") == 0 and 0 < lacking == prepared_examples.unspelled("validation")
    task = ExamplesTask(examples, prepared_examples, 1, 4, 60)
    assert any(f"validation: {lacking} of 9 right answers cannot be written" in note for note in task.notes)
    assert made(tmp_path, examples, Byte()).unspelled("validation") == 0
