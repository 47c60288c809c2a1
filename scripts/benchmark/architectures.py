"""Compare architectures at equal parameters by context: speed of training and generation, and size of the state.

    python scripts/benchmark/architectures.py [--models transformer,mamba2] [--contexts 128,1024] [--parameters 2M]

Training is a forward and a backward pass over equally many tokens at every context, with the dropouts of conf/model.
Generation reads all but the last tokens of a context and continues one by one, with carried state. Models take turns,
round by round; the first round is not counted. Models that are too slow, do not fit or fail are marked.

A second table compares each mixer that has a parallel form with a loop over the same tokens, through the same mixer.
"""

import argparse
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from architectures_report import Row, draw, label, table_of_mixers, table_of_models, write
from architectures_timing import TOO_LONG, Mixer, Model, Timing, clock, expected, model_section
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lmlab.config.options import options_of
from lmlab.errors import UserError, nearest
from lmlab.models.parameters import number_of_parameters
from lmlab.training.threads import use_threads

PARALLEL = ("min_gru", "min_lstm", "rg_lru", "mamba2", "gated_deltanet", "mlstm")
"""Mixers that are recurrences and read a sequence at once."""

MODELS = [model for model in options_of("model") if model != "hf"]
"""Without models of the transformers library: their cost depends on the architecture, and their size is not solved."""


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=names, default=MODELS, help="options of conf/model; default: all but hf")
    options.add_argument("--contexts", type=numbers, default=[128, 256, 512, 1024, 2048, 4096])
    options.add_argument("--parameters", default="2M", help="total size of each model")
    options.add_argument("--vocabulary", type=int, default=512)
    options.add_argument("--tokens", type=int, default=4096, help="tokens in a training step; determines the batch")
    options.add_argument("--generated", type=int, default=16, help="tokens generated at the end of a context")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--cap", type=float, default=20.0, help="limit of seconds for one cell")
    options.add_argument("--compile-cap", type=float, default=120.0, help="limit of seconds for compiling one cell")
    options.add_argument("--length", type=int, default=512, help="tokens of the second table; 0: without it")
    options.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: all there are")
    options.add_argument("--compile", choices=("auto", "no", "yes", "both"), default="auto", help="auto: both on CUDA")
    options.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; default: all cores")
    clocks = "process: processor time of this process, for a CPU shared with others (with --threads 1)"
    options.add_argument("--clock", choices=("wall", "process"), default="wall", help=clocks)
    outputs = Path(os.environ.get("LMLAB_OUTPUTS", "outputs"))
    options.add_argument("--folder", type=Path, default=outputs / "benchmark", help="folder of the results")
    arguments = options.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        options.error("--device=cuda: torch sees no CUDA device here")
    if min(arguments.contexts) <= arguments.generated:
        options.error(f"--contexts: each must be more than the {arguments.generated} tokens that are generated")
    return arguments


def names(text: str) -> list[str]:
    for name in text.split(","):
        if name not in MODELS:
            raise argparse.ArgumentTypeError(f"{name}: no such model{nearest(name, MODELS)}")
    return text.split(",")


def numbers(text: str) -> list[int]:
    return sorted({int(number) for number in text.split(",")})


def variants(options: argparse.Namespace) -> list[tuple[str, bool]]:
    """Return the devices to time on, each with whether to compile."""
    devices = ["cpu", *["cuda"] * torch.cuda.is_available()] if options.device == "auto" else [options.device]
    ways = {"no": [False], "yes": [True], "both": [False, True]}
    return [
        (device, compiled)
        for device in devices
        for compiled in ways.get(options.compile, ways["both" if device == "cuda" else "no"])
    ]


def time_models(options: argparse.Namespace, device: str, compiled: bool, bars: Progress) -> Iterator[list[Row]]:
    """Yield a row for each model, context by context."""
    where = label(device, compiled)
    bar = bars.add_task(where, total=len(options.contexts) * len(options.models) * (options.rounds + 1))
    sections = {
        name: model_section(f"model={name}", f"model.parameters={options.parameters}") for name in options.models
    }
    past: dict[str, dict[int, float]] = {name: {} for name in options.models}
    given_up: dict[str, str] = {}  # reasons, for models that took too long at a shorter context
    for context in options.contexts:
        torch._dynamo.reset()
        models: dict[str, Model] = {}
        for name, section in sections.items():
            bars.update(bar, description=f"{where}: context {context}, making {name}")
            models[name] = Model(section, context, device, compiled, expected(past[name], context), options)
            models[name].training.note = models[name].training.note or given_up.get(name, "")
        for turn in range(options.rounds + 1):
            for name, model in models.items():
                bars.update(bar, description=f"{where}: context {context}, {name}")
                model.take_turn(counted=turn > 0)
                bars.advance(bar)
        for name, model in models.items():
            if model.training.result is not None:
                past[name][context] = model.training.result
            if model.training.note in TOO_LONG:
                given_up[name] = model.training.note
        keys = {"device": device, "compiled": compiled, "context": context}
        yield [{**keys, "model": name, **model.row()} for name, model in models.items()]
    bars.update(bar, description=where)


def time_mixers(options: argparse.Namespace, device: str, bars: Progress) -> list[Row]:
    """Return a row for each mixer with a parallel form: whole sequences compared with a loop over their tokens."""
    bar = bars.add_task("", total=len(PARALLEL) * (options.rounds + 1))
    batch = max(1, options.tokens // options.length)
    mixers = {name: Mixer(name, batch, options.length, device, clock(device, options.clock)) for name in PARALLEL}
    arms = {name: (Timing(options.cap), Timing(options.cap)) for name in PARALLEL}
    for turn in range(options.rounds + 1):
        for name, mixer in mixers.items():
            bars.update(bar, description=f"{device}: {name} at once and in a loop")
            for timing, work in zip(arms[name], (mixer.whole, mixer.loop), strict=True):
                timing.run(work, counted=turn > 0)
            bars.advance(bar)
    bars.update(bar, description=f"{device}: recurrences")
    rows = []
    for name, (whole, loop) in arms.items():
        row = {"device": device, "mixer": name, "length": options.length, "batch": batch}
        row |= {"whole_seconds": whole.result, "loop_seconds": loop.result, "note": whole.note or loop.note}
        rows.append(row | {"ratio": whole.result / loop.result if whole.result and loop.result else None})
    return rows


def machine(options: argparse.Namespace, device: str) -> Row:
    """Return the hardware and software that timings depend on."""
    processor = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": options.precision,
        "clock": "wall" if device == "cuda" else options.clock,
    }


def main() -> None:
    options = arguments()
    number_of_parameters(options.parameters)
    use_threads(options.threads, 1)
    warnings.simplefilter("ignore")
    torch._dynamo.config.recompile_limit = 1000  # all models are one code object; the limit is meant for one model
    errors, console = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 160)
    drawing = find_spec("plotly") is not None
    if not drawing:
        errors.print("no figure: it needs the package plotly (pip install 'lmlab\\[report]')")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[Row] = []
    ratios: list[Row] = []
    places: list[Path] = []
    with Progress(*columns, console=errors) as bars:
        for device, compiled in variants(options):
            for rows_of_context in time_models(options, device, compiled, bars):
                rows += [row | machine(options, device) for row in rows_of_context]
                places = write(rows, options.folder, "architectures")
        for device in dict.fromkeys(device for device, _ in variants(options)) if options.length else ():
            ratios += [row | machine(options, device) for row in time_mixers(options, device, bars)]
            places = places[:2] + write(ratios, options.folder, "recurrences")
    title = f"{options.parameters} parameters, {options.tokens:,} tokens a step, {options.precision}"
    console.print(table_of_models(rows, title))
    notes = [(row["model"], row[f"{kind}_note"]) for row in rows for kind in ("training", "generation")]
    for name, note in dict.fromkeys(notes):
        if note.startswith("failed"):
            console.print(f"{name} {note}", soft_wrap=True)
    if ratios:
        console.print(table_of_mixers(ratios, options.length))
    if drawing:
        places.append(draw(rows, title, options.folder / "architectures.html"))
    for place in places:
        console.print(str(place), soft_wrap=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"architectures.py: {error}")
