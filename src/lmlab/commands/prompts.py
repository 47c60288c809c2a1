"""Files of prompts, and of what commands write for them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmlab.errors import UserError, nearest
from lmlab.surroundings import expanded

KEY = "prompt"
"""The key of a record's text in a file of JSON lines."""

_EXAMPLE = f'{{"{KEY}": "Once upon a time"}}'


@dataclass(frozen=True)
class Prompt:
    """A text to be continued.

    Attributes:
        number: its place in its file, from 1 on.
        source: its option, with the line of a file, for messages.
        others: the other keys of its record.
    """

    text: str
    number: int = 1
    source: str = KEY
    others: dict[str, Any] = field(default_factory=dict)


def read_prompts(name: str) -> list[Prompt]:
    """Return the prompts in a file: one per line of ``.txt``, or one per record of ``.jsonl``; empty lines are skipped.

    Raises:
        UserError: the file does not exist, has another suffix or no prompt, or a line is wrong.
    """
    path = expanded(name)
    kinds: dict[str, Callable[..., Prompt]] = {".txt": Prompt, ".jsonl": _of_record}
    read = kinds.get(path.suffix.lower())
    if path.is_dir():
        raise UserError(f"prompts={name}: is a folder; expected a file")
    if not path.exists():
        near = nearest(path.name, (other.name for other in path.parent.glob("*") if other.suffix.lower() in kinds), 0)
        raise UserError(f"prompts={name}: there is no file {path.absolute()}{near}")
    if read is None:
        raise UserError(
            f"prompts={name}: expected a file that ends in .txt (a prompt in each line) or .jsonl (in each line a "
            f"record like {_EXAMPLE})"
        )
    lines = ((line, source) for line, source in _lines(path, name) if line.strip())
    prompts = [read(line, number, source) for number, (line, source) in enumerate(lines, 1)]
    if not prompts:
        raise UserError(f"prompts={name}: the file is empty; expected a prompt in each line")
    return prompts


def _lines(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file without line ends, each with its name in messages."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"prompts={name}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        source = f"prompts={name}, line {number}"
        try:
            yield line.removesuffix(b"\r").decode(), source
        except UnicodeDecodeError as error:
            place = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
            raise UserError(f"{source}: is not valid UTF-8 ({place})") from error


def _of_record(line: str, number: int, source: str) -> Prompt:
    try:
        record = json.loads(line)
    except ValueError as error:  # a JSONDecodeError, or a number of too many digits
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise UserError(f"{source}: is not JSON ({reason}); expected a record like {_EXAMPLE}") from error
    except RecursionError as error:
        raise UserError(f"{source}: is nested too deeply") from error
    if not isinstance(record, dict):
        raise UserError(f"{source}: expected a record like {_EXAMPLE}, got {line.strip()[:40]}")
    if KEY not in record:
        keys = f", this one has {', '.join(record)}" if record else ""
        raise UserError(f"{source}: has no key {KEY}; expected a record like {_EXAMPLE}{keys}")
    text = record.pop(KEY)
    if not isinstance(text, str):
        raise UserError(f"{source}: {KEY}={json.dumps(text)[:40]}: expected a text in quotes")
    return Prompt(text, number, source, record)


def check_keys(prompts: Sequence[Prompt], own: Sequence[str], otherwise: str = "") -> None:
    """Refuse records of prompts with keys that the output uses itself.

    Args:
        otherwise: an alternative to renaming the key, for the message.

    Raises:
        UserError: a record has such a key.
    """
    for prompt in prompts:
        if taken := [key for key in prompt.others if key in own]:
            names = ", ".join(own)
            raise UserError(
                f"{prompt.source}: the key {taken[0]} is one of the output's own ({names}); rename it{otherwise}"
            )


def output_file(
    output: str | None, prompts: str | None, endings: Sequence[str] = (".jsonl",), data: Any = None
) -> Path | None:
    """Return the file that ``output`` names.

    Args:
        prompts: the file of the prompts, if there is one.
        endings: permitted ends of its name.
        data: ``data.paths``: a path, or paths in lists and sections.

    Raises:
        UserError: the name ends otherwise, its folder does not exist, or it is a file of the prompts or the data.
    """
    if output is None:
        return None
    path = expanded(output)
    if prompts is not None and path.exists() and path.samefile(expanded(prompts)):
        raise UserError(f"output={output}: is the file of the prompts; choose another")
    if any(path.exists() and expanded(each).exists() and path.samefile(expanded(each)) for each in _paths_in(data)):
        raise UserError(f"output={output}: is a file of data.paths; choose another")
    if path.suffix not in endings or path.is_dir():
        raise UserError(f"output={output}: expected a file that ends in {' or '.join(endings)}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"output={output}: there is no folder {path.absolute().parent}")
    return path


def _paths_in(data: Any) -> Iterator[str]:
    """Yield the paths in lists and sections."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list):
        for each in data.values() if isinstance(data, Mapping) else data:
            yield from _paths_in(each)
