"""One-line messages for overrides that cannot be composed, with the nearest valid choice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import CompactHydraException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.config import options
from lmlab.config.canonical import CONF
from lmlab.config.options import LIST, SEVERAL
from lmlab.config.other_words import in_our_words
from lmlab.config.overrides import is_of_stage, option_of
from lmlab.config.references import explained
from lmlab.config.short_names import BASE, long_name, short_name
from lmlab.errors import UserError, nearest

SHOWN = 6
"""The largest number of options of a group that a message names as those that have an option."""

LISTED = 60
"""The largest number of options of a group that a message lists if none is near."""


NAMED_BY = {
    **dict.fromkeys(("evaluate", "generate", "reproduce", "wandb"), "run"),
    **dict.fromkeys(("runs", "report"), "runs"),
    "clean": "what",
    "sweep": "name",
    "study": "experiment",
}
"""The option whose value a word without ``=`` probably is, by command."""


def check_words(command: str, words: Sequence[str]) -> None:
    """Refuse words of a command line that are neither a flag of Hydra nor an override.

    Raises:
        UserError: the message names the word, and lmlab's option for it.
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


def check_output(words: Sequence[str]) -> None:
    """Refuse an ``output`` that several jobs of a sweep would write, each replacing the one before.

    Raises:
        UserError: two jobs have the same ``output``, with references to options that vary replaced by their values.
    """
    if not any(word.startswith("output=") for word in words):
        return
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        overrides = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
    except HydraException:
        return  # Hydra refuses these words
    files = [_output_of(dict(word.split("=", 1) for word in job)) for job in jobs]
    if (shared := next((file for file in files if files.count(file) > 1), None)) is not None:
        varied = [word.key_or_group for word in overrides if word.is_sweep_override() and word.key_or_group != "output"]
        name = "-".join(f"${{{key}}}" for key in varied)
        raise UserError(
            f"output={shared}: {files.count(shared)} jobs would write it, each over the one before; name another for "
            f"each job, as in output='{name}{Path(shared).suffix}'"
        )


def _output_of(options: Mapping[str, str]) -> str:
    return re.sub(r"\$\{([^{}]+)\}", lambda name: options.get(name[1], name[0]), options["output"].strip("'\""))


def checked_choices(words: Iterable[str]) -> list[str]:
    """Return the words of a command line after checking those that choose an option.

    Several options of a group are refused, because Hydra would merge them into one. Words that choose no option of a
    group without a default are dropped: null, or ``None`` as ``wandb agent`` writes it.

    Raises:
        UserError: the message names the word.
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
    """Return the option that a configuration lacks, from an error of Hydra; ``None`` for other errors."""
    text = str(error)
    unknown = re.search(r"Could not (?:override|append)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    return short_name(unknown[1].partition("@")[0]) if unknown else None


def explain(error: Exception, command: str, words: Sequence[str]) -> str:
    """Return a one-line message for overrides that cannot be composed, with the nearest valid choice.

    Args:
        error: the exception of Hydra or OmegaConf on composing ``conf/<command>.yaml`` with the overrides.
        words: the overrides.
    """
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        name = str(error.missing_cfg_file)
        folders = map(long_name, options.groups())
        folder = max((one for one in folders if name.startswith(f"{one}/")), key=len, default=name)
        group, option = short_name(folder), name[len(folder) + 1 :]
        file = re.match(r"In '(.+?)': Could not load", str(error))
        path = options.file_of(*file[1].rpartition("/")[::2]) if file else options.file_choosing(group, option)
        where = "" if path is None or f"{group}={option}" in words else f"{path}: defaults: "
        return f"{where}{group}={option}: no such option{nearest(option, options.options_of(group), LISTED)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read; expected option=value"
    text = str(error)
    if several := re.match(r"Ambiguous value for argument '(.*?)'\n", text):
        if zipped := next((word for word in words if word.startswith("sweep.zip=")), None):
            return f"{zipped}: pairs the values of a sweep, which needs -m"
        # Hydra also reports this error if sweep= asks for a sweep but another override is wrong.
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
    """Return a suggestion for ``key``, which is no option of ``command``, as text to be appended to a message.

    It names the choices that have the option, an option with the same last part, lmlab's option for the name in another
    library, or the nearest option.

    Args:
        words: the other overrides, which determine the existing options.
    """
    keys = [option for option in _keys_with(command, words, without=key) if not _is_special(option)]
    if key in options.PARTS_OF_MODEL and "model" in keys:
        model = next((word for word in words if option_of(word) == "model"), "this model")
        return f" ({model} has none; model=custom does)"
    trains = command in ("train", "study")  # these commands have all groups
    group, _, rest = key.partition(".")
    if (trains or group in keys) and (choices := only_with(key)):
        return choices
    if rest in ("name", "type", "class") and group in options.groups() and group in keys:
        return f" (an option of a group is chosen as {group}=...)"
    return hint_among(key, keys) or f" (lmlab {command} --help lists them)"


def hint_among(key: str, keys: Iterable[str]) -> str:
    """Return a suggestion for ``key`` among the options ``keys``, as text to be appended to a message; may be empty."""
    keys = [option for option in keys if option != key]
    same_end = [option for option in keys if _end(option) == _end(key)]
    if same_end:
        return f" (did you mean '{min(same_end, key=lambda option: option.count('.'))}'?)"
    return in_our_words(key, keys) or nearest(key, keys)


def only_with(key: str) -> str:
    """Return `` (only with data=text)`` for the choices that have an option; empty if none has it."""
    having = options.having(key)
    return f" (only with {' or '.join(_choice(group, names) for group, names in having.items())})" if having else ""


def _choice(group: str, names: Sequence[str]) -> str:
    """Return the options of a group in the form of an override; of many, only the first."""
    if group == LIST:
        return f"{group}=[{','.join(names)}]"
    return f"{group}={', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")


def _is_special(key: str) -> bool:
    """Return whether an option is one of Hydra's own, like ``_target_``, or set for a single stage."""
    return _end(key).startswith("_") or is_of_stage(key)


def _end(key: str) -> str:
    return key.rpartition(".")[2].lower()


def _wrong_otherwise(command: str, words: Sequence[str]) -> str | None:
    """Return a message for an error in overrides other than having several values; ``None`` if there is none."""
    try:
        _compose(command, [word for word in _overrides(words) if "," not in word])
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error, command, words)
    return None


def _keys_with(command: str, words: Sequence[str], without: str) -> list[str]:
    """Return the options of ``command``, composed with as many of the overrides as possible."""
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
