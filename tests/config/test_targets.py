import sys

import pytest

from lmlab.config.build import accepted, build
from lmlab.config.targets import resolve_target, targets
from lmlab.errors import UserError


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "shutil.rmtree",
        "wandb.init",
        "torch.load",
        "torch.hub.load",
        "torch.jit.ScriptModule",
        "torch.fx.GraphModule",
        "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
        "lmlab.runs.files.write_text",
        "lmlab.runs.files.Path",
        "lmlab.training.worker.train",
        "lmlab.data.shards.prepare",
        "lmlab.models.language_model.math.sqrt",
        "antigravity.geohash",
    ],
)
def test_a_strangers_run_directory_cannot_name_any_function(target):
    sys.modules.pop("antigravity", None)
    with pytest.raises(UserError, match="not allowed|cannot be imported"):
        resolve_target(target, "model")
    assert "antigravity" not in sys.modules, "what is refused is not imported either"


def test_arguments_by_position_escape_the_schema_and_are_refused():
    with pytest.raises(UserError, match=r"model\.mixer\._args_: not allowed"):
        list(targets({"mixer": {"_target_": "lmlab.models.mixers.lstm.LSTM", "_args_": [3]}}, "model"))


def test_a_users_own_class_may_be_named_but_not_what_it_imported(tmp_path, monkeypatch):
    (tmp_path / "my_own_mixer.py").write_text("from os import system\nclass Mixer:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    assert resolve_target("my_own_mixer.Mixer", "x") is sys.modules["my_own_mixer"].Mixer
    with pytest.raises(UserError, match="not allowed"):
        resolve_target("my_own_mixer.system", "x")


def test_a_package_that_is_installed_anywhere_is_no_source_file_of_the_user(tmp_path, monkeypatch):
    folder = tmp_path / "dist-packages" / "installed_somewhere"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("def run():\n    pass\n")
    monkeypatch.syspath_prepend(folder.parent)
    with pytest.raises(UserError, match="not allowed"):
        resolve_target("installed_somewhere.run", "x")


def test_what_is_offered_and_has_a_parameter_is_accepted():
    supplied = {"run": 1, "tokenizer": 2, "folder": 3}
    assert accepted(resolve_target("lmlab.training.callbacks.Samples", "x"), supplied) == {"run": 1, "tokenizer": 2}
    assert accepted(lambda run, **others: None, supplied) == supplied
    assert build({"_target_": "torch.nn.Linear", "in_features": 2}, out_features=3, width=4).out_features == 3
