"""Time decoding of many prompts at once against one by one, and against the transformers library, also with beams.

    python scripts/benchmark/decoding.py [--rounds 5] [--threads 1] [--width 256] [--new 64]

A Transformer and a GPT-2 with random weights. The library's GPT-2 has the same weights, and its texts must be the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import harness
import torch
from rich.console import Console
from rich.table import Table

from lmlab.config.build import build
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.training.allocator import keep_freed_memory
from lmlab.training.threads import use_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each arm, in turn, after one not counted")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: all cores")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--alone", type=int, default=16, help="prompts decoded one by one; their time is scaled")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens to generate")
    parser.add_argument("--beams", type=int, default=4, help="with as many times fewer prompts")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=4096)
    options = parser.parse_args()
    use_threads(options.threads, 1)
    keep_freed_memory()  # as in a run; it affects all arms
    torch.manual_seed(0)
    prompts = torch.randint(options.vocabulary, (options.prompts, options.tokens))
    transformer = model_of(options, "model=transformer")
    gpt2 = model_of(options, "model=gpt2", "model.norm.bias=true", "model.mixer.bias=true", "model.channel.bias=true")
    library = library_of(options)
    gpt2.load_state_dict(from_gpt2(library))
    context = options.tokens + options.new
    greedy = Decoding(greedy=True, length=options.new)
    search = Decoding(beams=options.beams, length=options.new)
    some = prompts[: options.prompts // options.beams]

    def ours(model: Any, rows: torch.Tensor, decoding: Decoding, batch_size: int = options.prompts) -> list[list[int]]:
        rows_of_model = [Row(prompt) for prompt in rows.tolist()]
        return [each.tokens for each in decode(model, rows_of_model, decoding, context, batch_size)]

    def theirs(rows: torch.Tensor, beams: int = 1) -> list[list[int]]:
        settings: dict[str, Any] = {"max_new_tokens": options.new, "do_sample": False, "num_beams": beams}
        if beams > 1:
            settings["length_penalty"] = 0.0
        texts = library.generate(rows, attention_mask=torch.ones_like(rows), **settings)
        return texts[:, options.tokens :].tolist()  # type: ignore[no-any-return]

    compare(ours(gpt2, prompts, greedy), theirs(prompts))
    compare(ours(gpt2, some, search), theirs(some, options.beams))
    alone = prompts[: options.alone]
    report(
        f"{options.prompts} prompts, {options.new} tokens each, greedy, a Transformer",
        {
            "at once": lambda: ours(transformer, prompts, greedy),
            "one by one": lambda: ours(transformer, alone, greedy, 1),
        },
        options.rounds,
        1 / 8,
        scale=options.prompts / options.alone,
    )
    report(
        f"{options.prompts} prompts, {options.new} tokens each, greedy, a GPT-2",
        {"at once": lambda: ours(gpt2, prompts, greedy), "transformers": lambda: theirs(prompts)},
        options.rounds,
        0.8,
    )
    report(
        f"{len(some)} prompts, {options.new} tokens each, {options.beams} beams, a GPT-2",
        {"at once": lambda: ours(gpt2, some, search), "transformers": lambda: theirs(some, options.beams)},
        options.rounds,
        1.0,
    )


def compare(ours: list[list[int]], theirs: list[list[int]]) -> None:
    """Stop unless almost all texts are equal; rounding may decide between two tokens."""
    equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
    if equal < 0.9 * len(ours):
        raise SystemExit(f"only {equal} of {len(ours)} texts are those of the library")


def model_of(options: argparse.Namespace, *overrides: str) -> Any:
    """Return a model with random weights, in evaluation mode."""
    sizes = (f"model.width={options.width}", f"model.depth={options.depth}")
    config = harness.composed(overrides[0], *sizes, *overrides[1:])
    return build(config["model"], vocabulary=options.vocabulary, context=options.tokens + options.new).eval()


def library_of(options: argparse.Namespace) -> Any:
    """Return the library's GPT-2 with random weights."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=options.vocabulary,
        n_embd=options.width,
        n_layer=options.depth,
        n_head=4,
        n_positions=options.tokens + options.new,
        activation_function="gelu",
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that no two tokens are almost equally probable
            parameter.mul_(3.0)
    model.generation_config.pad_token_id = 0
    return model


def from_gpt2(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights of the library's GPT-2 by the names of ours; its matrices are [in, out]."""
    body = model.transformer
    weights = {
        "embedding.weight": body.wte.weight,
        "head.linear.weight": model.lm_head.weight,
        "position_embedding.weight": body.wpe.weight,
        "norm.weight": body.ln_f.weight,
        "norm.bias": body.ln_f.bias,
    }
    for number, layer in enumerate(body.h):
        parts = {
            "mixer_norm": layer.ln_1,
            "channel_norm": layer.ln_2,
            "mixer.projection_in": layer.attn.c_attn,
            "mixer.projection_out": layer.attn.c_proj,
            "channel.up": layer.mlp.c_fc,
            "channel.down": layer.mlp.c_proj,
        }
        for name, part in parts.items():
            weights[f"blocks.{number}.{name}.weight"] = part.weight.T if part.weight.ndim == 2 else part.weight
            weights[f"blocks.{number}.{name}.bias"] = part.bias
    return {name: weight.detach() for name, weight in weights.items()}


def report(title: str, arms: dict[str, Callable[[], Any]], rounds: int, goal: float, scale: float = 1.0) -> None:
    """Time two arms in turn and print seconds of each and their ratio, round by round.

    Args:
        scale: factor for the time of the second arm.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for (name, arm), factor in zip(arms.items(), (1.0, scale), strict=True):
            start = time.perf_counter()
            arm()
            if turn:
                seconds[name].append(factor * (time.perf_counter() - start))
    console = Console()
    table = Table(title=title, title_justify="left")
    for heading in ("arm", "median seconds", "least", "most"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for name, values in seconds.items():
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))))
    console.print(table)
    ratios = [one / two for one, two in zip(*seconds.values(), strict=True)]
    console.print(
        f"{' / '.join(arms)}: median {statistics.median(ratios):.3f} of {len(ratios)} rounds "
        f"({min(ratios):.3f} to {max(ratios):.3f}); the goal is at most {goal:.3f}. "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}."
    )


if __name__ == "__main__":
    main()
