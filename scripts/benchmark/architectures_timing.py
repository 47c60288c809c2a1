"""Time one model at one context, and one mixer, within a cap of seconds.

Dimension legend: B sequences, T tokens, D width.
"""

import argparse
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from lmlab.config.build import build
from lmlab.config.canonical import CONF, canonical
from lmlab.config.check import validate
from lmlab.config.nodes import Config
from lmlab.models.language_model import LanguageModelState
from lmlab.models.parameters import parameter_counts
from lmlab.models.sizes import state_bytes
from lmlab.training.sizing import solve_width

MIXER_WIDTH = 256
"""Width of the mixers that are compared with a loop."""

REPEATS = 5
"""Repetitions of generation in a turn, from the same state: a single one is too short to time reliably."""

TOO_LONG = ("too slow", "compiles too long")
"""Notes after which longer contexts are not tried."""


class TooLong(Exception):
    """The cap was reached."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` inside the context after so many seconds, or on the next return to Python."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def expected(past: dict[int, float], context: int) -> float:
    """Extrapolate seconds from those at shorter contexts, as a power law through the last two; 0: unknown.

    A step has as many tokens at every context, so it grows with the context at most linearly: by a loop over tokens, or
    by attention to all of them. With one context, linear growth is assumed.
    """
    if not past:
        return 0.0
    *_, last = past
    power = 1.0
    if len(past) > 1:
        *_, before, last = past
        power = min(1.0, max(0.0, math.log(past[last] / past[before]) / math.log(last / before)))
    return past[last] * (context / last) ** power


class Timing:
    """Seconds of one piece of work, round by round, or a note on why there are none.

    Args:
        cap: limit of seconds for all rounds, without a first one that compiles.
        first_cap: limit of seconds for the first round, if it compiles.
    """

    def __init__(self, cap: float, first_cap: float | None = None) -> None:
        self.cap, self.first_cap = cap, first_cap
        self.seconds: list[float] = []
        self.first: float | None = None
        self.spent = 0.0
        self.note = ""

    def run(self, work: Callable[[], float], counted: bool) -> None:
        """Call ``work``, which returns seconds, unless it failed before or would go beyond the cap."""
        latest = self.seconds[-1] if self.seconds else self.first or 0.0
        if self.note or (counted and self.spent + latest > self.cap):
            return
        compiles = not counted and self.first_cap is not None
        allowed = (not counted and self.first_cap) or self.cap
        started = time.perf_counter()
        try:
            with limit(allowed):
                seconds = work()
        except Exception as error:
            if time.perf_counter() - started >= allowed:  # the compiler may have swallowed TooLong
                self.note = TOO_LONG[compiles]
            else:
                memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
                self.note = "out of memory" if memory else reason(error)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        else:
            if counted:
                self.seconds.append(seconds)
            elif not compiles:
                self.first = seconds
            self.spent += 0 if compiles else time.perf_counter() - started

    @property
    def result(self) -> float | None:
        """Return the median of the counted rounds; the first round if the cap allowed no other."""
        return statistics.median(self.seconds) if self.seconds else self.first


def reason(error: Exception) -> str:
    return f"failed: {(str(error).strip() or type(error).__name__).splitlines()[0][:200]}"


def clock(device: str, kind: str) -> Callable[[], float]:
    """Return a clock that waits for all work on ``device``: wall time, or processor time of this process."""

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    own = time.process_time if kind == "process" else time.perf_counter
    return synchronised if device == "cuda" else own


class Model:
    """One model at one context.

    Args:
        expected: expected seconds of a training step; 0: unknown.
    """

    def __init__(
        self, section: Config, context: int, device: str, compiled: bool, expected: float, options: argparse.Namespace
    ) -> None:
        self.context, self.device, self.generated = context, device, options.generated
        self.clock = clock(device, options.clock)
        self.half = options.precision == "bf16-mixed"
        self.batch = max(1, options.tokens // context)
        self.training = Timing(options.cap, options.compile_cap if compiled else None)
        self.generation = Timing(options.cap)
        self.state: LanguageModelState | None = None
        self.sizes: dict[str, int | None] = {"width": None, "parameters": None, "state_bytes": None}
        if compiled:
            self.generation.note = "never compiled"
        if expected > options.cap:
            self.training.note = TOO_LONG[False]
        try:
            torch.manual_seed(0)
            solved = solve_width(section, options.vocabulary, context)
            with torch.device(device):
                self.model = build(solved, vocabulary=options.vocabulary, context=context)
                tokens = torch.randint(options.vocabulary, (self.batch, context + 1))
            self.tokens_BT, self.targets_N = tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()
            self.sizes["width"], self.sizes["parameters"] = solved["width"], parameter_counts(self.model)["total"]
            self.sizes["state_bytes"] = state_bytes(self.model, context)
            if compiled:
                self.model.compile()  # as in a run: the network, not its head
        except Exception as error:
            self.training.note = self.generation.note = reason(error)

    def take_turn(self, counted: bool) -> None:
        self.training.run(self._train, counted)
        self.generation.run(self._generate, counted)

    def _train(self) -> float:
        self.model.train()
        start = self.clock()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            hidden_BTD, _, auxiliary = self.model(self.tokens_BT)
            loss = self.model.head.cross_entropy(hidden_BTD.flatten(0, 1), self.targets_N)
        sum(auxiliary.values(), loss).backward()
        seconds = self.clock() - start
        self.model.zero_grad()
        return seconds

    @torch.no_grad()
    def _generate(self) -> float:
        self.model.eval()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            if self.state is None:
                self.state = self.model(self.tokens_BT[:1, : self.context - self.generated]).state
            seconds = []
            for _ in range(REPEATS):
                state, token_B1 = self.state, self.tokens_BT[:1, -1:]
                start = self.clock()
                for _ in range(self.generated):
                    hidden_B1D, state, _ = self.model(token_B1, state)
                    token_B1 = self.model.head.log_probs(hidden_B1D[:, -1]).argmax(1, keepdim=True)
                seconds.append(self.clock() - start)
        return statistics.median(seconds)

    def row(self) -> dict[str, Any]:
        """Return the measurements."""
        entries: dict[str, Any] = {"batch": self.batch, **self.sizes}
        work = {"training": self.batch * self.context, "generation": self.generated}
        for kind, timing in (("training", self.training), ("generation", self.generation)):
            seconds = timing.result
            entries[f"{kind}_tokens_per_second"] = None if seconds is None else work[kind] / seconds
            entries[f"{kind}_rounds"] = len(timing.seconds)
            entries[f"{kind}_note"] = timing.note
        return entries


class Mixer:
    """A mixer that reads a sequence at once, and token by token with carried state."""

    def __init__(self, name: str, batch: int, length: int, device: str, clock: Callable[[], float]) -> None:
        overrides = (f"mixer={name}", "block=prenorm", "channel=none", f"model.width={MIXER_WIDTH}", "model.depth=1")
        torch.manual_seed(0)
        with torch.device(device):
            model = build(model_section("model=custom", *overrides), vocabulary=2, context=length)
            self.x_BTD = torch.randn(batch, length, MIXER_WIDTH)
        self.mixer, self.clock = model.blocks[0].mixer, clock

    def whole(self) -> float:
        return self._timed(lambda: self.mixer(self.x_BTD, None)[0])

    def loop(self) -> float:
        def read() -> Tensor:
            state, parts = None, []
            for x_B1D in self.x_BTD.split(1, 1):
                part_B1D, state = self.mixer(x_B1D, state)
                parts.append(part_B1D)
            return torch.cat(parts, 1)

        return self._timed(read)

    def _timed(self, read: Callable[[], Tensor]) -> float:
        start = self.clock()
        read().square().mean().backward()
        seconds = self.clock() - start
        self.mixer.zero_grad()
        return seconds


def model_section(*overrides: str) -> Config:
    """Return the section ``model`` that ``lmlab train <overrides>`` composes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = canonical(OmegaConf.create({"model": compose("train", list(overrides)).model}))["model"]
    validate(node, "model")
    return node
