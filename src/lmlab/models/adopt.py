"""Plain modules of the user's own as parts of a model."""

from difflib import get_close_matches
from typing import TypeVar

from torch import nn

from lmlab.errors import UserError

Kind = TypeVar("Kind", bound=nn.Module)


def adopt(part: nn.Module, kind: type[Kind], option: str) -> Kind:
    """Return a module, changed in place, with the methods of ``kind`` that it does not define itself.

    Args:
        option: names the part in messages.

    Raises:
        UserError: a method of the user's own class is called almost as one of ``kind`` that it lacks.
    """
    own = type(part)
    if not own.__module__.startswith(("lmlab.", "torch.")):
        _check_names(own, kind, option)
    if not isinstance(part, kind):
        part.__class__ = type(own.__name__, (own, kind), {"__module__": own.__module__, "__doc__": own.__doc__})
    assert isinstance(part, kind)
    return part


def _check_names(own: type, kind: type, option: str) -> None:
    """Refuse a method that would have no effect because its name is misspelt. Raises ``UserError``."""
    expected = {name for name in vars(kind) if not name.startswith("_")}
    names = {name for base in own.__mro__ if base is not kind and base is not nn.Module for name in vars(base)}
    for name in sorted(names - expected - set(dir(nn.Module))):
        if (near := get_close_matches(name, expected - names, 1, 0.85)) and not name.startswith("_"):
            raise UserError(f"{option}: {own.__name__}.{name}: did you mean {near[0]}?")
