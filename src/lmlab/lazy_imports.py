"""Lazy imports of packages that other libraries import without using them; they are loaded on first use.

Importing torchmetrics imports matplotlib, scipy and transformers if they are installed. Lightning and every optimizer
of torch import torch's compiler. Together that takes longer than importing torch. torch itself imports torch.export,
and on the meta device sympy, even for sizes that are plain numbers. wandb imports its client of the server's API for
every run, although a run does not use it.
"""

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
EXPORT = "torch.export"
SIZES = "torch.fx.experimental.symbolic_shapes"
ALGEBRA = "sympy"
SERVER_API = "wandb.apis.public"
METRICS = "torchmetrics"
EXTRAS = ("matplotlib", "scipy", "transformers")
"""Packages that ``METRICS`` imports for single metrics."""


_forgetting = threading.Lock()
_used: set[str] = set()
"""Packages that have been used; their real modules are imported from then on."""


def postpone() -> None:
    """Postpone ``PARTS`` until they are used, and ``EXTRAS`` while ``METRICS`` is imported.

    Call it before torch is imported. Modules that are imported already are not replaced.
    """
    for finder in (_PartsFinder(), _MetricsFinder()):
        if not any(type(finder) is type(other) for other in sys.meta_path):
            sys.meta_path.insert(0, finder)


class _PartsFinder:
    """Finder of stand-ins for ``PARTS``; it finds the real module once a part is used."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        part = _part_of(name)
        if part is None or part in _used:
            return None
        if name != part:
            _load(part)
            return None
        real = PathFinder.find_spec(name, path)
        if real is None:
            return None
        spec = _spec(name, _StandInLoader(PARTS[part]))
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


class _Part(ModuleType):
    """Stand-in for an unused part. Access to any attribute loads the real module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(_load(self.__name__), name)


class _Compiler(_Part):
    """Stand-in for torch's compiler with the functions that uncompiled code calls. All else loads the real module."""

    @staticmethod
    def disable(function: Any = None, *_: Any, **__: Any) -> Any:
        """Return ``function`` unchanged: it need not be excluded while nothing is compiled."""
        return (lambda decorated: decorated) if function is None else function

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Do nothing: there is no compiled graph to split."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.OptimizedModule = Later(name, attrgetter("OptimizedModule"))


class _Sizes(_Part):
    """Stand-in for the functions on symbolic sizes, for plain numbers. All else loads the real module."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        for question, answer in _ANSWERS.items():
            setattr(self, question, functools.partial(_ask, question, answer))


_ANSWERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("guard_or_false", "guard_or_true", "guard_size_oblivious"), lambda value: value),
    **dict.fromkeys(("statically_known_true", "expect_true", "guarding_hint_or_throw"), lambda value: value),
    "has_guarding_hint": lambda value: True,
    "is_nested_int": lambda value: False,
    "sym_and": lambda *values: all(values),
    "sym_or": lambda *values: any(values),
    "sym_eq": lambda one, other: list(one) == list(other) if isinstance(one, (list, tuple)) else one == other,
}
"""Functions of the real module by name, for arguments that are plain numbers or conditions."""


def _ask(question: str, answer: Callable[..., Any], *values: Any) -> Any:
    for value in values:
        if not isinstance(value, int) and not _are_numbers(value):
            return getattr(_load(SIZES), question)(*values)
    return answer(*values)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(value, int) for value in values)


class _Algebra(_Part):
    """Stand-in for sympy; torch tests whether a number is an instance of ``sympy.Basic``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.Basic = Later(name, attrgetter("Basic"))


PARTS: dict[str, type[_Part]] = {
    COMPILER: _Compiler,
    EXPORT: _Part,
    SIZES: _Sizes,
    ALGEBRA: _Algebra,
    SERVER_API: _Part,
}
"""Modules of torch and wandb, and packages that these use, with the classes of their stand-ins."""


def _part_of(name: str) -> str | None:
    """Return the one of ``PARTS`` that a module is or belongs to; ``None`` for other modules."""
    return next((part for part in PARTS if f"{name}.".startswith(f"{part}.")), None)


class _MetricsFinder:
    """Finder of ``METRICS``, and of stand-ins for ``EXTRAS`` while ``METRICS`` is imported."""

    importing = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name == METRICS and (spec := PathFinder.find_spec(name, path)) is not None and spec.loader is not None:
            return _spec(name, _MetricsLoader(spec.loader), spec)
        package = name.partition(".")[0]
        if not self.importing or package not in EXTRAS or package in _used or _is_loaded(package):
            return None
        installed = PathFinder.find_spec(package) is not None
        return _spec(name, _StandInLoader(_Package)) if installed else None


class _MetricsLoader:
    """Loader of ``METRICS`` with stand-ins for ``EXTRAS``, which are removed from ``sys.modules`` afterwards."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        _MetricsFinder.importing = True
        try:
            self.loader.exec_module(module)
        finally:
            _MetricsFinder.importing = False
            _forget(*EXTRAS)


class _Package(ModuleType):
    """Stand-in for an unused package, or a module of one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return Later(self.__name__, attrgetter(name))


class Later:
    """Attribute of a module that is loaded when the attribute is called, subscripted or derived from.

    Calls during the import of ``METRICS`` are postponed too: they create decorators. No object is an instance, and no
    class a subclass, of an attribute whose module is not loaded.

    Args:
        steps: functions that lead from the module to the attribute.
    """

    def __init__(self, module: str, *steps: Callable[[Any], Any]) -> None:
        self._module, self._steps = module, steps

    def _loaded(self) -> Any:
        value: Any = _load(self._module)
        for step in self._steps:
            value = step(value)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Later(self._module, *self._steps, attrgetter(name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _MetricsFinder.importing:
            return Later(self._module, *self._steps, lambda function: function(*args, **kwargs))
        return self._loaded()(*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._loaded()[key]

    def __or__(self, other: Any) -> Any:
        return self._loaded() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._loaded()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._loaded(),)

    def __instancecheck__(self, instance: Any) -> bool:
        return _is_loaded(self._module) and isinstance(instance, self._loaded())

    def __subclasscheck__(self, subclass: type) -> bool:
        return _is_loaded(self._module) and issubclass(subclass, self._loaded())


class _StandInLoader:
    """Loader of a stand-in: an empty module of the class ``kind``."""

    def __init__(self, kind: type[ModuleType]) -> None:
        self.kind = kind

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.kind(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _spec(name: str, loader: Any, real: ModuleSpec | None = None) -> ModuleSpec:
    """Return the specification of a package that ``loader`` loads; other fields come from ``real``."""
    spec = real or ModuleSpec(name, None, is_package=True)
    spec.loader = loader
    return spec


def _is_loaded(name: str) -> bool:
    return name in sys.modules and not isinstance(sys.modules[name], (_Part, _Package))


def _load(name: str) -> ModuleType:
    """Import and return the real module of a stand-in. Several threads may call it at once."""
    package = _part_of(name) or name.partition(".")[0]
    _used.add(package)
    _forget(package)
    return importlib.import_module(name)


def _forget(*packages: str) -> None:
    """Drop the stand-ins for packages and for their modules."""
    with _forgetting:
        for name, module in sys.modules.copy().items():
            if isinstance(module, (_Part, _Package)) and any(f"{name}.".startswith(f"{own}.") for own in packages):
                del sys.modules[name]
