"""A run's copy of the user's sources, its signature, and what runs of a directory that came from elsewhere."""

import json
import re
import shutil
import stat

import pytest

from lmlab.config import sources
from lmlab.config.build import build
from lmlab.config.identity import identity
from lmlab.config.targets import resolve_target
from lmlab.errors import UserError
from lmlab.runs import content, trust
from lmlab.runs.content import own_sources, with_content
from lmlab.runs.run import Run

MIXER = "from activation import act\nclass Mixer:\n    act = act\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with a mixer of the user's, and a key of their own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(MIXER)
    (work / "activation.py").write_text("act = 'tanh'\n")
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield work
    sources.use_copy(None)
    trust._vouched.clear()


@pytest.fixture
def config(compose, small_task):
    def composed(target="mine.Mixer", *words):
        plain = compose(*small_task, "model=lstm", "logger=[]", *words)
        plain["model"]["mixer"]["_target_"] = target
        return plain

    return composed


@pytest.fixture
def run(config, tmp_path):
    made = Run(tmp_path / "outputs" / "runs" / "mine-0000000000")
    made.create(with_content(config()), "0000000000", provenance={"directory": "/home/them"})
    trust._vouched.clear()  # as in another process
    return made


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_other_code_is_another_run_but_not_where_only_a_logger_changes(here, config):
    (here / "logging_own.py").write_text("class Logger:\n    pass\n")
    with_logger = config("mine.Mixer", "+logger.own._target_=logging_own.Logger")
    before, plain = identity(with_content(with_logger)), identity(with_content(config("lmlab.models.mixers.gru.GRU")))
    (here / "logging_own.py").write_text("class Logger:\n    x = 1\n")
    assert identity(with_content(with_logger)) == before
    (here / "activation.py").write_text("act = 'sin'\n")
    assert identity(with_content(with_logger)) != before
    assert identity(config("lmlab.models.mixers.gru.GRU")) == plain
    assert "content" not in with_content(config("lmlab.models.mixers.gru.GRU"))


def test_later_commands_use_the_copy(here, run):
    assert trust.read_code(run.code) == {"mine.py": MIXER.encode(), "activation.py": b"act = 'tanh'\n"}
    (here / "activation.py").write_text("act = 'sin'\n")
    assert resolve_target("mine.Mixer", "model.mixer").act == "sin"
    trust.adopt(run)
    assert resolve_target("mine.Mixer", "model.mixer").act == "tanh"
    with trust.same_code(None):
        assert resolve_target("mine.Mixer", "model.mixer").act == "sin"


def test_a_file_that_a_module_reads_from_its_folder_is_part_of_the_copy_and_of_the_identity(here, config, monkeypatch):
    (here / "mine.py").write_text(f"from pathlib import Path\nx = Path(__file__).with_name('table.json')\n{MIXER}")
    (here / "table.json").write_text("[1]")
    before = identity(with_content(config()))
    assert own_sources(config())["table.json"] == b"[1]"
    (here / "table.json").write_text("[2]")
    assert identity(with_content(config())) != before
    monkeypatch.setattr(content, "MOST_BYTES", 2)
    with pytest.raises(UserError, match=r"mixer\._target_: .*mine\.py names .*table\.json \(3 bytes\).* an option"):
        with_content(config())


@pytest.mark.parametrize("change", ["config", "source", "new file", "signature", "key", "no copy"])
def test_what_this_user_has_not_signed_runs_only_if_trusted(here, run, change, tmp_path):
    assert trust.is_trusted(run)
    if change == "config":
        rewrite(run.path / "config.yaml", "seed: 1", "seed: 2")
    elif change == "source":
        (run.code / "activation.py").write_text("act = 'evil'\n")
    elif change == "new file":
        (run.code / "json.py").write_text("")
    elif change == "signature":
        run.update(signature=None)
    elif change == "key":
        (tmp_path / "config" / "lmlab" / "key").unlink()
    else:
        shutil.rmtree(run.code)
    with pytest.raises(UserError) as refused:
        trust.adopt(run)
    message = str(refused.value)
    place = here if change == "no copy" else run.code
    assert "mine.Mixer" in message and str(place / "mine.py") in message and "trust=true" in message
    assert "\n" not in message
    trust.adopt(run, trust=True)
    assert resolve_target("mine.Mixer", "model.mixer").act == ("evil" if change == "source" else "tanh")


@pytest.mark.parametrize(
    ("command", "target", "says"),
    [
        ("generate", "outputs.runs.stranger-0000000000.evil.Model", "trust=true"),
        ("generate", "evil.Model", "trust=true"),
        ("generate", "package.evil.Model", "trust=true"),
        ("generate", "linked.evil.Model", "trust=true"),
        ("generate", "evil.f", "trust=true"),
        ("generate", "sched.Model", "taken by Python's standard library; rename"),
        ("generate", "missing.Model", "not found; .*; the run was started in /home/them"),
        ("generate", "os.system", "not allowed"),
        ("evaluate", "evil.Model", "trust=true"),
        ("reproduce", "evil.Model", "trust=true"),
    ],
)
def test_a_run_directory_from_elsewhere_runs_no_code(here, lmlab, config, tmp_path, command, target, says):
    mark = tmp_path / "mark"
    stranger = Run(here / "outputs" / "runs" / "stranger-0000000000")
    stranger.create(config("lmlab.models.mixers.lstm.LSTM"), "0000000000", provenance={"directory": "/home/them"})
    stranger.update(status="finished")
    rewrite(stranger.path / "config.yaml", "lmlab.models.mixers.lstm.LSTM", target)
    stranger.weights.touch()
    evil = f"open({str(mark)!r}, 'w')\nclass Model:\n    pass\nf = Model\n"
    for folder in (here, here / "package", stranger.path):
        folder.mkdir(exist_ok=True)
        (folder / "evil.py").write_text(evil)
        (folder / "sched.py").write_text(evil)
    (here / "linked").symlink_to(stranger.path)
    done = lmlab(command, f"run={stranger.path}", check=False, cwd=here)
    assert done.returncode == 1 and not mark.exists()
    (line,) = done.stderr.splitlines()
    assert re.search(says, line) and target in line


def test_a_run_of_lmlab_s_own_options_needs_no_signature_and_makes_no_key(config, tmp_path):
    run = Run(tmp_path / "plain")
    run.create(config("lmlab.models.mixers.lstm.LSTM"), "0000000000")
    assert trust.is_trusted(run) and not run.code.exists() and "signature" not in run.manifest
    assert not (tmp_path / "config").exists()


def test_the_key_is_the_user_s_alone_and_stays_the_same(run, tmp_path):
    key = tmp_path / "config" / "lmlab" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 32
    before = key.read_bytes()
    run.refresh(run.config)
    trust._create(key)
    assert key.read_bytes() == before and [path.name for path in key.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("fault", ["readable by others", "cut short"])
def test_a_key_that_may_not_be_the_user_s_alone_is_not_used(run, tmp_path, fault, capsys):
    key = tmp_path / "config" / "lmlab" / "key"
    if fault == "cut short":
        key.write_bytes(b"x")
    else:
        key.chmod(0o640)
    with pytest.raises(
        UserError, match=r"not signed by you: .*key (is cut short|can be read by others).*; .*trust=true"
    ):
        trust.adopt(run)
    run.refresh(run.config)
    assert "not signed" in capsys.readouterr().err and run.manifest["signature"] is None
    key.unlink() if fault == "cut short" else key.chmod(0o600)
    run.refresh(run.config)
    trust._vouched.clear()
    assert trust.is_trusted(run)


def test_without_a_home_folder_one_line_says_what_that_means(config, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    run = Run(tmp_path / "mine-0000000000")
    run.create(with_content(config()), "0000000000")
    (line,) = capsys.readouterr().err.splitlines()
    assert "not signed" in line and "trust=true" in line and not (tmp_path / "nowhere").exists()
    assert trust.is_trusted(run), "the process that wrote it can compute it"
    trust._vouched.clear()
    with pytest.raises(UserError, match="trust=true"):
        trust.adopt(run)
    trust.adopt(run, trust=True)


def test_a_process_without_the_key_computes_what_its_sender_vouches_for(here, run, tmp_path, monkeypatch):
    voucher = trust.voucher(run)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "on another machine"))
    assert trust.voucher(run) is None and not trust.is_trusted(run)
    trust.accept(None)
    assert not trust.is_trusted(run)
    trust.accept(voucher)
    trust.check(run, "")
    (run.code / "activation.py").write_text("act = 'evil'\n")
    assert not trust.is_trusted(run)


def test_a_saved_name_that_leads_elsewhere_is_refused(here, lmlab, config, tmp_path):
    stranger = Run(here / "outputs" / "runs" / "stranger-0000000000")
    stranger.create(config("lmlab.models.mixers.lstm.LSTM") | {"name": "../../theirs"}, "0000000000")
    stranger.update(status="finished")
    done = lmlab("reproduce", f"run={stranger.path}", check=False, cwd=here)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "name='../../theirs': expected letters" in line
    assert not list(tmp_path.rglob("theirs-*"))


def test_sources_that_change_while_a_run_is_laid_out_are_refused(here, config, tmp_path):
    composed = with_content(config())
    (here / "activation.py").write_text("act = 'sin'\n")
    with pytest.raises(UserError, match="have changed since this configuration was composed"):
        Run(tmp_path / "mine-0000000000").create(composed, "0000000000")


def test_a_text_that_looks_like_a_reference_stays_a_text_and_names_no_target(tmp_path):
    hidden = "${oc.create:{_target_: os.mkdir, path: " + json.dumps(str(tmp_path / "mark")) + "}}"
    node = {"_target_": "lmlab.models.mixers.lstm.LSTM", "_partial_": True, "width": 4}
    for part in ({"dropout": hidden}, {"dropout": "\\" + hidden}, {"dropout": [hidden]}):
        assert build(node | part).keywords == {"width": 4, **part}
        assert build(node | {"inner": {"plain": part}}).keywords["inner"] == {"plain": part}
    for target in ("${x}", "${oc.env:HOME}.mkdir", hidden):
        with pytest.raises(UserError, match=r"_target_="):
            build(node | {"_target_": target})
        with pytest.raises(UserError, match=r"inner\.plain\._target_="):
            build(node | {"inner": {"plain": {"_target_": target}}})
    assert not (tmp_path / "mark").exists()


def test_a_job_that_is_tried_again_has_the_sources_that_it_began_with(here, run, tmp_path):
    assert not trust.has_other_code(run)
    begun = identity(run.config)
    (here / "activation.py").write_text("act = 'sin'\n")
    assert trust.has_other_code(run)
    plain = {key: value for key, value in run.config.items() if key != "content"}
    assert identity(with_content(plain)) != begun
    with trust.same_code(run):
        assert identity(with_content(plain)) == begun
        run.refresh(with_content(plain))
    assert trust.read_code(run.code)["activation.py"] == b"act = 'tanh'\n" and trust.is_trusted(run)
    (run.code / "activation.py").write_text("act = 'evil'\n")
    with trust.same_code(run):  # which nobody has signed
        assert identity(with_content(plain)) != begun and resolve_target("mine.Mixer", "mixer").act == "sin"


@pytest.mark.parametrize("action", ["resume", "retry"])
def test_the_command_of_a_sweep_from_elsewhere_is_not_given(here, lmlab, tmp_path, action):
    mark, theirs = tmp_path / "mark", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil:\n    pass\n")
    command = ["-m", "seed=1,2", f"--config-dir={theirs}", "+hydra.callbacks.x._target_=evil.Evil"]
    folder = here / "outputs" / "sweeps" / "theirs"
    folder.mkdir(parents=True)
    definition = {"version": 1, "path": str(folder), "command": command, "directory": str(theirs), "status": "finished"}
    (folder / "sweep.json").write_text(json.dumps(definition | {"created": "2026-01-01", "signature": "00" * 32}))
    done = lmlab("sweep", action, f"name={folder}", check=False, cwd=here)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "not signed by you" in line and "trust=true" in line and "hydra.callbacks" in line
    assert not mark.exists()
