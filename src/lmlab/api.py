"""lmlab from Python: ``lmlab.train``, ``lmlab.load`` and ``lmlab.runs``. docs/api.md shows their use."""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lmlab.errors import RunFailed, UserError, check_least, first_line
from lmlab.surroundings import expanded

if TYPE_CHECKING:
    from lmlab.config.experiment import Folders
    from lmlab.config.nodes import Config
    from lmlab.data.tokenizers import Tokenizer
    from lmlab.models.language_model import LanguageModel
    from lmlab.runs.run import Run
    from lmlab.training.load import Trained

__all__ = ["RunFailed", "TrainedRun", "UserError", "load", "runs", "train"]

_GENERATED_TOGETHER, _SCORED_TOGETHER = 64, 16
"""Numbers of texts, and of windows of a text, that are computed together; they change only speed and memory."""


def train(overrides: Sequence[str] = (), *, outputs: str | Path | None = None) -> "TrainedRun":
    """Train a model as ``lmlab train`` does, in processes of its own, and return it.

    A finished run is returned as recorded; an unfinished one is resumed from its last checkpoint. Progress is printed.
    On an interrupt (Ctrl-C, or the stop button of a notebook) the run writes its state and ends; the same call resumes
    it.

    Args:
        overrides: the words of the command line, such as ``["model=lstm", "data=stdlib", "seed=2"]``.
        outputs: the outputs folder; ``None``: ``LMLAB_OUTPUTS``, or ``outputs`` in the working folder.

    Raises:
        UserError: the configuration cannot be trained; no files are left behind.
        RunFailed: the training failed; the message gives the reason and the path of the log.
    """
    from lmlab.cli import asks_for_several, only_shows
    from lmlab.command_process import run_command
    from lmlab.config.overrides import written

    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise UserError(f"overrides={overrides!r}: expected a list of texts, as in ['model=lstm', 'seed=2']")
    for word in overrides:
        if asks_for_several(word):
            raise UserError(f"{word}: asks for several runs; lmlab.train computes one, so call it for each")
        if only_shows(word):
            raise UserError(f"{word}: trains nothing; use it with lmlab train in a shell")
    places = [] if outputs is None else [f"paths.outputs={written(str(expanded(str(outputs))))}"]
    return load(run_command("train", [*overrides, *places]))


def load(
    run: "str | Path | Run | TrainedRun",
    checkpoint: str | int = "final",
    *,
    outputs: str | Path | None = None,
    device: str = "cpu",
    trust: bool = False,
) -> "TrainedRun":
    """Load a run's model with its weights.

    Args:
        run: a run directory, its name, or any unambiguous start of its id; or a loaded run.
        checkpoint: which weights: ``final``, ``best``, ``ema`` or the step of a checkpoint.
        outputs: the outputs folder in which ids and names are looked up; ``None``: ``LMLAB_OUTPUTS``, or ``outputs`` in
            the working folder.
        device: the device of the model, such as ``cuda``.
        trust: also run model code in a run directory that you have not signed.

    Raises:
        UserError: the run or its weights do not exist.
    """
    import torch

    from lmlab.runs.lookup import find
    from lmlab.runs.run import Run
    from lmlab.training.load import load_trained

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device}: torch has no such device here ({first_line(error)})") from error
    place = run.path if isinstance(run, (Run, TrainedRun)) else run
    directory = find(str(place), _folders(outputs).runs).path.absolute()
    return TrainedRun(load_trained(Run(directory), str(checkpoint), device, trust))


def runs(
    outputs: str | Path | None = None,
    *,
    runs: str | list[str] | None = None,
    name: str | None = None,
    status: str | None = None,
    tag: str | None = None,
    where: Mapping[str, Any] | None = None,
    sort: str = "created",
    descending: bool = False,
    limit: int | None = None,
) -> Any:
    """Return the runs in the outputs folder, one row each, as ``lmlab runs format=json`` prints them.

    Args:
        outputs: the outputs folder; ``None``: ``LMLAB_OUTPUTS``, or ``outputs`` in the working folder.
        runs: only these runs: directories, starts of ids, sweeps, folders of runs.
        name: only runs whose name contains this.
        status: only ``created``, ``running``, ``finished``, ``failed``, ``interrupted`` or ``pruned`` runs.
        tag: only runs with this tag.
        where: only runs with these options, such as ``{"model": "lstm", "optimizer.lr": 1e-3}``.
        sort: a column, a metric or a dotted configuration key.
        descending: sort from the greatest.
        limit: the largest number of rows.

    Returns:
        A pandas frame, or a list of dictionaries where pandas is not installed. The columns ``metrics`` and ``config``
        hold dictionaries: all final metrics by name, and the complete configuration.

    Raises:
        UserError: an option is wrong, or one of ``runs`` matches no run.
    """
    from lmlab.commands.runs import listed

    rows, _, unreadable = listed(_folders(outputs), runs, name, status, tag, where or {}, sort, descending, limit)
    for error in unreadable:
        warnings.warn(f"left out: {error}", stacklevel=3)  # the line that calls lmlab.runs
    return _table(rows)


class TrainedRun:
    """A run with its model, as :func:`lmlab.load` and :func:`lmlab.train` return it.

    Attributes:
        path: the run directory.
        id: the run's id.
        checkpoint: which weights the model has.
        config: the run's complete configuration.
        model: a ``torch.nn.Module`` in evaluation mode, ``hidden, state, auxiliary = model(tokens, state)``.
        tokenizer: ``encode(text)`` gives an array of ids, ``decode(ids)`` the text.
    """

    path: Path
    id: str
    checkpoint: str
    config: "Config"
    model: "LanguageModel"
    tokenizer: "Tokenizer"

    def __init__(self, trained: "Trained") -> None:
        self._trained = trained
        self.path, self.id, self.checkpoint = trained.run.path, trained.run.id, trained.checkpoint
        self.config, self.model, self.tokenizer = trained.config, trained.model, trained.tokenizer

    def __repr__(self) -> str:
        return f"<TrainedRun {self.path.name}, {self.checkpoint} weights>"

    @cached_property
    def metrics(self) -> Any:
        """Rows logged in training, with the columns ``step``, ``tokens``, ``train/loss``, ``validation/loss``, ...

        A pandas frame, with nan where a row lacks a metric; a list of dictionaries if pandas is not installed.
        """
        from lmlab.runs.rows import PLACES, parse

        path = self._trained.run.metrics
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a last line without a line end is still being written
        columns = dict(parse(whole).columns)
        columns |= {name: columns[name].astype(int) for name in PLACES}
        return _table(columns)

    @property
    def scores(self) -> dict[str, float | None]:
        """The final metrics by name, such as ``validation/bits_per_byte``, and those of ``lmlab evaluate``."""
        from lmlab.analysis.records import Record

        return Record.of(self._trained.run).scores

    @overload
    def loss(self, text: str) -> float: ...

    @overload
    def loss(self, text: list[str]) -> list[float]: ...

    def loss(self, text: str | list[str]) -> float | list[float]:
        """Return the mean loss of a text in nats per token, or a list of losses for a list of texts.

        The text is scored as by ``lmlab evaluate`` with ``fixed_window``: it follows the separator that begins a
        document and is cut into windows of the training context, each read from an empty state. Every token is scored
        once, even if the run was trained on answers only.

        Raises:
            UserError: a text is empty, or the tokenizer cannot encode it.
        """
        return self._loss(text) if isinstance(text, str) else [self._loss(one) for one in text]

    def _loss(self, text: str) -> float:
        import numpy as np

        from lmlab.data.judges import Likelihood
        from lmlab.data.tokenizers import unknown_parts
        from lmlab.data.windows import fixed_windows
        from lmlab.training.scoring import evaluate

        trained, tokenizer = self._trained, self.tokenizer
        try:
            ids_N = tokenizer.encode(text)
        except UserError as error:
            raise UserError(f"text: {error}") from error
        except UnicodeError:
            raise UserError("text: is not valid Unicode") from None
        if not len(ids_N):
            raise UserError("text: is empty; expected at least one token")
        _warn([unknown_parts(tokenizer, text, "text")])
        stream = np.concatenate([[tokenizer.separator], ids_N])
        windows = fixed_windows(stream, trained.context, _SCORED_TOGETHER)
        return evaluate(trained.model, windows, [Likelihood(tokens_per_byte=None)], trained.context)["loss"]

    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        greedy: bool = False,
        stop: str | Sequence[str] = (),
        end_of_document: bool = True,
        seed: int = 1,
        samples: int | None = None,
        repetition_penalty: float = 1.0,
        beams: int = 1,
        length_penalty: float = 0.0,
        best: int | None = None,
    ) -> str | list[str]:
        """Return the prompt and its continuation, the text that ``lmlab generate`` prints with the same settings.

        Args:
            prompt: the text to continue; empty: the start of a document.
            tokens: the largest number of tokens to generate.
            temperature: below 1: less random; above 1: more random.
            top_k: sample only from the k most probable tokens.
            top_p: sample only from the smallest set of tokens whose probabilities add up to p.
            greedy: always take the most probable token.
            stop: end the text before this string, or before the first of several.
            end_of_document: end the text at the end-of-document token, if the tokenizer has one.
            seed: the seed of the first text; the second text has ``seed + 1``, and so on.
            samples: the number of texts, returned as a list; ``None``: one text, returned as a string.
            repetition_penalty: multiply the log-probabilities of tokens that the text contains already by this number.
            beams: above 1: return the most probable text that beam search with as many beams finds.
            length_penalty: with beams, divide the log-probability of a text by its number of tokens to this power.
            best: with beams, the number of best texts, returned as a list; ``None``: one text, returned as a string.

        Raises:
            UserError: a setting is out of its range, or the tokenizer cannot encode the prompt.
        """
        from lmlab.commands.generate import check_samples, continued, encoded, unknown_to, unseen_by
        from lmlab.commands.prompts import Prompt
        from lmlab.models.decoding import Decoding
        from lmlab.progress import ProgressBar

        check_least(1, tokens=tokens, samples=samples)
        strings = (stop,) if isinstance(stop, str) else tuple(stop)
        if "" in strings:
            raise UserError(f"stop={stop!r}: expected texts of at least one character")
        check_samples(samples or 1, beams)
        decoding = Decoding(
            temperature,
            top_k,
            top_p,
            greedy,
            tokens,
            repetition_penalty,
            beams,
            length_penalty,
            1 if best is None else best,
            strings,
        )
        start = encoded(self._trained, Prompt(prompt))
        _warn(unknown_to(self._trained, [start]) + unseen_by(self._trained, [start], self._trained.context))
        end_token = self.tokenizer.end_of_document if end_of_document else None
        with ProgressBar("Generating", (samples or 1) * tokens, shown=False) as bar:
            batches = continued(
                [start], self._trained, decoding, end_token, samples or 1, seed, _GENERATED_TOGETHER, bar
            )
            texts = [prompt + sample.text for batch in batches for sample in batch]
        return texts[0] if samples is None and best is None else texts


def _folders(outputs: str | Path | None) -> "Folders":
    """Return the folders of a command with this outputs folder."""
    from lmlab.config.experiment import Folders

    return Folders.below(expanded(str(outputs or os.environ.get("LMLAB_OUTPUTS") or "outputs")))


def _table(content: list[dict[str, Any]] | dict[str, Any]) -> Any:
    """Return a pandas frame of rows or of columns by name; a list of rows if pandas is not installed."""
    try:
        import pandas
    except ImportError:
        if isinstance(content, list):
            return content
        rows = zip(*(column.tolist() for column in content.values()), strict=True)
        return [{name: value for name, value in zip(content, row, strict=True) if value == value} for row in rows]
    return pandas.DataFrame(content)


def _warn(notes: Sequence[str]) -> None:
    """Issue notes about a text as warnings at the line of the caller."""
    for note in notes:
        if note:
            warnings.warn(note, stacklevel=3)
