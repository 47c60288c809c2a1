"""The parts of a W&B run that need neither a server nor training."""

import wandb

from lmlab.wandb.mirror import installed_packages


def test_installed_packages_are_those_that_wandb_itself_lists(tmp_path, monkeypatch):
    for folder, file, text in (
        ("one-1.dist-info", "METADATA", "Metadata-Version: 2.1\nName: One\nVersion: 1\n\nName: of the description\n"),
        ("two-2.egg-info", "PKG-INFO", "Name: two\nSummary: x\nVersion: 2\n"),
        ("none-3.dist-info", "METADATA", "Metadata-Version: 2.1\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = [package for package in wandb.util.working_set() if package.key]
    packages = list(installed_packages())
    assert packages == expected and len(packages) > 50
    assert {("One", "1"), ("two", "2")} <= {(package.key, package.version) for package in packages}
