"""Hydra plugins: lmlab's sweepers, launcher and folders of options. This module imports nothing heavy.

Hydra looks for plugins only in the package ``hydra_plugins``. It imports them before it composes anything, so the
functions that configurations call are registered here too.
"""

import copy
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import GrammarParseError
from yaml import MarkedYAMLError, YAMLError

from lmlab.config import appending, comments, short_names
from lmlab.config.canonical import CONF
from lmlab.config.options import default_name
from lmlab.config.references import explained, with_literal_texts
from lmlab.errors import UserError
from lmlab.surroundings import expanded

appending.install()
short_names.install()
OmegaConf.register_new_resolver("lmlab.default_name", default_name, replace=True)
OmegaConf.register_new_resolver("lmlab.help", comments.shown, replace=True)
OmegaConf.register_new_resolver("lmlab.home", lambda path: str(expanded(path)), replace=True)
OmegaConf.register_new_resolver("lmlab.folder_of", lambda name, default: os.environ.get(name) or default, replace=True)


class LmlabLauncher(Launcher):
    """Launcher that passes the runs of a sweep to an engine; other sweepers than lmlab's can use it too.

    Args:
        engine: the class in ``lmlab.sweeps.engines``.
        options: its arguments.
    """

    def __init__(self, engine: str, **options: Any) -> None:
        self.node = {"_target_": engine, **options}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from lmlab.commands.launching import launch

        return launch(self, [list(words) for words in job_overrides], initial_job_idx)


class LmlabSweeper(Sweeper):
    """Sweeper whose jobs come from the search in the section ``sweep`` and are computed by the launcher's engine.

    Args:
        params: varied options in addition to the command line: values by override.
        retry: compute failed jobs of an earlier attempt again.
    """

    def __init__(self, params: Any = None, retry: bool = True) -> None:
        self.params, self.retry = params or {}, retry

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.commands.launching import sweep

        return sweep(self, [*(f"{key}={value}" for key, value in self.params.items()), *arguments])


class CombinationsSweeper(LmlabSweeper):
    """Sweeper that calls a command with every combination of the varied options, in this process.

    Options of the launcher, which an experiment may have for its runs, do not matter.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        self.config, self.launcher = config, BasicLauncher()
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.commands.jobs import space_of

        assert self.config is not None and self.launcher is not None  # after setup
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        space = space_of(words, self.launcher, announced=self.config.get("format") != "json")
        folder = Path(self.config.hydra.sweep.dir)
        try:
            return self.launcher.launch(list(space.combinations()), initial_job_idx=0)
        finally:
            if folder.is_dir() and not any(folder.iterdir()):  # Hydra creates it for files that jobs do not have here
                folder.rmdir()


class StudySweeper(LmlabSweeper):
    """Sweeper of ``lmlab study``: the section ``study`` determines the jobs."""

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.commands.study import conduct

        return conduct(self, arguments)


class OptionsFolders(SearchPathPlugin):
    """Search path with lmlab's folder as an :class:`OptionsFolder`, and the folder of ``--config-dir`` before it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from lmlab.config.options import users_folder

        for place in search_path.get_path():
            if place.provider == "main" and place.path == str(CONF):
                place.path = f"{OptionsFolder.scheme()}://{CONF}"
        if (folder := users_folder()) is not None and folder.is_dir():
            path = f"{OptionsFolder.scheme()}://{folder}"
            search_path.prepend("command-line", path, SearchPathQuery(provider="main", path=None))


class OptionsFolder(FileConfigSource):
    """Folder of options, lmlab's own or a user's.

    ``override /tokenizer: byte`` in a defaults list chooses the tokenizer of the run; Hydra itself would read it in a
    file of the group ``data`` as a section ``data.tokenizer``. A user's file need not state the package that follows
    from its group. A user's folder cannot replace the configurations of the commands.
    """

    @staticmethod
    def scheme() -> str:
        return "lmlab"

    def is_config(self, config_path: str) -> bool:
        return ("/" in config_path or Path(self.path) == CONF) and super().is_config(config_path)

    def load_config(self, config_path: str) -> ConfigResult:
        from lmlab.config import options

        group, _, name = config_path.rpartition("/")
        path = Path(self.path) / f"{config_path}.yaml"
        try:
            status = path.stat()
            content, header = copy.deepcopy(_parsed(path, (status.st_mtime_ns, status.st_size)))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8 ({error.reason} at offset {error.start})") from error
        except (YAMLError, ValueError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
                reason = f"line {error.problem_mark.line + 1}: {error.problem}"
            raise UserError(f"{path}: is no YAML ({reason})") from error
        options.check_content(path, content)
        options.note_use(path, group, name)
        header["package"] = options.package(path, group, header["package"])
        package = header["package"] or group.replace("/", ".")
        content = with_literal_texts(content or {}, "" if package == "_global_" else package)
        if content.get("defaults"):
            content["defaults"] = options.with_overrides(path, group, name, content["defaults"])
        try:
            config = OmegaConf.create(content)
        except GrammarParseError as error:
            raise UserError(f"{path}: {explained(error)}") from error
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header=header)


@functools.cache
def _parsed(path: Path, changed: tuple[int, int]) -> tuple[Any, dict[str, Any]]:
    """Return the content and the header of a file, parsed once in a process as long as the file stays as it is.

    Args:
        changed: the time of its last change, in ns, and its size, in bytes.
    """
    text = path.read_text(encoding="utf-8")
    return yaml.load(text, Loader=get_yaml_loader()), FileConfigSource._get_header_dict(text[:512])
