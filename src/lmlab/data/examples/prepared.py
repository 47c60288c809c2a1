"""Examples tokenised once: their ids, their lengths and their texts on disk, under a fingerprint of all inputs."""

import copy
import hashlib
import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.examples.examples import Examples
from lmlab.data.examples.template import Example
from lmlab.data.shards import META, Tokenized
from lmlab.data.tokenizers import Tokenizer
from lmlab.errors import UserError
from lmlab.progress import ProgressBar
from lmlab.runs.disk import not_prepared
from lmlab.runs.files import dumps, read_jsonl, whole_folder


class PreparedExamples(Tokenized):
    """Examples as token ids; made by :func:`prepare_examples`. The fingerprint is also that of the references."""

    @property
    def continues(self) -> bool:
        """Return whether answers continue the prompt, and have no end that is trained on or scored."""
        return bool(self._meta["template"].get("continues"))

    def ids(self, split: str) -> np.ndarray:
        """Return the memory-mapped ids of a split: prompt and first answer of each example, without separators."""
        self.counts(split)
        path = self.folder / f"{split}.bin"
        return np.memmap(path, "<i4", "r") if path.stat().st_size else np.empty(0, "<i4")

    def lengths(self, split: str) -> np.ndarray:
        """Return [N, 2] int64: tokens of the prompt and of the first answer of each example."""
        self.counts(split)
        lengths: np.ndarray = np.load(self.folder / f"{split}.lengths.npy")
        return lengths

    def references(self, split: str) -> list[tuple[str, ...]]:
        """Return the right answers of each example."""
        self.counts(split)
        return [tuple(row["references"]) for row in read_jsonl(self.folder / f"{split}.jsonl")]

    def answer_tokens_per_byte(self, split: str, number: int) -> float:
        """Return tokens that are scored per byte of the first answers and of the end or the space that each has.

        Args:
            number: of examples from the beginning of the split.
        """
        counts = self.counts(split)
        tokens, size = counts["answer_tokens"], counts["answer_bytes"]
        if number < counts["examples"]:
            tokens = self.lengths(split)[:number, 1].sum()
            size = sum(len(right[0].encode()) for right in self.references(split)[:number])
        ends = 0 if self.continues else min(number, counts["examples"])
        return float((tokens + ends) / (size + ends))

    def skipped(self, split: str) -> tuple[int, str]:
        """Return the number of records that were left out because they are malformed, and a message about the first."""
        counts = self.counts(split)
        return counts["skipped"], counts["skipped_first"]

    def unspelled(self, split: str) -> int:
        """Return the number of first answers that the tokenizer does not return from their tokens."""
        return int(self.counts(split).get("unspelled", 0))


def prepare_examples(
    examples: Examples, tokenizer: Tokenizer, cache: Path, corpora: Path | None = None, progress: bool = True
) -> PreparedExamples:
    """Return ``examples`` as token ids, from ``cache`` if they were prepared before from the same texts.

    Any number of processes may call this at once: one prepares, the others wait for it. A folder in ``cache`` with its
    final name is complete, even if a process was killed.

    Args:
        tokenizer: not changed; if it is not fitted, a copy is fitted to prompts and answers of the training split.

    Raises:
        UserError: a source is missing or faulty, a split is empty, or ``cache`` cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        examples.find(corpora, cache, progress)
        return whole_folder(
            cache / f"{examples.name}-{_key(examples, tokenizer)[:16]}",
            lambda folder: open_whole(folder, type(tokenizer)),
            lambda temporary: _write(examples, tokenizer, temporary, progress),
        )
    except OSError as error:
        raise UserError(not_prepared(error, examples.name, cache)) from error


def _key(examples: Examples, tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of all that the files depend on: the examples, the tokenizer, the code."""
    digest = hashlib.sha256(f"{examples.fingerprint()}\0{tokenizer.fingerprint()}".encode())
    for code in (type(tokenizer), Tokenizer, prepare_examples):
        digest.update(Path(inspect.getfile(code)).read_bytes())
    digest.update(version("tokenizers").encode())
    return digest.hexdigest()


def _write(examples: Examples, tokenizer: Tokenizer, folder: Path, progress: bool) -> None:
    if not tokenizer.fitted:
        if "train" not in examples.splits:
            raise UserError(
                f"data={examples.name}: has no training split to fit a tokenizer to, only {', '.join(examples.splits)}"
            )
        tokenizer = copy.deepcopy(tokenizer)
        with ProgressBar(f"Fitting the tokenizer to {examples.name}", None, progress, unit="examples") as bar:
            tokenizer.fit(_lines(examples, bar))
    tokenizer.save(folder)
    digest, of_texts = hashlib.sha256(tokenizer.fingerprint().encode()), hashlib.sha256()
    splits = {}
    for split in examples.splits:
        splits[split] = _write_split(examples, tokenizer, split, folder, digest, of_texts, progress)
        if not splits[split]["examples"]:
            number, problem = examples.skipped.get(split, (0, ""))
            why = f"; {number:,} records were skipped, the first: {problem}" if number else ""
            raise UserError(f"data={examples.name}: its {split} split has no examples; it needs at least one{why}")
    meta = {
        "name": examples.name,
        "licence": examples.licence,
        "fingerprint": digest.hexdigest(),
        "corpus_fingerprint": of_texts.hexdigest(),
        "tokenizer_fingerprint": tokenizer.fingerprint(),
        "vocabulary": tokenizer.size,
        "template": examples.template.options,
        "splits": splits,
    }
    (folder / META).write_text(dumps(meta, indent=2) + "\n", encoding="utf-8")


def _lines(examples: Examples, bar: ProgressBar) -> Iterator[str]:
    """Yield the different lines of the training split's prompts and answers: several questions may share a text."""
    seen: set[bytes] = set()
    for example in examples.examples("train"):
        bar.advance(1)
        for line in f"{example.prompt}{example.answer}".split("\n"):
            key = hashlib.blake2b(line.encode(), digest_size=12).digest()
            if key not in seen:
                seen.add(key)
                yield f"{line}\n"


def _write_split(
    examples: Examples, tokenizer: Tokenizer, split: str, folder: Path, digest: Any, of_texts: Any, progress: bool
) -> dict[str, Any]:
    """Write the files of a split, and count its examples, tokens and bytes.

    The files are added to ``digest``, and its texts, not its tokens, to ``of_texts``.
    """
    names = ("examples", "prompt_tokens", "answer_tokens", "answer_bytes", "references_bytes", "unknown", "unspelled")
    counts = dict.fromkeys(names, 0)
    lengths: list[tuple[int, int]] = []
    with (
        ProgressBar(f"Tokenising {examples.name}: {split}", None, progress, unit="examples") as bar,
        (folder / f"{split}.bin").open("wb") as ids_file,
        (folder / f"{split}.jsonl").open("wb") as texts_file,
    ):
        waiting: deque[Example] = deque()  # those whose texts are being encoded

        def texts() -> Iterator[str]:
            for example in examples.examples(split):
                waiting.append(example)
                yield example.prompt
                yield example.answer

        for prompt_N, answer_N in _pairs(_encode_all(tokenizer, texts())):
            example = waiting.popleft()
            lengths.append((len(prompt_N), len(answer_N)))
            content = prompt_N.astype("<i4").tobytes() + answer_N.astype("<i4").tobytes()
            line = (dumps({"references": list(example.references)}) + "\n").encode()
            ids_file.write(content)
            texts_file.write(line)
            digest.update(content)
            digest.update(line)
            of_texts.update(dumps([split, example.prompt, *example.references]).encode())
            counts["examples"] += 1
            counts["references_bytes"] += len(line)
            counts["answer_bytes"] += len(example.answer.encode())
            counts["unknown"] += len(tokenizer.outside(example.prompt)) + len(tokenizer.outside(example.answer))
            counts["unspelled"] += not tokenizer.reversible and not _spells(tokenizer, answer_N, example.references[0])
            bar.advance(1)
    lengths_N2 = np.array(lengths, np.int64).reshape(-1, 2)
    digest.update(lengths_N2.astype("<i8").tobytes())
    np.save(folder / f"{split}.lengths.npy", lengths_N2)
    counts["prompt_tokens"], counts["answer_tokens"] = (int(total) for total in lengths_N2.sum(0))
    skipped, first = examples.skipped.get(split, (0, ""))
    return {**counts, "skipped": skipped, "skipped_first": first}


def _encode_all(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield the ids of texts that continue, in order; several at a time if the tokenizer appends no ends to texts."""
    appends_none = type(tokenizer).encode_prompt is Tokenizer.encode_prompt
    return tokenizer.encode_all(texts) if appends_none else map(tokenizer.encode_prompt, texts)


def _spells(tokenizer: Tokenizer, ids_N: np.ndarray, answer: str) -> bool:
    """Return whether the tokens of an answer decode to it, up to white space: a model can only write such answers."""
    return " ".join(tokenizer.decode(ids_N).split()) == " ".join(answer.split())


def _pairs(items: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield items two by two."""
    return zip(items, items, strict=True)


def open_whole(folder: Path, kind: type[Tokenizer]) -> PreparedExamples | None:
    """Return the examples in ``folder``, or ``None`` if it is absent or damaged."""
    try:
        prepared = PreparedExamples(folder, kind)
        for split in prepared.splits:
            if (folder / f"{split}.bin").stat().st_size != 4 * int(prepared.lengths(split).sum()):
                return None
            if (folder / f"{split}.jsonl").stat().st_size != prepared.describe()["splits"][split]["references_bytes"]:
                return None
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return prepared
