"""References to other options, ``${...}``, and options whose values are texts, which are read exactly as typed."""

import os
import re
from typing import Any

LITERAL = frozenset(
    {
        "callbacks.samples.prompt",
        "data.decoding.stop",
        "input",
        "logger.wandb.notes",
        "options",
        "prompt",
        "stop",
        "study.question",
        "tag",
        "tags",
    },
)
"""Options in which ``${`` is text; elsewhere it begins a reference to another option."""

_OVERRIDES = ("study.arms.", "study.tune.", "hydra.sweeper.params.")
"""Sections of configuration files whose values are overrides, which :func:`lmlab.config.overrides.read` reads."""


def escaped(text: str) -> str:
    """Return a text with a backslash before every ``${`` that has none."""
    return re.sub(r"(?<!\\)((?:\\\\)*)\$\{", r"\1\\${", text)


def with_literal_texts(section: Any, path: str = "") -> Any:
    """Return part of a configuration file with ``${`` escaped for OmegaConf in options where it is plain text.

    Args:
        path: the dotted option of ``section``.
    """
    if isinstance(section, dict):
        return {key: with_literal_texts(value, f"{path}.{key}" if path else str(key)) for key, value in section.items()}
    if isinstance(section, list):
        return [with_literal_texts(value, path) for value in section]
    if isinstance(section, str) and (path in LITERAL or path.startswith(_OVERRIDES)):
        return escaped(section)
    return section


def refers(text: str) -> bool:
    """Return whether OmegaConf can read the references in a text."""
    from omegaconf import grammar_parser
    from omegaconf.errors import GrammarParseError

    if "${" not in text:
        return False
    try:
        grammar_parser.parse(text)
    except GrammarParseError:
        return False
    return True


def explained(error: Any) -> str:
    """Describe an error of OmegaConf in one line, with a remedy if a reference is wrong."""
    from omegaconf.errors import GrammarParseError, InterpolationKeyError, UnsupportedInterpolationType

    line = next(iter(str(error).splitlines()), "").partition("while resolving interpolation: ")
    reason = (line[2] or line[0]).strip("\"'")
    if isinstance(error, GrammarParseError):
        reason = "${ begins a reference to another option, which cannot be read; \\${ stands for the characters"
    elif isinstance(error, InterpolationKeyError) and (name := re.search("'(.+)'", reason)):
        variable = f", ${{oc.env:{name[1]}}} for the variable" if name[1] in os.environ else ""
        reason = f"${{{name[1]}}}: there is no such option to refer to; \\${{ stands for the characters{variable}"
    elif isinstance(error, UnsupportedInterpolationType):
        reason = f"${{{reason.rpartition(' ')[2]}:...}}: there is no such function; \\${{ stands for the characters"
    option = re.sub(r"\[\d+\]$", "", error.full_key or "")
    return f"{option}: {reason}" if option else reason


Hint = Any

_LOCAL = tuple(f"data.{key}{split}" for key in ("paths", "files") for split in ("", ".train", ".validation", ".test"))

TEXTS: dict[str, Hint] = {
    **dict.fromkeys(
        (
            "callbacks.samples.prompt",
            "checkpoint",
            "data.right",
            "data.source",
            "data.target",
            "device.name",
            "host",
            "opening",
            "accelerator",
            "logger.wandb.project",
            "prompt",
            "sort",
            "start.checkpoint",
            "sweep.pruner",
            "sweep.sampler",
            "tokenizer.name",
            "trainer.precision",
            "turn",
        ),
        str,
    ),
    **dict.fromkeys(
        (
            "baseline",
            "data.clean.unicode",
            "data.column",
            "data.dataset",
            "data.field",
            "data.licence",
            "data.name",
            "data.revision",
            "data.subset",
            "device.reported",
            "direction",
            "execution.rendezvous",
            "input",
            "hydra.launcher.account",
            "hydra.launcher.address",
            "hydra.launcher.constraint",
            "hydra.launcher.partition",
            "hydra.launcher.qos",
            "logger.wandb.entity",
            "logger.wandb.group",
            "logger.wandb.name",
            "logger.wandb.notes",
            "metric",
            "model.path",
            "name",
            "older",
            "output",
            "prompts",
            "paths.cache",
            "paths.corpora",
            "paths.outputs",
            "paths.runs",
            "run",
            "status",
            "study.direction",
            "study.metric",
            "study.question",
            "split",
            "start.run",
            "sweep.storage",
            "sweep.study",
            "tag",
            "token",
            "tokenizer.end",
            "tokenizer.path",
            "tokenizer.pattern",
        ),
        str | None,
    ),
    **dict.fromkeys(("data.clean.languages", "data.clean.scrub", "metrics", "study.equal", "tags"), list[str]),
    **dict.fromkeys(("data.choices", "data.operations"), str | list[str]),
    "data.references": list[str] | None,
    "model.pattern": list[str] | None,
    **dict.fromkeys(("arm", "data.decoding.stop", "options", "stop"), str | list[str] | None),
    **dict.fromkeys(_LOCAL, str | list[str] | None),
    "data.train": str | list[str] | None,
    **dict.fromkeys(("data.validation", "data.test"), float | str | list[str] | None),
    **dict.fromkeys(("runs", "what"), str | list[str] | None),
    "formats": str | list[str],
}
"""Types of options whose values are texts. Listed here so that a command line is read without importing signatures."""

ONCE = frozenset(
    (
        *("arm", "formats", "logger.wandb.artifacts", "metrics", "runs", "study.equal", "tags"),
        *_LOCAL,
        *("data.train", "data.validation", "data.test"),
    )
)
"""Lists with the semantics of sets: adding an element that is present changes nothing."""


def kinds_of(option: str) -> tuple[Any, ...]:
    """Return the allowed types of an option of ``TEXTS``; empty for other options."""
    return kinds_in(TEXTS[option]) if option in TEXTS else ()


def kinds_in(hint: Hint) -> tuple[Any, ...]:
    """Return the types that a hint allows, without the types of list elements."""
    members = (hint,) if isinstance(hint, type) or hasattr(hint, "__origin__") else hint.__args__
    return tuple(getattr(member, "__origin__", member) for member in members)
