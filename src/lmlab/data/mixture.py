"""Several data sets as one: each row of training comes from one of them."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.config.targets import named_parameters
from lmlab.data.dataset import Dataset, Opening, Prepared
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError, in_part
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps, read_json, write_whole

if TYPE_CHECKING:
    from lmlab.data.tasks.mixture import MixtureTask

Points = Sequence[tuple[int, float]]
"""A weight that changes: pairs of a step and the weight there, by increasing steps; linear in between."""

_META = "meta.json"
_LETTERS = 1 << 24
"""Characters of each part that a tokenizer is fitted to."""


class Mixture(Dataset):
    """Data sets with the weights by which rows of training are drawn from them.

    Every part is scored by its own judges, under its own name: ``squad/exact_match``. All parts have one tokenizer; if
    it has to be fitted, it is fitted to the first 16 million characters of each.

    Args:
        weights: relative weight of each data set by name: a number, or a list of pairs (step, weight) between which
            it is linear. Or a list of names, which are weighted by their number of training tokens.
        parts: the data sets by name.
        temperature: with a list of names, the weights are the numbers of tokens to the power of 1 / ``temperature``
            (Devlin et al. 2018, multilingual BERT); ``null``: 1.

    Raises:
        UserError: a weight is no number of at least 0, or all of a step are 0.
    """

    name = "mixture"

    def __init__(
        self,
        weights: dict[str, Any] | list[str],
        parts: dict[str, Any],
        temperature: float | None = None,
    ) -> None:
        if len(weights) < 2:
            raise UserError(f"data.weights={weights}: expected at least two data sets")
        self.by_size = not isinstance(weights, Mapping)
        if temperature is not None and (not self.by_size or not temperature > 0):
            why = (
                "expected a number above 0" if self.by_size else "is for a list of names, without weights of their own"
            )
            raise UserError(f"data.temperature={temperature}: {why}")
        self.temperature = 1.0 if temperature is None else temperature
        self.weights: dict[str, Points] = _points(weights) if isinstance(weights, Mapping) else {}
        self.parts: dict[str, Dataset] = parts
        self.has_documents = any(getattr(part, "has_documents", False) for part in parts.values())

    def open(self, opening: Opening) -> "MixtureTask":
        from lmlab.data.tasks.mixture import MixtureTask

        if opening.carry_state:
            raise UserError("batch.carry_state=true: the rows of a mixture do not continue in the next batch")
        prepared = _find(opening.prepared, type(opening.tokenizer))
        if prepared is None:
            tokenizer, fingerprints = self._fitted(opening), dict[str, str]()
        else:
            tokenizer, fingerprints = prepared
        tasks = {}
        for name, part in self.parts.items():
            of_part = None
            if opening.prepared is not None and name in fingerprints:
                of_part = replace(opening.prepared, fingerprint=fingerprints[name])
            with self._named(name):
                tasks[name] = part.open(replace(opening, tokenizer=tokenizer, prepared=of_part, checksum=None))
        weights = self.weights
        if self.by_size:
            # What is only scored needs no training split.
            sizes = {name: task.training_tokens() if opening.trains else 1 for name, task in tasks.items()}
            weights = {name: ((0, size ** (1 / self.temperature)),) for name, size in sizes.items()}
        task = MixtureTask(tasks, weights, opening.seed, opening.batch_size, opening.context)
        _record(task, opening.cache)
        return task

    def checksum(self, cache: Path) -> str | None:
        """Return a checksum of the user's own files of all parts; ``None`` if there are none."""
        own = {}
        for name, part in self.parts.items():
            with self._named(name):
                own[name] = getattr(part, "checksum", lambda _: None)(cache)
        lines = [f"{name} {checksum}" for name, checksum in own.items() if checksum is not None]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None

    def _named(self, name: str) -> AbstractContextManager[None]:
        """Have errors of a part name its options by their place in the mixture."""
        return in_part(name, named_parameters(type(self.parts[name])))

    def _fitted(self, opening: Opening) -> Tokenizer:
        """Return the tokenizer, fitted to the beginnings of all parts or taken from the cache."""
        if opening.tokenizer.fitted:
            return opening.tokenizer
        digest = hashlib.sha256(opening.tokenizer.fingerprint().encode())
        for name, part in self.parts.items():
            with self._named(name):
                digest.update(part.text_fingerprint(opening).encode())
        folder = opening.cache / f"tokenizer-{digest.hexdigest()[:16]}"
        if not folder.is_dir():
            tokenizer = copy.deepcopy(opening.tokenizer)
            with ProgressBar("Fitting the tokenizer to the parts of the mixture", None, opening.progress) as bar:

                def texts() -> Iterator[str]:
                    for text in self._texts(opening):
                        bar.advance(len(text.encode()))
                        yield text

                tokenizer.fit(texts())

            def save(temporary: Path) -> None:
                temporary.mkdir()
                tokenizer.save(temporary)

            _write(folder, save)
        return load_tokenizer(folder, type(opening.tokenizer))

    def _texts(self, opening: Opening) -> Iterator[str]:
        for name, part in self.parts.items():
            left = _LETTERS
            with self._named(name):
                for text in chain.from_iterable(part.texts("train", opening)):
                    signals.check()
                    yield text[:left]
                    left -= len(text)
                    if left <= 0:
                        break


def _points(weights: Mapping[str, Any]) -> dict[str, Points]:
    """Return the points of every weight. Raises ``UserError``."""
    points: dict[str, Points] = {}
    for name, value in weights.items():
        pairs = [(0, value)] if isinstance(value, int | float) else value
        option = f"data.weights.{name}={value}"
        expected = "expected a number of at least 0, or a list of pairs [step, weight]"
        if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise UserError(f"{option}: {expected}")
        steps, numbers = [step for step, _ in pairs], [number for _, number in pairs]
        if not all(isinstance(number, int | float) and 0 <= number < float("inf") for number in numbers):
            raise UserError(f"{option}: {expected}")
        if not pairs or not all(isinstance(step, int) and step >= 0 for step in steps) or steps != sorted(set(steps)):
            raise UserError(f"{option}: expected whole steps that increase, from 0 or later")
        points[name] = tuple(zip(steps, map(float, numbers), strict=True))
    if not any(any(weight for _, weight in pairs) for pairs in points.values()):
        raise UserError(f"data.weights={dict(weights)}: all are 0; expected one above 0")
    return points


def _record(task: "MixtureTask", cache: Path) -> None:
    """Write tokenizer and the fingerprints of the parts, by which a run finds its prepared data again."""
    folder = cache / f"mixture-{task.fingerprint[:16]}"
    if folder.is_dir():
        return

    def write(temporary: Path) -> None:
        temporary.mkdir()
        task.tokenizer.save(temporary)
        parts = {name: part.fingerprint for name, part in task.parts.items()}
        meta = {"fingerprint": task.fingerprint, "parts": parts}
        (temporary / _META).write_text(dumps(meta) + "\n", encoding="utf-8")

    _write(folder, write)


def _write(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder of the cache as a whole, if no other process does at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(folder, write)
    except OSError as error:
        if not folder.is_dir():
            raise UserError(f"paths.cache={folder.parent}: cannot be written ({error})") from error


def _find(prepared: Prepared | None, kind: type[Tokenizer]) -> tuple[Tokenizer, dict[str, str]] | None:
    """Return the tokenizer and the parts' fingerprints of a mixture with a fingerprint; ``None``: not recorded."""
    for cache in () if prepared is None else prepared.caches:
        assert prepared is not None
        folder = cache / f"mixture-{prepared.fingerprint[:16]}"
        if folder.is_dir() and (meta := read_json(folder / _META))["fingerprint"] == prepared.fingerprint:
            return load_tokenizer(folder, kind), meta["parts"]
    return None
