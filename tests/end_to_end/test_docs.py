"""The commands of README.md and docs/ do what the pages say; those of docs/extend.md are in tests/test_extend.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documented import PAGES, ROOT, Documented, documented, missing
from test_extend import FILES

from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

ONLY_COMPOSED = {
    "data=mixture": "a minute, and Multi30k is not downloaded",
    "make test": "runs these tests",
    "make test-all": "runs these tests",
    "lmlab chat": "reads from the terminal: tests/commands/test_chat.py",
    "lmlab dashboard": "serves until it is interrupted: tests/end_to_end/test_dashboard.py",
    "lmlab wandb": "needs an account: tests/end_to_end/test_wandb_faults.py has a server of its own",
    "hydra/launcher=slurm": "needs a cluster: tests/end_to_end/test_slurm.py",
    "hydra/launcher=ray": "needs the package ray",
    "experiment=tasks": "needs files of corpora: tests/end_to_end/test_mixtures.py",
    "data=multi30k": "needs files of a corpus: tests/commands/test_predictions.py",
    "data.dataset=": "downloads from the hub: tests/data/test_hugging_face.py replaces it",
    "trainer.nodes=2": "needs two machines: tests/end_to_end/test_nodes.py",
}
"""Parts of commands that are not executed here, with the reason; tests/test_docs.py composes them."""

CHANGING = ("On the test split of stdlib", "but: ")
"""Beginnings of lines that depend on the results: only they are compared."""

SMALL = ["validation.times=1", "validation.tokens=2000", "callbacks.samples.length=4", "trainer.threads=1"]
SMALL += ["trainer=cpu", "progress=false"]
NARROW = ["model.width=32", "model.depth=1"]
FILES_OF_A_USER = FILES | {
    "prompts.txt": "def main\nimport os\n",
    "questions.jsonl": '{"prompt": "import", "answer": " os"}\n{"prompt": "def", "answer": " main"}\n',
    "other.txt": "import this\n" * 20,
    **{f"{name}.jsonl": "".join(f'{{"text": "{name} no. {n}"}}\n' for n in range(200)) for name in ("stories", "more")},
    "reviews.csv": "stars,review\n" + "".join(f"{n % 5},the film no. {n} is not bad\n" for n in range(200)),
    **{f"ptb.{split}.txt": " the <unk> rose N to N \n" * 50 for split in ("train", "valid", "test")},
    **dict.fromkeys(("train.jsonl", "dev.jsonl"), '{"question": "1 + 1?", "answer": "2"}\n' * 20),
    **dict.fromkeys(("train.csv", "dev.csv"), "text,label\n" + "well done,positive\noh no,negative\n" * 10),
    **dict.fromkeys(("news.en", "dev.en"), "good morning\n" * 20),
    **dict.fromkeys(("news.cs", "dev.cs"), "dobré ráno\n" * 20),
    "news.tsv": "en\tcs\n" + "".join(f"good morning no. {n}\tdobré ráno {n}\n" for n in range(50)),
}


def executed(page: str) -> list[Documented]:
    """Return the commands of a page to execute: one of each that has any options."""
    commands = {command.line: command for command in documented(page) if len(command.words) > 1}
    return [command for line, command in commands.items() if not any(part in line for part in ONLY_COMPOSED)]


def small(command: Documented) -> list[str]:
    """Return options that make a command quick and leave everything else as it is."""
    name, *words = command.words
    if name not in ("train", "study") or "--help" in words or "--cfg" in words:
        return []
    line = command.line
    options = [*SMALL] if "trainer=" not in line else [word for word in SMALL if word != "trainer=cpu"]
    if "pretrain_and_tune" in line:
        return [*options, *NARROW, *(f"stages.{stage}.budget.tokens=4096" for stage in ("pretrain", "tune"))]
    if command.page != "README.md" or name == "study" or "experiment=" in line:
        options.append("sweep.tokens=1024" if "sweep=halving" in line else "budget.tokens=4096")
    if name == "study" and "study.trials=" not in line:
        options += ["study.trials=1", "study.seeds=[1,2]"]
    sized = "experiment=" in line or "model.parameters=" in line
    return [*options, *(word for word in NARROW if not sized and word.partition("=")[0] not in line)]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder for prepared data, which all pages share."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/extend.md" and executed(page)])
def test_every_command_runs_and_prints_what_is_shown(lmlab, tmp_path, cache, page):
    """In their order, in one folder, on small networks."""
    for name, text in {**FILES_OF_A_USER, "README.md": PAGES["README.md"]}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    runs = tmp_path / "outputs" / "runs"
    runs.parent.mkdir()
    (runs.parent / "cache").symlink_to(cache)
    if page != "README.md":
        kept = ["callbacks=ema", "callbacks.checkpoint.keep=3", "validation.times=3", "budget.tokens=12_288"]
        words = ["seed=1,2", "scheduler=constant", *SMALL, *NARROW, *kept]
        lmlab("train", "-m", *words)
    for command in executed(page):
        if command.line.startswith("make "):
            printed = made(command, tmp_path)
        else:
            words = [filled(word, runs) for word in command.words]
            done = lmlab(*words, *small(command), check=words[0] != "report")
            assert done.returncode == 0 or "These runs cannot be compared" in done.stdout, done
            printed = done.stdout
        assert printed.strip(), command
        stable = [
            next((start for start in CHANGING if line.startswith(start)), line) for line in command.shown.splitlines()
        ]
        assert not missing("\n".join(line for line in stable if line not in CHANGING), printed), printed
        for start in set(CHANGING) & set(stable) - {"but: "}:
            assert f"\n{start}" in printed, printed


def made(command: Documented, folder: Path) -> str:
    """Return what a command of make prints, from the script that it runs."""
    assert command.words == ["quickstart"]
    variables = os.environ | {"LMLAB_OUTPUTS": str(folder / "outputs"), "COLUMNS": "120"}
    words = [*SMALL, "budget.tokens=4096"]
    script = [sys.executable, str(ROOT / "scripts" / "quickstart.py"), *words]
    return subprocess.run(script, cwd=folder, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout


def filled(word: str, runs: Path) -> str:
    """Replace what stands for a run or a sweep in the pages."""
    ids = [run.id for run in all_runs(runs) if run.manifest["choices"]["model"] == "lstm"]
    sweeps = sorted(path.name for path in (runs.parent / "sweeps").glob("*"))
    names = dict(zip(("3f9a12", "77b2c0"), ids, strict=False)) | {"3f9a": ids[0], "$RUN": ids[0]} if ids else {}
    names |= {"<sweep>": sweeps[-1]} if sweeps else {}
    for name, value in names.items():
        word = re.sub(rf"{re.escape(name)}(?!\w)", value, word)
    return word
