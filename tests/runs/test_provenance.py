import subprocess
import sys

from lmlab.runs.content import with_content
from lmlab.runs.provenance import PACKAGES, code_fingerprint, environment_differences, provenance

CONFIG = {"model": {"_target_": "lmlab.models.language_model.LanguageModel"}}


def test_the_code_s_fingerprint_is_the_same_in_another_process():
    code = f"from lmlab.runs.provenance import code_fingerprint; print(code_fingerprint({CONFIG!r}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == code_fingerprint(CONFIG)


def test_a_change_in_a_users_own_module_changes_the_code_s_fingerprint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "users_own_mixer.py"
    config = CONFIG | {"data": {}, "mixer": {"_target_": "users_own_mixer.Mixer"}}
    path.write_text("class Mixer: pass\n")
    before = code_fingerprint(with_content(config))
    path.write_text("class Mixer: x = 1\n")
    assert before != code_fingerprint(with_content(config)) != code_fingerprint(CONFIG)


def test_everything_a_reader_asks_for_is_recorded():
    found = provenance(CONFIG)
    assert found["packages"].keys() == set(PACKAGES)
    assert all(found["packages"].values())
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["hardware"]["cores"] >= 1 and found["hardware"]["memory_bytes"] > 1e8


def test_only_what_can_explain_a_different_result_counts_as_a_difference():
    first = {"packages": {"torch": "1"}, "command": ["a"], "directory": "x", "git": {"commit": "a", "dirty": True}}
    second = {"packages": {"torch": "2"}, "command": ["b"], "directory": "y", "git": {"commit": "b", "dirty": False}}
    found = environment_differences(first, second)
    assert found == {"packages.torch": ("1", "2"), "git.commit": ("a", "b")}
