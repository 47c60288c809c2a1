"""Conversion of typed overrides, ``option=value``, to Hydra's grammar, and of values to text.

Hydra's grammar rejects ``~``, ``#``, ``é`` and a second ``=``, and reads 12e5 as a number and ``a, b`` as two values.
An option of type text accepts any value as typed. The conversion is idempotent.
"""

import re
import shlex
from functools import cache
from typing import Any

from lmlab.config.references import LITERAL, TEXTS, escaped, kinds_in, kinds_of, refers
from lmlab.config.short_names import shortened
from lmlab.errors import UserError

_WORD = re.compile(r"(?P<key>\+{0,2}[^=\s]*?)(?P<addition>\+?) ?=(?P<value>.*)", re.DOTALL)
_NO_TEXT = r"[+-]?(?:[\d_]*\.?[\d_]*(?:e[+-]?[\d_]+)?|inf|nan)|true|false|null"
_SAFE = re.compile(rf"(?!(?:{_NO_TEXT})\Z)[\w./-]+", re.IGNORECASE | re.ASCII)
"""A text that needs no quotes in Hydra's grammar."""
_OF_STAGE = re.compile(r"\+{0,2}stages\.(?P<stage>\w+)\.(?P<option>[a-zA-Z][\w./]*)")
STAGE_OPTIONS, STAGE_VALUE = "_changed_", "_value_"
"""Keys below ``stages``: of the options that were set for single stages, and of their values."""
_OF_HYDRA = re.compile(r"(choice|shuffle|sort|glob|range|interval|tag|str|int|float|bool)\(.*\)", re.DOTALL)
_OF_TEMPLATE = re.compile(r"data\.(parts\.\w+\.)?template\.\w+|turn")
_WITH_LINE_END = re.compile(r"(?<!\\)\\n")
_QUOTED = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""", re.DOTALL)


def read(word: str, several: bool = False) -> str:
    """Return an override in Hydra's grammar.

    Args:
        several: unquoted commas separate the values of a sweep.

    Raises:
        UserError: it cannot be read or is ambiguous; the message shows valid forms.
    """
    word = shortened(word)
    if word.startswith("~"):
        return word
    match = _WORD.fullmatch(word)
    if match and _OF_TEMPLATE.fullmatch(match["key"].lstrip("+")):
        with_line_ends = _WITH_LINE_END.sub("\n", word)  # as in YAML
        if with_line_ends != word and _is_readable(with_line_ends):
            return with_line_ends
    if match and (stage := _OF_STAGE.fullmatch(match["key"])) and stage["stage"] != STAGE_OPTIONS:
        return _read_of_stage(word, stage["stage"], stage["option"], bool(match["addition"]), match["value"], several)
    if match is None or not match["key"].lstrip("+") or not _is_readable(f"{match['key']}=1"):
        raise UserError(f"{word}: cannot be read; expected option=value")
    if match["addition"]:
        return _read_addition(word, match["key"].lstrip("+"), match["value"], several)
    key, value = match["key"], match["value"]
    option = key.lstrip("+").partition("@")[0]
    hint = TEXTS.get(option)
    if hint is None and (_SAFE.fullmatch(value) or _is_readable(word)):
        return word
    if several and _OF_HYDRA.fullmatch(value) and _is_readable(word):
        return word
    kinds = {str, list} if hint is None else {str, list} & set(kinds_in(hint))
    literal = option in LITERAL
    optional = hint is None or type(None) in kinds_in(hint)
    body = value.strip()

    def one(text: str, optional: bool = optional) -> str:
        if hint is not None and float in kinds_in(hint) and re.fullmatch(_NO_TEXT, text.strip(), re.IGNORECASE):
            return text
        return _one(text, literal, optional, hint is None)

    if list in kinds and body.startswith("[") and body.endswith("]") and not _of_lists(body):
        elements = [one(part.strip(), hint is None) for part in _split(body[1:-1])]
        return f"{key}=[{','.join(elements)}]"
    if option in ("data.paths", "data.files") and re.fullmatch(r"\{.*\}", body, re.DOTALL):  # files by split
        pairs = [part.strip().partition(":") for part in _split(body[1:-1], brackets=True)]
        inner = (f"{split}:{read(f'{option}.{split}={paths.strip()}').partition('=')[2]}" for split, _, paths in pairs)
        return f"{key}={{{','.join(inner)}}}"
    parts = _split(value, brackets=list in kinds)
    if len(parts) <= 1 and not (hint is None and body[:1] in ("[", "{")):
        return f"{key}={one(value)}"
    if hint is None and body[:1] in ("[", "{"):
        raise UserError(f"{word}: cannot be read; expected a list like {key}=[a,b], or a text as {_typed(key, value)}")
    if option in ("runs", "what", "formats"):  # lists that need no brackets
        return f"{key}=[{','.join(one(part.strip()) for part in parts)}]" if not several else _sweep(key, parts, one)
    if several and any(re.search(r"\s", part) for part in parts if not _QUOTED.fullmatch(part)):
        choices = ",".join(_quoted(part.strip(), literal) for part in parts)
        raise UserError(
            f"{word}: with -m, a comma may separate values or be part of a text; expected {_typed(key, value)} for one "
            f"text, or {shlex.quote(f'{key}={choices}')} for {len(parts)} values"
        )
    if several:
        return _sweep(key, parts, one)
    if str in kinds and (list not in kinds or hint is None or re.search(r"\s", value)):
        return f"{key}={one(value)}"
    text = f" or {_typed(key, value)} for one text" if str in kinds else ""
    raise UserError(f"{word}: expected {key}=[{','.join(parts)}] for a list{text} (-m makes a sweep of them)")


def _read_of_stage(word: str, stage: str, option: str, addition: bool, value: str, several: bool) -> str:
    """Return ``stages.<stage>.<option>=value`` in Hydra's grammar. Raises ``UserError`` like :func:`read`.

    The overrides of a stage are a list, and Hydra cannot set an option in a list. The option is stored beside the list,
    and can have several values in a sweep like any other option.
    """
    if addition:
        listed = shlex.quote(f"stages.{stage}+=['{option}+={value}']")
        raise UserError(f"{word}: expected {listed}, which adds to the overrides of the stage")
    inner = read(f"{option}={value}", several).partition("=")[2]
    return f"++stages.{STAGE_OPTIONS}.{stage}.{option.replace('/', '$')}.{STAGE_VALUE}={inner}"


_OF_STUDY = r"study\.(?:arms|budget|direction|equal|metric|question|trials|tune)="
"""Options that an experiment's section ``study`` may leave out. Hydra only accepts options that the section has."""
_TUNED = re.compile(r"\+{0,2}study\.tune\.([\w.@/]+)=(.*)", re.DOTALL)
"""A tuned option of a study and its values. The section holds all values as one text."""


def of_study(word: str) -> str:
    """Return a word of ``lmlab study`` in Hydra's grammar; :func:`as_typed` reverses it."""
    if tuned := _TUNED.fullmatch(word):
        values = tuned[2] if tuned[2][:1] in ("'", '"') else "'" + tuned[2].replace("'", r"\'") + "'"
        return f"++study.tune={{{tuned[1]}: {values}}}"
    return f"++{word}" if re.match(_OF_STUDY, word) else word


def as_typed(text: str) -> str:
    """Return a text with options of a stage or of a study in their typed form, ``stages.tune.seed``."""
    if "++study." in text:
        tuned = r"\+\+study\.tune=\{([\w.@/]+): '((?:[^'\\]|\\.)*)'\}"
        text = re.sub(tuned, lambda match: f"study.tune.{match[1]}={match[2]}".replace(r"\'", "'"), text)
        text = re.sub(rf"\+\+({_OF_STUDY})", r"\1", text)
    if STAGE_OPTIONS not in text:
        return text
    pattern = rf"\+*stages\.{STAGE_OPTIONS}\.(\w+)\.([\w.$]+?)\.{STAGE_VALUE}"
    return re.sub(pattern, lambda match: f"stages.{match[1]}.{match[2].replace('$', '/')}", text)


def option_of_run(option: str) -> str:
    """Return the option of a run for an option of a command: ``optimizer.lr`` for ``stages.tune.optimizer.lr``."""
    return match["option"] if (match := _OF_STAGE.fullmatch(option)) else option


def is_of_stage(key: str) -> bool:
    """Return whether the key of a converted override is an option of a single stage."""
    return key.strip("+").startswith(f"stages.{STAGE_OPTIONS}.")


def is_several(word: str) -> bool:
    """Return whether a converted word has several values, for the jobs of a sweep."""
    return bool(_parser().parse_overrides([plain_word(word)])[0].is_sweep_override())


def _read_addition(word: str, key: str, value: str, several: bool) -> str:
    """Return ``key+=value`` with the value in Hydra's grammar. Raises ``UserError``."""
    if not value.strip():
        raise UserError(f"{word}: expected a value to add")
    kinds = kinds_of(key)
    if kinds and list not in kinds:
        raise UserError(f"{word}: {key} is a text, not a list ({key}={value} sets it)")
    if not several and kinds and not value.strip().startswith("[") and len(parts := _split(value)) > 1:
        raise UserError(f"{word}: expected {key}+=[{','.join(parts)}] for several values (-m makes a sweep of them)")
    return f"{key}+={read(f'{key}={value}', several).partition('=')[2]}"


def is_addition(word: str) -> bool:
    """Return whether a converted word adds to a list or a group: ``tags+=x``."""
    return word.partition("=")[0].endswith("+")


def plain_word(word: str) -> str:
    """Return ``tags=x`` for ``tags+=x``; other words unchanged."""
    key, equals, value = word.partition("=")
    return f"{key.rstrip('+')}{equals}{value}"


def option_of(word: str) -> str:
    """Return the option of a word without marks: ``a.b`` for ``+a.b=2`` and for ``a.b+=2``."""
    return as_typed(word.partition("=")[0]).strip("+~").partition("@")[0]


def written(value: Any) -> str:
    """Return a value in the form of a command line, with all digits; for a section, the name of its target."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if value != value or float(short) == value else repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_element(one) for one in value)}]"
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_element(one)}" for key, one in value.items()) + "}"
    return str(value)


def _one(text: str, literal: bool, optional: bool, anything: bool) -> str:
    """Return a single value in Hydra's grammar."""
    if text.strip().lower() == "null" and optional:
        return "null"
    if _QUOTED.fullmatch(text) and _is_readable(f"x={text}"):
        return escaped(text) if literal else text
    if _SAFE.fullmatch(text) or (anything and text and _is_readable(f"x={text}")):
        return text
    return _quoted(text, literal)


def _quoted(text: str, literal: bool = True) -> str:
    """Return a text in Hydra's quotes; unless it is ``literal``, references to other options are kept."""
    if literal or not refers(text):
        text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", text)
    quote = "'" if '"' in text and "'" not in text else '"'
    pattern = rf"(\\*)({quote}|\Z)"  # a backslash is literal except before a quote
    return quote + re.sub(pattern, lambda match: match[1] * 2 + ("\\" + quote if match[2] else ""), text) + quote


def _typed(key: str, text: str) -> str:
    """Return a text option and its value, quoted for Hydra and for a shell."""
    return shlex.quote(f"{key}={_quoted(text)}")


def _element(value: Any) -> str:
    """Return an element of a list in Hydra's grammar."""
    if isinstance(value, str) and not _SAFE.fullmatch(value):
        return _quoted(value)
    return written(value)


def _sweep(key: str, parts: list[str], one: Any) -> str:
    """Return an option with several values, for a sweep; values may be lists."""
    return f"{key}=" + ",".join(
        read(f"{key}={part}").partition("=")[2] if part.startswith("[") else one(part) for part in parts
    )


def _of_lists(body: str) -> bool:
    """Return whether a text in brackets consists of several lists: ``[a],[b]``."""
    return len(_split(body, brackets=True)) > 1


def _split(text: str, brackets: bool = False) -> list[str]:
    """Split a text at commas outside quotes and, with ``brackets``, outside brackets."""
    parts, start, depth, quote, index = [], 0, 0, "", 0
    while index < len(text):
        sign = text[index]
        if quote:
            if sign == "\\":
                index += 1
            elif sign == quote:
                quote = ""
        elif sign in "'\"" and not text[start:index].strip():
            end = _QUOTED.match(text, index)
            if end is not None and text[end.end() : end.end() + 1] in ("", ",", "]"):
                quote = sign  # an apostrophe within a word is not a quote
        elif brackets and sign in "[]":
            depth = max(0, depth + (1 if sign == "[" else -1))
        elif sign == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    return [*parts, text[start:]] if text.strip() else []


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _is_readable(word: str) -> bool:
    from hydra.errors import HydraException

    try:
        _parser().parse_overrides([word])
    except HydraException:
        return False
    return True
