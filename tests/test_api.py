"""lmlab from Python: the same runs, numbers, texts and messages as from the command line."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL

import lmlab
from lmlab.commands.generate import DEFAULTS
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
SIGNATURE = re.compile(r"(?:lmlab|TrainedRun)\.\w+(?:\(.*\))?")


@pytest.fixture(scope="module")
def outputs(command_line, corpus_file, tmp_path_factory):
    """An outputs folder with a finished run of an LSTM on the made-up corpus."""
    folder = tmp_path_factory.mktemp("api")
    text = ["data=text", "tokenizer=byte", f"data.paths={corpus_file}"]
    words = ["train", *text, *SMALL, "model=lstm", "logger=[]", "name=mine"]
    done = command_line.run(words, folder, os.environ | {"LMLAB_OUTPUTS": str(folder / "outputs")}, folder)
    assert done.returncode == 0, done.stderr
    return folder / "outputs"


@pytest.fixture
def run(outputs, monkeypatch):
    monkeypatch.setenv("LMLAB_OUTPUTS", str(outputs))
    (path,) = (outputs / "runs").iterdir()
    return lmlab.load(path)


@pytest.fixture(name="command")
def the_command_line(lmlab):
    return lmlab


@pytest.fixture
def error_of(command, outputs):
    """Run a command that fails, and return its error."""

    def message(*words):
        done = command(*words, check=False, LMLAB_OUTPUTS=str(outputs))
        assert done.returncode == 1
        return done.stderr.strip().removeprefix(f"lmlab {words[0]}: ")

    return message


def test_importing_is_light_and_shows_the_public_names():
    program = """
import sys
import lmlab
assert [name for name in dir(lmlab) if name[0] != "_"] == lmlab.__all__, dir(lmlab)
lmlab.UserError
heavy = {"torch", "numpy", "pandas", "hydra", "omegaconf", "rich"} & set(sys.modules)
assert not heavy, heavy
assert callable(lmlab.runs) and lmlab.runs.__name__ == "lmlab.runs"
import lmlab.runs.run
assert callable(lmlab.runs) and lmlab.runs.run.Run
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="trian"):
        _ = lmlab.trian


def test_the_page_has_every_public_name_with_its_signature_and_a_docstring():
    members = {name: getattr(lmlab, name) for name in lmlab.__all__}
    methods = inspect.getmembers(lmlab.TrainedRun, inspect.isfunction)
    expected = {signature(f"lmlab.{name}", member) for name, member in members.items()}
    expected |= {signature(f"TrainedRun.{name}", method, 1) for name, method in methods if name[0] != "_"}
    assert {line for block in BLOCKS for line in block.splitlines() if SIGNATURE.fullmatch(line)} == expected
    for name, member in {**members, **vars(lmlab.TrainedRun)}.items():
        assert name[0] == "_" or member.__doc__, name
    named = set(re.findall(r"^\| ((?:`\w+`,? ?)+)\|", PAGE, flags=re.MULTILINE))
    attributes = {*lmlab.TrainedRun.__annotations__, "metrics", "scores"}
    assert {name for cell in named for name in re.findall(r"\w+", cell)} == attributes
    assert all(f"{name}:" in lmlab.TrainedRun.__doc__ for name in lmlab.TrainedRun.__annotations__)


def signature(name: str, member: object, first: int = 0) -> str:
    """Return a function's signature without types; of a class the name alone."""
    if isinstance(member, type):
        return name
    parameters = list(inspect.signature(member).parameters.values())[first:]
    words = [str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters]
    keywords = [number for number, one in enumerate(parameters) if one.kind is inspect.Parameter.KEYWORD_ONLY]
    if keywords:
        words.insert(keywords[0], "*")
    return f"{name}({', '.join(words)})".replace("'", '"')


def test_a_run_is_found_by_directory_name_start_of_id_or_itself(run, outputs, monkeypatch):
    ways = [run.path, str(run.path), run.path.name, run.id, run.id[:4], Run(run.path), run]
    assert [lmlab.load(way).path for way in ways] == [run.path] * len(ways)
    monkeypatch.delenv("LMLAB_OUTPUTS")
    assert lmlab.load(run.id, "best", outputs=outputs).checkpoint == "best"
    monkeypatch.chdir(outputs.parent)
    assert lmlab.load(run.id).path == run.path
    assert run.id in run.path.name and not run.model.training
    assert run.config["model"]["width"] == 16 and run.tokenizer.decode(run.tokenizer.encode("für")) == "für"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [(["run=zzzz"], {"run": "zzzz"}), (["checkpoint=bset"], {"checkpoint": "bset"}), (["run="], {"run": ""})],
)
def test_what_cannot_be_loaded_is_the_error_of_the_command(run, error_of, words, arguments):
    with pytest.raises(lmlab.UserError) as error:
        lmlab.load(**{"run": run.id, **arguments})
    words = words if words[0].startswith("run=") else [f"run={run.id}", *words]
    assert error_of("generate", *words) == str(error.value)


def test_a_device_that_is_not_there_is_named(run):
    with pytest.raises(lmlab.UserError, match=r"^device=cdua: torch has no such device here"):
        lmlab.load(run, device="cdua")


def test_a_loss_is_that_of_the_fixed_window_of_evaluate(run, command, tmp_path):
    text = "the cat sat on a mat, über every tree.\n" * 3
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    words = ["metrics=[fixed_window]", "accelerator=cpu", f"data.paths={tmp_path / 'text.txt'}"]
    command("evaluate", f"run={run.path}", *words)
    (row,) = [row for row in read_jsonl(run.path / "evaluations.jsonl") if row["settings"]["split"].startswith("text")]
    assert run.loss(text) == pytest.approx(row["metrics"]["fixed_window"]["loss"], rel=1e-6)
    assert run.loss(["the cat", text]) == [run.loss("the cat"), run.loss(text)]
    with pytest.raises(lmlab.UserError, match=r"^text: is empty"):
        run.loss("")
    with pytest.raises(lmlab.UserError, match=r"^text: is not valid Unicode"):
        run.loss("\udcff")


def test_a_text_is_that_of_the_command(run, command):
    words = ["prompt=the", "length=12", "samples=3", "seed=4", "temperature=0.9", "top_k=40", "format=jsonl"]
    done = command("generate", f"run={run.path}", *words, "accelerator=cpu")
    expected = ["the" + json.loads(line)["text"] for line in done.stdout.splitlines()]
    options = {"tokens": 12, "temperature": 0.9, "top_k": 40}
    assert run.generate("the", samples=3, seed=4, **options) == expected
    assert [run.generate("the", seed=seed, **options) for seed in (4, 5, 6)] == expected
    assert len(set(expected)) == 3
    stop = expected[0][6]
    assert run.generate("the", stop=stop, seed=4, **options) == "the" + expected[0][3:].partition(stop)[0]
    for options, message in (({"tokens": 0}, "tokens=0"), ({"samples": 0}, "samples=0"), ({"stop": ""}, "stop=''")):
        with pytest.raises(lmlab.UserError, match=f"^{message}: expected"):
            run.generate("the", **options)


def test_defaults_are_those_of_the_command(compose):
    config = compose(command="generate")
    parameters = inspect.signature(lmlab.TrainedRun.generate).parameters
    same = ("prompt", "top_k", "top_p", "end_of_document", "seed")
    assert {name: parameters[name].default for name in same} == {name: config[name] for name in same}
    defaults = {"temperature": parameters["temperature"].default, "length": parameters["tokens"].default}
    assert defaults == DEFAULTS
    config = compose(command="runs")
    options = inspect.signature(lmlab.runs).parameters
    assert [*options] == ["outputs", *(key for key in config if key in options)]
    assert {key: options[key].default or config[key] for key in config if key in options} == {
        key: config[key] for key in config if key in options
    }
    assert {*config} - {*options} == {"paths", "format"}


def test_the_table_of_runs_is_what_the_command_says(run, outputs, command, monkeypatch):
    said = json.loads(command("runs", "format=json", LMLAB_OUTPUTS=str(outputs)).stdout)
    table = lmlab.runs()
    assert list(table.columns) == list(said[0]) and table["id"].tolist() == [run.id]
    assert table["bits_per_byte"].iloc[0] == said[0]["bits_per_byte"] == run.scores["validation/bits_per_byte"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert lmlab.runs(outputs) == said
    assert lmlab.runs(where={"model": "lstm", "model.width": 16}, name="mine", status="finished", limit=1) == said
    assert lmlab.runs(where={"model.width": 17}) == lmlab.runs(tag="x") == []
    with pytest.raises(lmlab.UserError, match=r"^status=finsihed: unknown \(did you mean 'finished'\?\)"):
        lmlab.runs(status="finsihed")
    with pytest.raises(lmlab.UserError, match=r"^runs=zzz: neither a directory"):
        lmlab.runs(runs="zzz")


def test_a_directory_that_cannot_be_read_is_a_warning(run, tmp_path):
    (tmp_path / "runs" / "mine-0123456789").mkdir(parents=True)
    (tmp_path / "runs" / "mine-0123456789" / "run.json").write_text("{")
    with pytest.warns(UserWarning, match="left out: .*mine-0123456789") as caught:
        assert len(lmlab.runs(tmp_path)) == 0
    assert caught[0].filename == __file__


def test_curves_are_the_rows_that_were_logged(run, monkeypatch):
    rows = read_jsonl(run.path / "metrics.jsonl")
    frame = run.metrics
    assert list(frame.columns[:2]) == ["step", "tokens"] and len(frame) == len(rows) > 10
    logged = frame["validation/loss"].dropna().tolist()
    assert logged == [row["validation/loss"] for row in rows if "validation/loss" in row]
    assert logged[-1] == run.scores["validation/loss"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert lmlab.load(run).metrics == rows
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "tok')  # being written
    assert lmlab.load(run).metrics == rows


def test_nothing_is_started_for_words_that_are_no_run():
    with pytest.raises(lmlab.UserError, match=r"overrides='model=lstm': expected a list of texts"):
        lmlab.train("model=lstm")
    with pytest.raises(lmlab.UserError, match=r"overrides=\[3\]: expected a list of texts"):
        lmlab.train([3])
    for word in ("-m", "--multirun", "sweep=random", "hydra.mode=MULTIRUN"):
        with pytest.raises(lmlab.UserError, match=f"^{word}: asks for several runs; lmlab.train computes one"):
            lmlab.train(["model=lstm", word])
    for word in ("--help", "--cfg=job", "--version"):
        with pytest.raises(lmlab.UserError, match=f"^{word}: trains nothing"):
            lmlab.train([word])


def test_a_finished_run_is_returned_as_recorded_and_errors_are_those_of_the_command(run, outputs, error_of, capfd):
    text = run.config["data"]["paths"]
    words = ["data=text", "tokenizer=byte", f"data.paths={text}", *SMALL, "model=lstm"]
    again = lmlab.train([*words, "logger=[]", "name=mine"], outputs=outputs)
    assert (again.path, again.id, again.scores) == (run.path, run.id, run.scores)
    assert "recorded result" in capfd.readouterr().out
    with pytest.raises(lmlab.UserError) as error:
        lmlab.train(["model=lsmt"])
    assert str(error.value) == error_of("train", "model=lsmt")


SCRIPT = """
import io, sys
import lmlab
print("once")
shown, sys.stdout = sys.stdout, io.StringIO()  # as in a notebook, where it is no file
run = lmlab.train(sys.argv[1:])
said, sys.stdout = sys.stdout.getvalue(), shown
assert "step 4 of 10" in said and "\\x1b" not in said, said
print(run.id, run.loss("the cat"))
"""


@pytest.mark.slow
def test_a_plain_script_trains_and_its_progress_is_lines_wherever_it_goes(small, tmp_path, command):
    (tmp_path / "script.py").write_text(SCRIPT)  # without if __name__ == "__main__"
    words = [*(word for word in small if word != "progress=false"), "model=lstm"]
    environment = os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "FORCE_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "script.py", *words], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    once, result = done.stdout.splitlines()
    assert once == "once"
    (path,) = (tmp_path / "outputs" / "runs").iterdir()
    assert result.split()[0] == Run(path).id and Run(path).status == "finished"
    assert "showing the recorded result" in command("train", *words).stdout


@pytest.mark.slow
def test_the_example_of_the_page_and_the_notebook_run(tmp_path):
    (example,) = [block for block in BLOCKS if block.startswith("import lmlab\n")]
    errors = next(block for block in BLOCKS if block.startswith("try:"))
    table = next(block for block in BLOCKS if block.startswith("table ="))
    example = example.replace('"budget.tokens=100_000"', '"budget.tokens=20_000", "trainer=cpu", "trainer.threads=1"')
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    cells[0] = (
        cells[0].replace("300_000", "20_000").replace('"logger=[]"', '"logger=[]", "trainer=cpu", "trainer.threads=1"')
    )
    assert "20_000" in cells[0] and "trainer=cpu" in cells[0]
    program = "\n".join(map(shown, [example, table, errors, *cells]))
    environment = os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "model=lsmt: no such option (did you mean 'lstm'?)" in done.stdout
    values = [
        ast.literal_eval(line.removeprefix("=> ")) for line in done.stdout.splitlines() if line.startswith("=> {")
    ]
    losses, probabilities = values
    assert set(losses) == {"lstm", "transformer"} and all(0 < loss < 8.5 for row in losses.values() for loss in row)
    assert len(probabilities) == 3


def shown(cell: str) -> str:
    """Return the code of a cell that prints the value of its last expression, as a notebook does."""
    tree = ast.parse(cell)
    if isinstance(tree.body[-1], ast.Expr):
        tree.body[-1].value = ast.Call(ast.Name("print"), [ast.Constant("=>"), tree.body[-1].value], [])
    return ast.unparse(tree)
