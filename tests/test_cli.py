"""The command line, as a user meets it."""

import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
from pathlib import Path

import pytest
import yaml

from lmlab import cli
from lmlab.cli import COMMANDS
from lmlab.runs.lookup import all_runs


@pytest.mark.parametrize(
    ("words", "may"),
    [
        (["model=lstm"], True),
        (["logger=[]"], False),
        (["logger=csv", "logger.csv.x=wandb"], False),
        (["logger=[csv,wandb]"], True),
        (["logger=[]", "logger=wandb"], True),
    ],
)
def test_wandb_is_imported_ahead_unless_other_loggers_are_typed(words, may):
    assert cli._may_use_wandb(words) is may


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, flag) for command in COMMANDS for flag in (["--help"], ["--cfg", "job"])][
        :-1
    ],  # options has no Hydra app
)
def test_help_and_cfg_answer_without_torch(command, flag, tmp_path):
    code = textwrap.dedent(f"""
        import sys
        sys.argv = ["lmlab", {command!r}, *{flag!r}]
        from lmlab.cli import main
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
        heavy = {{"torch", "pytorch_lightning", "wandb", "numpy", "rich", "tokenizers"}} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("mixer" if command == "options" else "paths:") in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_commands_import_no_torch_before_they_need_it(tmp_path):
    modules = [f"lmlab.commands.{'list_options' if command == 'options' else command}" for command in COMMANDS]
    code = (
        f"import sys, {', '.join(modules)}; sys.exit(' '.join({{'torch', 'transformers', 'wandb'}} & {{*sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    "prompt", ["def main():", "Hello, world", "don't", "5", "", "[x]", "a=b {c} \\\\ d", '"quoted']
)
def test_a_prompt_is_what_was_typed(lmlab, prompt):
    shown = lmlab("generate", "run=x", f"prompt={prompt}", "--cfg", "job").stdout
    assert yaml.safe_load(shown)["prompt"] == prompt


def test_the_overview_names_every_command(lmlab):
    for arguments in ([], ["--help"]):
        shown = lmlab(*arguments).stdout
        assert all(f"  {command}" in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "there is no command 'trian' (did you mean 'train'?)"),
        (["train", "model=lsmt"], "model=lsmt: no such option (did you mean 'lstm'?)"),
        (["train", "optimzer=sgd"], "optimzer: no such option (did you mean 'optimizer'?)"),
        (["train", "optimizer.learning_rate=1"], "optimizer.learning_rate: no such option"),
        (["train", "--max_steps=3"], "--max_steps: no such flag (options are given as option=value); lmlab has budget"),
        (["train", "data=parity", "--learning_rate", "1e-3"], "--learning_rate: no such flag (options are given as"),
        (["train", "-lr", "3"], "-lr: no such flag (options are given as option=value); lmlab has optimizer.lr"),
        (["train", "--cfg", "everything"], "argument --cfg/-c: invalid choice: 'everything'"),
        (["generate", "3f9a"], "3f9a: cannot be read; expected option=value, as in run=3f9a"),
        (["sweep", "resume", "2026-11"], "2026-11: cannot be read; expected option=value, as in name=2026-11"),
        (["train", "data.context=8"], "data.context: no such option (did you mean 'batch.context'?)"),
        (["train", "model.widht=8"], "model.widht: no such option (did you mean 'model.width'?)"),
        (["train", "model.width=wide"], "model.width=wide: expected a whole number, got str"),
        (["train", "+model.wdith=8"], "model.wdith: LanguageModel has no such option (did you mean 'width'?)"),
        (["train", "model=transformer", "model.mixer.heads=3"], "model.mixer.heads=3: must divide model.width=128"),
        (
            ["train", "mixer=attention", "block=classic", "channel=mlp"],
            "block=classic: takes no channel mixer",
        ),
        (["train", "budget.tokens=-5"], "budget.tokens=-5: expected a whole number of at least 1"),
        (["train", "batch.size=2.5"], "batch.size=2.5: expected a whole number"),
        (["train", "trainer.gradient_clip=0"], "trainer.gradient_clip=0: expected a number above 0, or null"),
        (["train", "trainer.devices=0"], "trainer.devices=0: expected at least 1"),
        (["train", "trainer.devices=3"], "batch.size=16: not divisible by trainer.devices=3"),
        (["train", "trainer.precision=8-true"], "trainer.precision=8-true: unknown value"),
        (["train", "optimizer.lr=-1"], "optimizer.lr=-1: expected"),
        (["train", "scheduler.floor=2"], "scheduler.floor=2: expected"),
        (["train", "model.parameters=10Q"], "model.parameters=10Q: expected a number of parameters, like 10M"),
        (["describe", "model.depth=none"], "model.depth=none: expected a whole number"),
        (["train", "objective.label_smoothing=1"], "objective.label_smoothing=1: expected a number in [0, 1)"),
        (["train", "data=text"], "data.paths has no value: give one as data.paths=..."),
        (["train", "data=text", "data.paths=nowhere.txt"], "nowhere.txt"),
        (["train", "model=transformer", "batch.carry_state=true"], "batch.carry_state=true: only for recurrent models"),
        (
            ["train", "data=parity", "batch.documents=separate"],
            "batch.documents=separate: data=parity has no documents of text; choose batch.documents=packed",
        ),
        (
            ["train", "model=lstm", "batch.documents=separate", "batch.carry_state=true"],
            "batch.documents=separate: not with batch.carry_state=true",
        ),
        (["train", "batch.documents=single"], "batch.documents=single"),
        (["evaluate"], "run= has no value"),
        (["evaluate", "run=abc"], "run=abc: neither a directory nor the start of a run's id"),
        (["runs", "status=done"], "status=done: unknown"),
        (["wandb", "snyc"], "action=snyc: unknown value (did you mean 'sync'?)"),
        (["wandb"], "expected what to do, as in lmlab wandb sync"),
        (["wandb"], "lmlab wandb: expected what to do"),
        (["train", "-m", "--cfg", "job"], "lmlab train: Only one of --run, --multirun, --cfg"),
        (["sweep", "foo"], "action=foo: unknown value (choose one of: cancel, resume, retry, status)"),
        (["sweep", "status", "name=nope"], "name=nope: neither a sweep's directory nor the start of its name"),
        (["dashboard", "port=70000"], "port=70000: expected 0 (any free one) to 65535"),
        (["dashboard", "token=short"], "token: expected at least 16 characters"),
        (["plan", "device=h10"], "device=h10: no such option (did you mean 'h100'?)"),
        (["train", "seed=[1"], "seed=[1: cannot be read"),
        (["train", "seed=1,2"], "seed=1,2: several values need -m, which makes a sweep (a list is written seed=[1,2])"),
        (["train", "execution.restarts=-1"], "execution.restarts=-1: expected at least 0"),
        (["train", "execution.rendezvous=abc"], "execution.rendezvous=abc: expected host:port"),
        (["train", "trainer=fsdp", "trainer.tensor_parallel=3"], "trainer.tensor_parallel=3: must divide"),
        (["train", "model=null"], "model=null: no such option"),
        (
            ["train", "logger=null"],
            "logger=null: no such option (choose one of: tensorboard, wandb); logger=[] for none",
        ),
        (["train", "model=[lstm,gru]"], "model=[lstm,gru]: expected one option (-m model=lstm,gru makes a sweep"),
    ],
)
def test_what_a_user_did_wrong_is_one_clear_line(arguments, message, lmlab, tmp_path):
    done = lmlab(*arguments, check=False)
    assert done.returncode != 0
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list((tmp_path / "outputs").glob("runs/*")), "nothing half-written is left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=paralel"], "hydra/launcher=paralel: no such option (did you mean 'parallel'?)"),
        (["hydra/launcher=basic"], "hydra/launcher: this launcher cannot execute lmlab's runs"),
        (["hydra.launcher.workers=0"], "hydra.launcher.workers=0: expected at least 1"),
        (["hydra/launcher=parallel", "hydra.launcher.cores=999"], "hydra.launcher.cores=999: this machine has"),
        (  # before the data
            ["hydra/launcher=parallel", "hydra.launcher.cores=999", "data=text", "data.paths=missing.txt"],
            "hydra.launcher.cores=999: this machine has",
        ),
        (
            ["hydra/launcher=parallel", "hydra.launcher.wrkers=2"],
            "hydra.launcher.wrkers: no such option (did you mean 'hydra.launcher.workers'?)",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.adress=auto"],
            "hydra.launcher.adress: no such option (did you mean 'hydra.launcher.address'?)",
        ),
        (["model=lstm,transfomer"], "model=transfomer: no such option (did you mean 'transformer'?)"),
        (["sweep=optun"], "sweep=optun: no such option (did you mean 'optuna'?)"),
        (["sweep=random", "sweep.trials=-1"], "sweep.trials=-1: expected at least 1"),
        (["sweep=optuna", "sweep.samplr=tpe"], "sweep.samplr: no such option (did you mean 'sweep.sampler'?)"),
        (
            ["sweep=optuna", "sweep.sampler=tpee"],
            "sweep.sampler=tpee: Optuna has no such sampler (did you mean 'tpe'?)",
        ),
    ],
)
def test_what_is_wrong_with_a_sweep_is_one_clear_line(arguments, message, lmlab, tmp_path):
    flag = [] if arguments[0].startswith("sweep=") else ["-m"]
    done = lmlab("train", *flag, *arguments, "seed=1,2", check=False)
    assert done.returncode != 0
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for folder in ("runs", "sweeps"):
        assert not list((tmp_path / "outputs").glob(f"{folder}/*")), "nothing half-written is left behind"


@pytest.mark.parametrize(
    "words", [["train", "-m", "seed=1,2"], ["train", "sweep=optuna", "seed=1,2"], ["study", "experiment=recall"]]
)
def test_a_sweep_is_no_run_of_an_agent_of_w_and_b(words, lmlab, tmp_path):
    done = lmlab(*words, check=False, WANDB_SWEEP_ID="s", WANDB_RUN_ID="announced")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("one run at a time: expected lmlab train without -m and sweep=")
    assert not list((tmp_path / "outputs").glob("*/*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"abc \xff\xfe def", "UTF-8"), (b"too short\n" * 9, "batch.context=128")],
)
def test_bad_text_is_one_clear_line(content, message, lmlab, tmp_path):
    (tmp_path / "bad.txt").write_bytes(content)
    done = lmlab("train", "data=text", "data.paths=bad.txt", "tokenizer=byte", check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "outputs").glob("runs/*"))


def test_a_stack_trace_is_shown_when_asked_for(lmlab):
    assert "Traceback" in lmlab("train", "model=lsmt", check=False, HYDRA_FULL_ERROR="1").stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lmlab ", set(COMMANDS)),
        ("lmlab train model=", {"model=lstm", "model=transformer", "model=gpt2"}),
        ("lmlab train optimizer.we", {"optimizer.weight_decay="}),
        ("lmlab generate tempe", {"temperature="}),
        ("lmlab train hydra/launcher=", {"hydra/launcher=parallel", "hydra/launcher=ray"}),
        ("lmlab train sweep=", {"sweep=grid", "sweep=optuna"}),
        ("lmlab train model=gru mix", {"mixer="}),
        ("lmlab train mixer=", {"mixer=lstm", "mixer=attention"}),
        ("lmlab options mi", {"mixer"}),
        ("lmlab options mixer=g", {"mixer=gru", "mixer=gated_deltanet"}),
    ],
)
def test_the_shell_completes_commands_groups_and_keys(line, expected, lmlab):
    done = lmlab("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert expected <= set(done.stdout.split())


def test_who_reads_the_output_may_stop_reading(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "lmlab", "train", "--help"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(theirs)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def test_flags_may_stand_anywhere(lmlab):
    assert lmlab("runs", "limit=1", "--cfg", "job").stdout == lmlab("runs", "--cfg", "job", "limit=1").stdout


MIXER = '''
from torch import nn

class Average(nn.Module):
    """y_t = W mean(x_1, ..., x_t): a new mixer, from outside of the project."""

    def __init__(self, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.scale = scale

    def forward(self, x_BTD, state):
        import torch
        total_BD, count = (0.0, 0) if state is None else state
        sums_BTD = x_BTD.cumsum(1) + (total_BD[:, None] if count else 0.0)
        counts_T1 = torch.arange(count + 1, count + x_BTD.shape[1] + 1, device=x_BTD.device)[:, None]
        return self.scale * self.linear(sums_BTD / counts_T1), (sums_BTD[:, -1], count + x_BTD.shape[1])
'''


@pytest.mark.slow
def test_a_mixer_from_outside_is_one_file_and_one_yaml(lmlab, small, tmp_path):
    (tmp_path / "average.py").write_text(MIXER)
    (tmp_path / "own" / "model" / "mixer").mkdir(parents=True)
    yaml = "_target_: average.Average\n_partial_: true\nscale: 2.0\n"
    (tmp_path / "own" / "model" / "mixer" / "average.yaml").write_text(yaml)
    arguments = ["--config-dir", "own", *small, "model=transformer", "mixer=average"]
    wrong = lmlab("train", *arguments, "model.mixer.scale=large", check=False)
    assert "model.mixer.scale=large: expected a number" in wrong.stderr
    lmlab("train", *arguments)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert run.config["model"]["mixer"]["_target_"] == "average.Average"
    assert "stateful" in lmlab("evaluate", f"run={run.id}").stdout
    assert len(lmlab("generate", f"run={run.id}", "prompt=the", "length=5").stdout) > 5


@pytest.mark.slow
def test_a_run_from_asking_to_reproducing(lmlab, small, tmp_path):
    arguments = ["train", *small, "model=lstm"]
    first = lmlab(*arguments)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert run.status == "finished"
    assert str(run.path) in first.stdout and "bits/byte" in first.stdout
    for name in ("config.yaml", "metrics.jsonl", "samples.jsonl", "model.safetensors", "run.log", "tokenizer"):
        assert (run.path / name).exists(), name
    manifest = run.manifest
    for key in ("code", "git", "packages", "python", "platform", "hardware"):
        assert key in manifest["provenance"], key
    assert manifest["data"]["fingerprint"] and manifest["data"]["tokenizer_fingerprint"]
    assert {"total", "non_embedding", "matmul"} == set(manifest["sizes"]["parameters"])
    assert manifest["timings"]["tokens"] == 640

    again = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lmlab", *arguments, "trainer.threads=2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs")},
    )
    assert "showing the recorded result" in again.stdout
    assert "The code has changed" not in again.stdout
    assert "Computed with trainer.threads=1, which gives the same result except for rounding." in again.stdout
    assert not [line for line in again.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]

    listed = json.loads(lmlab("runs", "format=json", "status=finished", "+where.model=lstm").stdout)
    assert [row["id"] for row in listed] == [run.id]
    assert json.loads(lmlab("runs", "format=json", "+where.model.width=17").stdout) == []

    texts = [
        lmlab("generate", f"run={run.id[:6]}", "prompt=the cat", "length=20", f"seed={s}").stdout for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the cat")

    done = lmlab("reproduce", f"run={run.path}")
    assert "identical" in done.stdout and "different" not in done.stdout
    assert "The environments do not differ." in done.stdout
    assert "The final weights are identical bit for bit." in done.stdout
    assert len(list(all_runs(tmp_path / "outputs" / "runs"))) == 2

    text = (run.path / "run.json").read_text()
    loss = run.manifest["metrics"]["validation/loss"]
    (run.path / "run.json").write_text(text.replace(str(loss), str(loss * 1.1)))
    assert lmlab("reproduce", f"run={run.path}", check=False).returncode == 1

    weights = run.weights.read_bytes()
    flipped = bytearray(weights)
    flipped[-1] ^= 1
    run.weights.write_bytes(flipped)
    damaged = lmlab("generate", f"run={run.id}", check=False)
    assert damaged.returncode != 0
    assert "model.safetensors: the weights have changed since they were written; lmlab reproduce run=" in damaged.stderr
    run.weights.write_bytes(weights[: len(weights) // 2])
    run.update(weights={})  # as it was before they were recorded
    damaged = lmlab("generate", f"run={run.id}", check=False)
    assert damaged.returncode != 0
    assert "model.safetensors: the weights cannot be loaded" in damaged.stderr


@pytest.mark.slow
def test_a_terminal_shows_bars_of_training_and_validation(small, tmp_path):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "lmlab", "train", *small, "model=lstm", "progress=true", "logger=[]"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "TERM": "xterm"}
    shown = b""
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        with contextlib.suppress(OSError):  # what a terminal answers once nobody writes to it any more
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    text = shown.decode()
    assert run.returncode == 0, text
    for expected in ("10/10", "tokens/s", "validating", "bits/byte", "Run directory:"):
        assert expected in text


def test_the_line_of_an_unforeseen_error_names_a_file_with_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        raise KeyError("größe")
    except KeyError as error:
        line = cli.unforeseen(error)
    found = re.fullmatch(r"KeyError: 'größe' \(details: (.+)\)", line)
    log = Path(found[1]).read_text(encoding="utf-8")
    assert "test_cli.py" in log and "Traceback (most recent call last)" in log and "KeyError: 'größe'" in log
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert cli.unforeseen(KeyError("x")) == "KeyError: 'x' (HYDRA_FULL_ERROR=1 shows the traceback)"


def test_options_that_a_study_may_leave_out_need_no_mark():
    words = ["experiment=mine", "study.direction=maximize", "study.metrc=x"]
    assert cli._read("study", words) == ["experiment=mine", "++study.direction=maximize", "study.metrc=x"]
    assert cli._read("study", ["study.trials=4"]) == ["study.trials=4"]  # there is no study that could have it


def test_no_module_of_python_is_taken_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("re", "signal", "pathlib", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    done = subprocess.run([sys.executable, "-m", "lmlab", "nonsense"], cwd=tmp_path, capture_output=True, text=True)
    assert "there is no command 'nonsense'" in done.stderr

    def start_another(command):  # as multiprocessing starts its own processes
        subprocess.run([sys.executable, "-c", "import re, signal"], check=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lmlab", "runs"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr("lmlab.commands.app.run_app", start_another)
    cli.main()
    assert not (tmp_path / "mark").exists()


def test_options_of_runs_need_no_mark():
    assert cli._read("runs", ["where.seed=2", "+where.model=lstm"]) == ["++where.seed=2", "+where.model=lstm"]
