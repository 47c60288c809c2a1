"""Run directories as training would have left them, without training: for whatever reads runs.

Losses fall as ``floor + scale * tokens ** -0.3`` with noise of the seed, so that tests know what is to be found.
"""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.config.canonical import CONF, canonical
from lmlab.config.identity import identity
from lmlab.config.nodes import set_at
from lmlab.config.options import architecture
from lmlab.metrics import Measures, Metric
from lmlab.runs.logged import Log
from lmlab.runs.run import Run

EXACT_MATCH = Measures(
    "validation/exact_match",
    ("validation/exact_match", "validation/loss"),
    {
        "exact_match": Metric("exact_match", "exact match", "higher", "{:.1%}"),
        "loss": Metric("loss", "loss (nats/token)", "lower"),
    },
)
"""The metrics of a task of which lmlab knows nothing."""
BY_LOSS = Measures("validation/loss", ("validation/loss",), {"loss": EXACT_MATCH.metrics["loss"]})

VERSION = {"code": "c0de", "git": None, "packages": {"lmlab": "0.1.0", "torch": "2.13.0"}, "python": "3.11.7"}


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"], config["study"]
        choices = {k: str(v) for k, v in choices.items() if "hydra" not in k}
        return {
            "config": canonical(config),
            "choices": choices | {"architecture": architecture(choices, config.model.pattern)},
        }


@cache
def _sizes(model: str, vocabulary: int, context: int) -> dict[str, Any]:
    import torch

    from lmlab.config.build import build
    from lmlab.models.sizes import describe_sizes

    with torch.device("meta"):
        return describe_sizes(build(json.loads(model), vocabulary=vocabulary, context=context), context)


def write_run(
    folder: Path,
    *overrides: str,
    seed: int = 1,
    loss: float = 1.5,
    noise: float = 0.01,
    points: int = 50,
    status: str = "finished",
    options: dict[str, Any] | None = None,
    parameters: int = 1_000_000,
    counted: bool = False,
    **manifest: Any,
) -> Run:
    """Write a run of the configuration that ``lmlab train <overrides>`` composes below ``folder`` (``<outputs>/runs``).

    Args:
        loss: final validation loss in nats per token, before noise (normal, from the seed and the configuration).
        points: rows of training metrics; a tenth as many are validations.
        options: further changes of the configuration by dotted key, without composing.
        counted: sizes are those of the model that the configuration describes, not made up.
        manifest: further fields of ``run.json``; they replace those written here.
    """
    made = _composed(*overrides)
    config = copy.deepcopy(made["config"])
    config |= {"seed": seed}
    config["paths"] |= {"outputs": str(folder.parent), "runs": str(folder)}
    for key, value in (options or {}).items():
        set_at(config, key, value)
    run_id = identity(config)
    draw = np.random.default_rng([seed, int(run_id, 16)])
    final = loss + noise * draw.standard_normal()
    run = Run(folder / f"{config['name']}-{run_id}")
    tokens_per_step = config["batch"]["size"] * config["batch"]["context"]
    vocabulary = config["tokenizer"].get("size") or 256
    steps = -(-int(config["budget"]["tokens"]) // tokens_per_step)
    scores = {
        "validation/loss": final,
        "validation/perplexity": float(np.exp(final)),
        "validation/bits_per_byte": final / float(np.log(2)) * 0.4,
        "validation/accuracy": float(np.exp(-final)),
        "validation/calibration_error": 0.02,
    }
    fields: dict[str, Any] = {
        "provenance": VERSION | {"command": ["lmlab", "train", *overrides], "directory": "."},
        "data": {
            "name": made["choices"]["data"],
            "licence": "test",
            "fingerprint": "f" * 64,
            "corpus_fingerprint": "c" * 64,
            "tokenizer_fingerprint": "t" * 64,
            "vocabulary": vocabulary,
            "splits": {
                "train": {"tokens": 10_000_000, "bytes": 20_000_000},
                "validation": {"tokens": 1e5, "bytes": 2e5},
                "test": {"tokens": 1e5, "bytes": 2e5},
            },
        },
        "choices": made["choices"],
        "sizes": _sizes(json.dumps(config["model"]), vocabulary, config["batch"]["context"])
        if counted
        else {
            "parameters": {"total": parameters, "non_embedding": parameters * 9 // 10, "matmul": parameters},
            "state_bytes_per_sequence": 4096,
            "flops_per_token": 2 * parameters,
            "context": config["batch"]["context"],
        },
        "checks": {"causal": True, "stepwise": 1e-6, "stepwise_agrees": True},
        "training": {"steps": steps, "compiled": False, "accumulate": 1, "stopped_at": steps},
        "timings": {"seconds": 100.0, "tokens": steps * tokens_per_step, "tokens_per_second": 1e4},
        "metrics": scores if status == "finished" else {},
        "attempts": [{"started": "2026-01-01T00:00:00+00:00", "host": "h", "status": status, "code": "c0de"}],
    }
    run.create(config, run_id, **(fields | {"status": status} | manifest))
    at = np.unique(np.linspace(1, steps, points).astype(int))
    losses = final + 3 * ((at / steps) ** -0.3 - 1)
    with run.metrics.open("w") as file:
        for number, (step, value) in enumerate(zip(at.tolist(), losses.tolist(), strict=True)):
            row = {"step": step, "tokens": step * tokens_per_step, "time/seconds": 100.0 * step / steps}
            file.write(json.dumps(row | {"train/loss": value + 0.02, "train/learning_rate": 1e-3}) + "\n")
            if number % 10 == 9 or step == steps:
                row = {"step": step, "tokens": step * tokens_per_step, "time/seconds": 100.0 * step / steps}
                row |= {"validation/loss": value, "validation/bits_per_byte": value / float(np.log(2)) * 0.4}
                file.write(json.dumps(row) + "\n")
    sample = {"step": steps, "tokens": steps * tokens_per_step, "text": f"{config['name']} says"}
    run.samples.write_text(json.dumps(sample) + "\n")
    if status == "finished":
        Log(run.metrics).write_curves()
    return run


def write_answers(run: Run, answers: list[str], scores: list[float], own: bool = False, **about: Any) -> None:
    """Record an evaluation of a run on examples, as ``lmlab evaluate data=quiz`` does.

    Args:
        answers, scores: of each example, whose right answer is its number.
        own: the examples are those of the run's own data.
        about: fields about the predictions that replace those written here.
    """
    rows = [
        {
            "number": number,
            "input": f"question {number}",
            "prediction": answer,
            "references": [str(number)],
            "em": score,
        }
        for number, (answer, score) in enumerate(zip(answers, scores, strict=True))
    ]
    (run.path / "evaluations").mkdir(exist_ok=True)
    (run.path / "evaluations" / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mean, number = sum(scores) / len(scores), len(scores)
    measures = Measures("validation/em", ("validation/em",), {"em": Metric("em", "exact match", "higher", "{:.1f}")})
    none = {"examples": number, "equal": 0, "long_prompts": 0, "prompts": 0, "long_answers": number, "answers": 0}
    row = {
        "settings": {"split": "test", "checkpoint": "final", "context": 128} | ({} if own else {"data": "quiz 9"}),
        "metrics": {"answers": {"em": mean, "tokens": 3 * number}},
        "code": "c0de",
        "data": {"name": "quiz", "fingerprint": "9" * 64},
        "measures": measures.to_record(),
        "predictions": {
            "file": "evaluations/quiz.jsonl",
            "examples": number,
            "decoding": "greedy",
            "signatures": {"em": "exact"},
            "intervals": {"em": [mean - 10, mean + 10]},
            "overlap": none | {"whole": True},
        }
        | about,
    }
    with (run.path / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
