"""One line about overrides that cannot be composed, with what would have been right."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import hydra
from hydra.errors import CompactHydraException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands import options
from lmlab.commands.options import LIST, SEVERAL
from lmlab.config import CONF
from lmlab.errors import UserError, nearest
from lmlab.other_words import in_our_words
from lmlab.overrides import option_of
from lmlab.references import explained
from lmlab.short_names import BASE, long_name, short_name

SHOWN = 6
"""Options of a group that are named where an option comes with them."""

LISTED = 60
"""Options of a group that are listed where none is near."""


NAMED_BY = {
    **dict.fromkeys(("evaluate", "generate", "reproduce", "wandb"), "run"),
    **dict.fromkeys(("runs", "report"), "runs"),
    "clean": "what",
    "sweep": "name",
    "study": "experiment",
}
"""The option of a command that a word without ``=`` is probably the value of."""


def check_words(command: str, words: Sequence[str]) -> None:
    """Refuse words of a command line that are neither a flag of Hydra's nor an override.

    Raises:
        UserError: it names the word, and lmlab's own for it.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        if unknown := re.match(r"unrecognized arguments:.*?(-+([^\s=]+))", message):
            ours = in_our_words(unknown[2])
            raise UserError(f"{unknown[1]}: no such flag (options are given as option=value){ours}")
        raise UserError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign,assignment]
    for word in parser.parse_args(words).overrides:
        if "=" not in word and not word.startswith("~"):
            example = f", as in {NAMED_BY[command]}={word}" if command in NAMED_BY else ""
            raise UserError(f"{word}: cannot be read; expected option=value{example}")


def checked_choices(words: Iterable[str]) -> list[str]:
    """Return the words of a command line if those that choose an option can: of several Hydra would mix one.

    Left out are those that choose none where none is chosen anyway: null, or ``None`` as ``wandb agent`` writes it.

    Raises:
        UserError: it names the word.
    """
    checked, groups = [], options.groups()
    for word in words:
        group, _, value = word.partition("=")
        if group in options.MAY_BE_NULL and value in ("null", "None"):
            continue
        checked.append(word)
        if not value or group not in groups:
            continue
        if value.startswith("[") and group != LIST:
            beside = f"; {group}+=<option> adds one" if group in SEVERAL else ""
            raise UserError(
                f"{word}: expected one option (-m {group}={value.strip('[]')} makes a sweep of several{beside})"
            )
        if re.fullmatch(r"(?i)null|none|[-+.\d]+", value) or (group, value) == BASE:
            empty = f"; {group}=[] for none" if group == LIST else ""
            if value not in options.options_of(group):
                raise UserError(f"{word}: no such option{nearest(value, options.options_of(group), LISTED)}{empty}")
    return checked


def _unknown_key(error: Exception) -> str | None:
    """The option that a configuration was found not to have."""
    text = str(error)
    unknown = re.search(r"Could not (?:override|append)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    return short_name(unknown[1].partition("@")[0]) if unknown else None


def explain(error: Exception, command: str, words: Sequence[str]) -> str:
    """Say in one line what is wrong with overrides, with the nearest thing that would have been right.

    Args:
        error: what Hydra or OmegaConf raised when it composed ``conf/<command>.yaml`` with them.
        words: the overrides.
    """
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        name = str(error.missing_cfg_file)
        folders = map(long_name, options.groups())
        folder = max((one for one in folders if name.startswith(f"{one}/")), key=len, default=name)
        group, option = short_name(folder), name[len(folder) + 1 :]
        file = re.match(r"In '(.+?)': Could not load", str(error))
        path = options.file_of(*file[1].rpartition("/")[::2]) if file else options.chosen_by(group, option)
        where = "" if path is None or f"{group}={option}" in words else f"{path}: defaults: "
        return f"{where}{group}={option}: no such option{nearest(option, options.options_of(group), LISTED)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read; expected option=value"
    text = str(error)
    if several := re.match(r"Ambiguous value for argument '(.*?)'\n", text):
        if zipped := next((word for word in words if word.startswith("sweep.zip=")), None):
            return f"{zipped}: pairs the values of a sweep, which needs -m"
        # Hydra also comes to this where sweep= would have asked for a sweep, but something else is wrong.
        wrong = _wrong_otherwise(command, words)
        key, _, values = several[1].partition("=")
        return (
            wrong or f"{several[1]}: several values need -m, which makes a sweep (a list is written {key}=[{values}])"
        )
    if (unknown := _unknown_key(error)) is not None:
        return f"{unknown}: no such option{hint(unknown, command, words)}"
    if isinstance(error, OmegaConfBaseException):
        return explained(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cause = error.__cause__
    if isinstance(error, CompactHydraException) and isinstance(cause, OmegaConfBaseException):
        lines.append(explained(cause))
    return " ".join(lines)


def hint(key: str, command: str, words: Sequence[str]) -> str:
    """Say what ``key``, which is no option of ``command``, should have been: text to be appended to a message.

    That is the choices that have it, the option with the same last part, what lmlab calls the word of another library,
    or the nearest option.

    Args:
        words: the other overrides, which decide which options there are.
    """
    keys = [option for option in _keys_with(command, words, without=key) if not _is_special(option)]
    if key in options.PARTS_OF_MODEL and "model" in keys:
        model = next((word for word in words if option_of(word) == "model"), "this model")
        return f" ({model} has none; model=custom does)"
    trains = command in ("train", "study")  # and has all groups
    group, _, rest = key.partition(".")
    if (trains or group in keys) and (choices := only_with(key)):
        return choices
    if rest in ("name", "type", "class") and group in options.groups() and group in keys:
        return f" (an option of a group is chosen as {group}=...)"
    return hint_among(key, keys) or f" (lmlab {command} --help lists them)"


def hint_among(key: str, keys: Iterable[str]) -> str:
    """Say which of the options ``keys`` ``key`` should have been: text to be appended to a message, or none."""
    keys = [option for option in keys if option != key]
    same_end = [known for known in keys if _end(known) == _end(key)]
    if same_end:
        return f" (did you mean '{min(same_end, key=lambda known: known.count('.'))}'?)"
    return in_our_words(key, keys) or nearest(key, keys)


def only_with(key: str) -> str:
    """Return `` (only with data=text)`` for the choices that come with an option; empty: none does."""
    having = options.having(key)
    return f" (only with {' or '.join(_choice(group, names) for group, names in having.items())})" if having else ""


def _choice(group: str, names: Sequence[str]) -> str:
    """The options of a group as its choice, the first of them where there are many."""
    if group == LIST:
        return f"{group}=[{','.join(names)}]"
    return f"{group}={', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")


def _is_special(key: str) -> bool:
    """Return whether an option is one of Hydra's own, like ``_target_``."""
    return _end(key).startswith("_")


def _end(key: str) -> str:
    return key.rpartition(".")[2].lower()


def _wrong_otherwise(command: str, words: Sequence[str]) -> str | None:
    """Return what is wrong with the overrides apart from having several values."""
    try:
        _compose(command, [word for word in _overrides(words) if "," not in word])
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error, command, words)
    return None


def _keys_with(command: str, words: Sequence[str], without: str) -> list[str]:
    """The options that ``command`` has with the overrides that can be composed."""
    others = [word for word in _overrides(words) if option_of(word) != without]
    first = [word if re.search(r"[\[({'\"]", word) else word.partition(",")[0] for word in others]
    choices = [word for word in first if word.partition("=")[0] in options.groups()]
    for attempt in (first, choices, []):
        try:
            composed = _compose(command, attempt)
        except (HydraException, OmegaConfBaseException, UserError):
            continue
        launcher = _keys(composed.hydra.launcher, "hydra.launcher.")
        del composed.hydra
        return [*_keys(composed), *launcher]
    return []


def _overrides(words: Sequence[str]) -> list[str]:
    return [word for word in words if "=" in word and not word.startswith("-")]


def _compose(command: str, words: list[str]) -> Any:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(command, words, return_hydra_config=True)


def _keys(node: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in node:
        path = prefix + str(key)
        keys.append(path)
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_interpolation():
            keys += _keys(child, f"{path}.")
    return keys
