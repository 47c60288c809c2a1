"""The user's own modules: finding their folders and files, importing them, and messages about their errors.

On a command line they come from the working folder or the folder of ``--config-dir``, never from an outputs folder,
because its files may come from another user. For a saved run they come from the copy in its directory. Imports are
followed by parsing the sources; nothing is imported to find or check a module.
"""

import ast
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from lmlab.errors import UserError
from lmlab.surroundings import expanded


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the modules that a source file may import; for ``from a import b`` both ``a`` and ``a.b``.

    Raises:
        UserError: the file cannot be read or parsed.
    """
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def absolute(name: str, level: int) -> str:
        return ".".join([*(package[: len(package) - level + 1] if level else []), *([name] if name else [])])

    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and (text := _text_of_import(node)) is not None:
            name = text.lstrip(".")
            yield absolute(name, len(text) - len(name))
        elif isinstance(node, ast.ImportFrom):
            name = absolute(node.module or "", node.level)
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Assign) and path.name == "__init__.py" and _is_all(node):  # for import *
            texts = (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant))
            yield from (f"{module}.{text}" for text in texts if isinstance(text, str))


def paths_beside(path: Path) -> Iterator[str]:
    """Yield the relative paths in quotes by which a source file may read files beside it.

    A file that does not use ``__file__``, ``importlib.resources`` or ``pkgutil`` has none. The path of
    ``here / "a" / "b.json"`` and of ``join(here, "a", "b.json")`` is ``a/b.json``.

    Raises:
        UserError: the file cannot be read or parsed.
    """
    nodes = list(ast.walk(_parsed(path)))
    if not any(map(_asks_where_it_lies, nodes)):
        return
    for node in nodes:
        operands = _operands(node)
        ends = [*takewhile(_is_text, reversed(operands))][::-1]
        text = "/".join(str(end.value) for end in ends if isinstance(end, ast.Constant))
        if text and text.isprintable() and not text.startswith("/") and len(text) < 256:
            yield text


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{path}{line}: is no Python source ({getattr(error, 'msg', error)})") from error


def _text_of_import(call: ast.Call) -> str | None:
    """Return the name in quotes that ``import_module`` or ``__import__`` imports; ``None`` for any other call."""
    function = getattr(call.func, "id", getattr(call.func, "attr", None))
    names = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "name")]
    if function in ("import_module", "__import__") and names and isinstance(names[0], ast.Constant):
        return names[0].value if isinstance(names[0].value, str) else None
    return None


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def _asks_where_it_lies(node: ast.AST) -> bool:
    modules: Iterable[str] = ()
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return getattr(node, "id", None) == "__file__" or not {"importlib.resources", "pkgutil"}.isdisjoint(modules)


def _operands(node: ast.AST) -> list[ast.expr]:
    """Return the parts of a path: a single text, the operands of ``/``, or the arguments of a call."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*(_operands(node.left) or [node.left]), node.right]
    if isinstance(node, ast.Call):
        return node.args
    return [node] if isinstance(node, ast.Constant) else []


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_OTHERS = frozenset({"lmlab", "torch", "hydra_plugins", *sys.stdlib_module_names})


class Source(NamedTuple):
    """Module of the user's: its file, or the folder of a package without ``__init__.py``, below one of the roots."""

    path: Path
    root: Path

    @property
    def name(self) -> str:
        """The path below the root, with slashes."""
        return self.path.relative_to(self.root).as_posix()


_copy: Path | None = None
_reached: dict[str, tuple[Path, ...]] = {}
"""Modules and packages of targets and those that their sources import, with the roots; only they may be imported."""
_imported: dict[str, tuple[Path, ...]] = {}
"""Modules that this module has imported, with the roots at that time."""


def use_copy(folder: Path | None) -> None:
    """Import the user's modules from a run's copy from now on; ``None``: from the working folder."""
    global _copy
    _copy = folder


def copy_in_use() -> Path | None:
    """Return the run's copy that the user's modules come from; ``None`` if they come from the working folder."""
    return _copy


def roots() -> tuple[Path, ...]:
    """Return the folders that the user's modules come from, in the order in which they are searched."""
    if _copy is not None:
        return (_copy,)
    here = Path.cwd()
    below = [Path(place) for place in sys.path if place and _is_own_place(Path(place), here)]  # such as PYTHONPATH=src
    return tuple(dict.fromkeys([here, *_config_folders(), *below]))


def _is_own_place(place: Path, here: Path) -> bool:
    return place.is_absolute() and place.is_relative_to(here) and not _is_of_interpreter(place)


def _is_of_interpreter(place: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(place.parts) or place.is_relative_to(sys.prefix)


def _config_folders() -> list[Path]:
    """Return the folder of ``--config-dir``; empty if this process has no such option."""
    hydra = sys.modules.get("hydra.core.global_hydra")
    if hydra is None or not hydra.GlobalHydra.instance().is_initialized():
        return []
    entries = hydra.GlobalHydra.instance().config_loader().get_search_path().get_path()
    return [Path(entry.path.rpartition("://")[2]).absolute() for entry in entries if entry.provider == "command-line"]


def describe_roots() -> str:
    """Return the searched folders as text for messages."""
    return " or ".join(map(str, roots()))


def taken_by(module: str) -> str | None:
    """Return the owner of the top-level name of ``module`` other than the user; ``None`` if the name is free."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "Python's standard library"
    if top in _OTHERS:
        return top
    if _copy is not None:
        return None
    own = {os.path.realpath(root) for root in roots()}
    spec = PathFinder.find_spec(top, [place for place in sys.path if os.path.realpath(place) not in own])
    if spec is None or (spec.origin is None and not any(map(_is_of_interpreter, map(Path, _folders_of(spec))))):
        return None
    return f"an installed package ({spec.origin or next(iter(_folders_of(spec)))})"


def _folders_of(spec: ModuleSpec) -> list[str]:
    return list(spec.submodule_search_locations or ())


def find(module: str) -> Source | None:
    """Return the source of the user's module with this name; ``None`` if there is none."""
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", module):
        return None
    folder_alone = None
    for root in roots():
        place: Path | None = root
        for part in module.split("."):
            place = _below(place, part)
        if place is not None and place.suffix == ".py":
            return Source(place, root)
        if place is not None and folder_alone is None:
            folder_alone = Source(place, root)
    return folder_alone


def _below(place: Path | None, part: str) -> Path | None:
    """Return the file or folder that Python would import as ``part`` from a package or folder at ``place``."""
    if place is None:
        return None
    folder = place.parent if place.name == "__init__.py" else place
    for path in (folder / part / "__init__.py", folder / f"{part}.py"):
        if path.is_file():
            return path
    return folder / part if (folder / part).is_dir() else None


def follow(modules: Iterable[str]) -> dict[str, Source]:
    """Return the user's files of ``modules`` and of all modules that they import from the same folders.

    Imports within functions count, and so do names in quotes (``import_module("helper")``); computed names do not.

    Raises:
        UserError: a file cannot be read or parsed, or is in a place that is not allowed.
    """
    sources: dict[str, Source] = {}
    queue, seen = list(modules), set[str]()
    while queue:
        module = queue.pop()
        parts = module.split(".")
        for name in (".".join(parts[: count + 1]) for count in range(len(parts))):
            if name in seen:
                continue
            seen.add(name)
            source = None if taken_by(name) else find(name)
            if source is not None and source.path.suffix == ".py":
                _check_place(name, source)
                sources[name] = source
                queue += imports(name, source.path)
    return dict(sorted(sources.items()))


def files_beside(source: Source) -> dict[str, Path]:
    """Return the files that a source file names in quotes and may read, by path below the root.

    They are in its folder or in the folders above it, up to the root.
    """
    folders = [folder for folder in source.path.parents if folder.is_relative_to(source.root)]
    files: dict[str, Path] = {}
    for text in paths_beside(source.path):
        for place in (Path(os.path.normpath(folder / text)) for folder in folders):
            if place.is_relative_to(source.root) and place.is_file():
                files[place.relative_to(source.root).as_posix()] = place
    return files


def _check_place(module: str, source: Source) -> None:
    """Refuse a file behind a link that leaves its folder, or in an outputs folder."""
    place = source.path.resolve()
    if not place.is_relative_to(source.root.resolve()):
        raise UserError(f"{module}: {source.path} is a link to {place}, outside of {source.root}; copy it there")
    if _copy is None and (folder := outputs_above(place)) is not None:
        raise UserError(
            f"{module}: {place} is in an outputs folder ({folder}), whose files may come from another user; your own "
            "modules come from the working folder or --config-dir"
        )


def outputs_above(place: Path) -> Path | None:
    """Return the outputs folder, or the directory of a run or sweep, that contains ``place``; ``None`` if none does."""
    for folder in place.parents:
        if (folder / "sweep.json").is_file() or all((folder / name).is_file() for name in ("run.json", "config.yaml")):
            return folder
    here = Path.cwd().resolve()
    outputs = [expanded(os.environ.get("LMLAB_OUTPUTS") or "outputs").resolve()]
    hydra = sys.modules.get("hydra.core.hydra_config")
    if hydra is not None and hydra.HydraConfig.initialized():
        outputs.append(Path(str(hydra.HydraConfig.get().run.dir)).resolve())
    for folder in outputs:
        parts = [folder / name for name in ("runs", "sweeps", "reports", "cache")]
        for one in parts if here.is_relative_to(folder) else [folder]:
            if place.is_relative_to(one):
                return one
    return None


def is_own(module: str) -> bool:
    """Return whether a module was imported from one of the user's files."""
    return module in _imported


def load(module: str) -> ModuleType:
    """Import a module of the user's from the place that :func:`find` returns, and from no other place.

    Raises:
        UserError: see :func:`follow`.
    """
    sources, here = follow([module]), roots()
    for name in [name for name, place in _imported.items() if place != here]:
        sys.modules.pop(name, None)
        del _imported[name]
    for name in [name for name, place in _reached.items() if place != here]:
        del _reached[name]
    for name, source in sources.items():  # remove modules of the same name that were imported from other places
        loaded = sys.modules.get(name)
        if loaded is not None and name not in _imported and getattr(loaded, "__file__", None) != str(source.path):
            del sys.modules[name]
    for parts in (name.split(".") for name in [module, *sources]):
        _reached.update((".".join(parts[:count]), here) for count in range(1, len(parts) + 1))
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return importlib.import_module(module)


class _Loader(SourceFileLoader):
    """Loader that always compiles the source and ignores ``__pycache__``."""

    def path_stats(self, path: Any) -> Any:
        raise OSError


class _Finder:
    """Finder of the modules that targets and their sources import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in _reached or (source := find(name)) is None:
            return None
        if name not in _reached:  # the copy in a run's directory would not contain it
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        _imported[name] = roots()
        if source.path.suffix != ".py":
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(source.path)]
            return spec
        folders = [str(source.path.parent)] if source.path.name == "__init__.py" else None
        loader = _Loader(name, str(source.path))
        return spec_from_file_location(name, source.path, loader=loader, submodule_search_locations=folders)


def about(error: Exception) -> str:
    """Return text to be appended to an error's message: the line of the user's code, and advice.

    It is empty for errors that do not involve the user's own modules.
    """
    return _place(error) + _advice(error)


def _place(error: Exception) -> str:
    """Return `` in my_data.py, line 18``: the innermost line of the user's code in the traceback."""
    lines = [
        f" in {Path(frame.f_code.co_filename).name}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_own(str(frame.f_globals.get("__name__")))
    ]
    return lines[-1] if lines else ""


def _advice(error: Exception) -> str:
    """Return advice if a run's copy lacks a module or a file of the user's; empty for other errors."""
    copy = copy_in_use()
    if isinstance(error, ModuleNotFoundError):
        use_copy(None)
        try:
            source = find(str(error.name))
        finally:
            use_copy(copy)
        if source is not None and source.path.suffix == ".py":
            return "; import your own modules by statements, or by a name in quotes, so that a run can copy them"
        return ""
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    if name is None or copy is None or not Path(os.fsdecode(name)).absolute().is_relative_to(copy.absolute()):
        return ""
    return (
        "; a run copies a file beside your modules only if its name stands in quotes there; name it so, or pass its "
        "path as an option of yours"
    )
