"""The modules that a Python source file imports and the files that it names, found by reading it: nothing is run."""

import ast
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

from lmlab.errors import UserError


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the modules that a source file may import; of ``from a import b`` both ``a`` and ``a.b``.

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
    """Yield the relative paths in quotes by which a source file may read what lies beside it.

    There are none unless it asks where it lies, with ``__file__``, ``importlib.resources`` or ``pkgutil``. Of
    ``here / "a" / "b.json"`` and ``join(here, "a", "b.json")`` it is ``a/b.json``.

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
    """The name in quotes that a call of ``import_module`` or ``__import__`` imports; ``None`` for any other call."""
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
    """The parts that a path may be joined of: a text by itself, operands of ``/``, or the arguments of a call."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*(_operands(node.left) or [node.left]), node.right]
    if isinstance(node, ast.Call):
        return node.args
    return [node] if isinstance(node, ast.Constant) else []


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
