"""What can be chosen, in a line each: all groups, all options, and those of a user's folder."""

import pytest

from lmlab.commands import list_options, tables
from lmlab.config import options
from lmlab.config.kinds import KINDS
from lmlab.errors import UserError

GROUPS = options.groups()


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.setattr(options, "_folder", None)
    monkeypatch.setattr(tables.console, "_width", 160)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_listed_with_a_line_and_its_place(group, capsys):
    list_options.main([group])
    printed = capsys.readouterr().out
    for option in options.options_of(group):
        (line,) = [line for line in printed.splitlines() if line.split()[:1] == [option]]
        assert len(line.split()) > 3, f"{group}={option} has no description"


def test_groups_are_listed_with_their_base_classes(capsys):
    list_options.main([])
    printed = capsys.readouterr().out
    for kind in KINDS:
        (line,) = [line for line in printed.splitlines() if line.split()[:1] == [kind.group]]
        assert kind.base in line and f" {len(options.options_of(kind.group))} " in line


def test_settings_have_their_defaults_and_comments(capsys):
    list_options.main(["mixer=attention"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "null" in lines["window:"] and "# tokens that a token sees" in lines["window:"]
    assert "conf/model/mixer/attention.yaml" in lines["Defined"]


def test_a_folder_of_the_users_comes_first(capsys, tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "lion.yaml").write_text("# Lion.\n_target_: mine.Lion\nlr: 1e-4  # rate\n")
    (tmp_path / "optimizer" / "sgd.yaml").write_text("# My own.\n_target_: mine.SGD\n")
    list_options.main(["optimizer", f"--config-dir={tmp_path}"])
    printed = capsys.readouterr().out
    assert "Lion." in printed and str(tmp_path / "optimizer" / "lion.yaml") in printed.replace("\n", "")
    assert "My own." in printed
    list_options.main(["--config-dir", str(tmp_path), "optimizer=lion"])
    assert "rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mixr"], r"there is no group 'mixr' \(did you mean 'mixer'\?\)"),
        (["mixer=lstn"], r"mixer=lstn: there is no such option \(did you mean 'lstm'\?\)"),
        (["mixer", "head"], "expected one group, as lmlab options mixer"),
        (["mixer", "--config-dir=nowhere"], "--config-dir=nowhere: there is no folder"),
    ],
)
def test_what_there_is_not_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        list_options.main(words)
