"""The user's own modules: found and followed without being imported, and never taken from an outputs folder."""

import sys

import pytest

from lmlab.config import sources
from lmlab.config.targets import resolve_target
from lmlab.errors import UserError

MARKS = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nclass Model:\n    pass\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as the command line does
    yield tmp_path
    sources.use_copy(None)


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_imports_are_followed_within_packages_relative_ones_and_functions_and_nothing_runs(here):
    write(here, own="import os, torch\nimport helper.deep.one as one\ndef late():\n    from other import f\n" + MARKS)
    write(here, other=MARKS, unrelated=MARKS)
    write(here / "helper", base=MARKS, more="from helper import *\n")
    write(here / "helper" / "deep", one="from .. import base\nfrom ..more import x\nfrom . import two\n", two="")
    (here / "helper" / "__init__.py").write_text("__all__ = ['starred']\n")
    write(here / "helper", starred="")
    (here / "package").mkdir()
    reached = [source.name for source in sources.follow(["own"]).values()]
    assert sorted(reached) == [
        "helper/__init__.py", "helper/base.py", "helper/deep/one.py", "helper/deep/two.py", "helper/more.py",
        "helper/starred.py", "other.py", "own.py",
    ]  # fmt: skip
    assert not list(here.rglob("*.ran"))


def test_a_name_in_quotes_is_followed_and_a_computed_one_is_refused_with_what_to_do(here):
    write(here, own="import importlib\nm = importlib.import_module('one')\n" + MARKS)
    write(here, one="__import__('pack.two')\n")
    write(here / "pack", two="from importlib import import_module\nimport_module('.three', __package__)\n", three="")
    assert sorted(sources.follow(["own"])) == ["one", "own", "pack.three", "pack.two"]
    assert resolve_target("own.Model", "model").__module__ == "own"
    write(here, lone="")
    write(here / "pack", other="")
    for name in ("lone", "pack.other"):
        write(here, computed=f"import importlib, pack.two\nimportlib.import_module(''.join(['{name}']))\n" + MARKS)
        (here / "computed.ran").unlink(missing_ok=True)
        with pytest.raises(
            UserError,
            match=rf"No module named '{name}' in computed.py, line 2; import your own modules by statements",
        ):
            resolve_target("computed.Model", "model")


def test_an_import_within_a_function_works_after_another_target_was_resolved(here):
    write(here, own="class Model:\n    def late(self):\n        import helper\n        return helper.VALUE\n")
    write(here, helper="VALUE = 1\n", other=MARKS)
    model = resolve_target("own.Model", "model")
    resolve_target("other.Model", "optimizer")
    assert model().late() == 1


def test_files_that_a_module_names_and_may_read_from_its_folder_are_found(here):
    text = "from pathlib import Path\nfrom os.path import join\nHERE = Path({place}).parent\n"
    text += "HERE / 'a.json'; HERE / 'deep' / 'b.txt'; join(HERE, 'deep', 'c.txt'); HERE.parent / 'top.txt'\n"
    text += "HERE / '..' / '..' / 'outside'; HERE / 'missing.txt'; HERE / 'deep'; '/etc/hostname'; x = '\\0'\n"
    for name in ("pack/a.json", "pack/deep/b.txt", "pack/deep/c.txt", "top.txt", "pack/unnamed.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    write(here / "pack", own=text.format(place="__file__"), without=text.format(place="'.'"))
    files = sources.files_beside(sources.find("pack.own"))
    assert sorted(files) == ["pack/a.json", "pack/deep/b.txt", "pack/deep/c.txt", "top.txt"]
    assert all(path == here / name for name, path in files.items())
    assert not sources.files_beside(sources.find("pack.without")), "it does not ask where it lies"
    (here / "code").mkdir()
    sources.use_copy(here / "code")
    with pytest.raises(FileNotFoundError) as error:
        (here / "code" / "vocabulary.json").read_text()
    assert "name stands in quotes" in sources.about(error.value)
    assert not sources.about(FileNotFoundError(2, "No such file", "/elsewhere")) and not sources.about(OSError())


def test_a_module_is_taken_from_where_it_is_meant_whatever_else_has_that_name(here, monkeypatch):
    write(here / "first", own="from beside import VALUE\nclass Model:\n    value = VALUE\n", beside="VALUE = 1\n")
    write(here / "second", own="from beside import VALUE\nclass Model:\n    value = VALUE\n", beside="VALUE = 2\n")
    for number, folder in ((1, "first"), (2, "second"), (1, "first")):
        sources.use_copy(here / folder)
        assert resolve_target("own.Model", "model").value == number
    sources.use_copy(None)
    monkeypatch.chdir(here / "second")
    assert resolve_target("own.Model", "model").value == 2


def test_what_python_has_cached_of_a_copy_is_not_run(here):
    write(here / "code", own="class Model:\n    value = 1\n")
    other = here / "evil.py"
    other.write_text("class Model:\n    value = 2\n")
    import os
    import py_compile
    from importlib.util import cache_from_source

    path = here / "code" / "own.py"
    os.utime(other, (path.stat().st_mtime, path.stat().st_mtime))
    py_compile.compile(str(other), cache_from_source(str(path)))
    sources.use_copy(here / "code")
    assert resolve_target("own.Model", "model").value == 1


def test_nothing_below_an_outputs_folder_is_the_user_s_own(here, monkeypatch):
    run = here / "outputs" / "runs" / "stranger-0000000000"
    write(run, evil=MARKS)
    elsewhere = here / "elsewhere" / "stranger"
    write(elsewhere, evil=MARKS)
    (elsewhere / "run.json").touch()
    (elsewhere / "config.yaml").touch()
    (here / "linked").symlink_to(run)
    (here / "evil_link.py").symlink_to(run / "evil.py")
    targets = ["outputs.runs.stranger-0000000000.evil", "elsewhere.stranger.evil", "linked.evil", "evil_link"]
    for target in targets:
        with pytest.raises(UserError, match="outputs folder|is a link to") as refused:
            sources.follow([target]) if target != "linked.evil" else resolve_target("linked.evil.Model", "model")
        assert "\n" not in str(refused.value)
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match=r"model\._target_=evil\.Model: .*is in an outputs folder"):
        resolve_target("evil.Model", "model")
    assert not list(here.rglob("*.ran"))


def test_a_link_out_of_the_working_folder_is_refused_and_one_within_is_not(here, tmp_path_factory):
    write(here / "shared", own=MARKS)
    (here / "near.py").symlink_to(here / "shared" / "own.py")
    assert resolve_target("near.Model", "model").__module__ == "near"
    away = tmp_path_factory.mktemp("away")
    write(away, far=MARKS)
    (here / "far.py").symlink_to(away / "far.py")
    with pytest.raises(UserError, match="is a link to .*copy it there"):
        resolve_target("far.Model", "model")
    assert not (away / "far.ran").exists()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("sched.Model", r"model\._target_=sched\.Model: the name sched is taken by Python's standard library; rename"),
        ("hydra.Model", r"the name hydra is taken by an installed package \(.*\); rename .*hydra\.py"),
        ("missing.Model", r"not found; there is no module missing in "),
        ("own..Model", "not found"),
        ("../own.Model", "not found"),
        ("Model", r"expected <module>\.<class or function>"),
        ("torch.__main__.x", "not allowed"),
        ("lmlab.__main__.main", "not allowed"),
        ("lmlab.processes.server._end", "not allowed"),
    ],
)
def test_a_target_that_cannot_be_the_user_s_own_is_refused_with_the_reason(here, target, says):
    write(here, sched=MARKS, hydra=MARKS, own=MARKS)
    before = set(sys.modules)
    with pytest.raises(UserError, match=says):
        resolve_target(target, "model")
    assert not list(here.rglob("*.ran")) and "lmlab.processes.server" not in set(sys.modules) - before


def test_a_file_that_is_no_source_is_refused_with_its_line(here):
    write(here, own="x = 1\ndef (:\n")
    with pytest.raises(UserError, match=r"own\.py:2: is no Python source"):
        resolve_target("own.Model", "model")
