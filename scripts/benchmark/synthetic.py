"""Write many run directories like those of training, to time reading them."""

import copy
import json
from pathlib import Path

import numpy as np

from lmlab.config.identity import identity
from lmlab.config.nodes import Config
from lmlab.runs import config_file
from lmlab.runs.logged import Log
from lmlab.runs.run import Run

COLUMNS = ("time/seconds", "time/tokens_per_second", "train/bad_steps", "train/loss", "train/gradient_norm")
"""Keys of a training row besides its step, tokens and learning rate."""


def write_runs(folder: Path, config: Config, count: int, points: int) -> list[Run]:
    """Write ``count`` finished runs with ``points`` rows of training each, and a validation every hundred rows.

    They differ in their seeds. The rows of a run are one of eight random sets.
    """
    variants = [rows_of(np.random.default_rng(number), points) for number in range(min(8, count))]
    text = config_file.dump(config | {"seed": 987654321})
    runs = []
    for seed in range(count):
        run_id = identity(config | {"seed": seed})
        run = Run(folder / f"{config['name']}-{run_id}")
        manifest = manifest_of(config, run_id, seed, points)
        run.path.mkdir(parents=True)
        own = text.replace("987654321", str(seed))
        (run.path / "config.yaml").write_text(own)
        (run.path / "config.json").write_text(config_file.dump_copy(config | {"seed": seed}, own))
        (run.path / "run.json").write_text(json.dumps(manifest, indent=2) + "\n")
        run.metrics.write_text("".join(variants[seed % len(variants)]))
        Log(run.metrics).write_curves()
        (run.path / "run.lock").touch()
        (run.path / "owner.1.json").write_text("{}")
        runs.append(run)
    return runs


def rows_of(draw: np.random.Generator, points: int, first: int = 1) -> list[str]:
    """Return lines of ``metrics.jsonl`` from step ``first`` on, as long as those of real runs."""
    lines = []
    for step in range(first, first + points):
        noise = draw.random(5).tolist()
        row = {"step": step, "time/seconds": 0.05 * step + 0.01 * noise[0], "time/tokens_per_second": 7e4 + noise[1]}
        row |= {"train/bad_steps": 0, "train/loss": 1.5 + 3 * step**-0.3 + 0.1 * noise[2]}
        row |= {"train/gradient_norm": noise[3], "train/learning_rate": 1e-3 * noise[4], "tokens": step * 4096}
        lines.append(json.dumps(row) + "\n")
        if step % 100 == 0:
            scores = {"loss": 1.5 + noise[0], "perplexity": 5 + noise[1], "bits_per_byte": 0.8 + noise[2]}
            scores |= {"accuracy": noise[3], "calibration_error": noise[4]}
            named = {f"validation/{name}": value for name, value in scores.items()}
            lines.append(json.dumps({"step": step, **named, "tokens": step * 4096}) + "\n")
    return lines


def manifest_of(config: Config, run_id: str, seed: int, steps: int) -> dict:
    """Return a manifest as long as those of real runs."""
    packages = {f"package-{number}": "1.2.3" for number in range(10)}
    return copy.deepcopy(
        {
            "version": 1,
            "id": run_id,
            "identity": run_id,
            "name": config["name"],
            "status": "finished",
            "created": "2026-01-01T00:00:00+00:00",
            "seed": seed,
            "tags": [],
            "attempts": [{"started": "2026-01-01T00:00:00+00:00", "host": "h", "status": "finished", "code": "c0de"}],
            "metrics": {"validation/loss": 1.5, "validation/bits_per_byte": 0.8, "validation/accuracy": 0.5},
            "provenance": {"code": "c0de", "git": None, "packages": packages, "python": "3.11.7", "command": ["lmlab"]},
            "data": {"name": "stdlib", "licence": "PSF-2.0", "fingerprint": "f" * 64, "vocabulary": 256},
            "choices": {"model": "lstm", "data": "stdlib", "optimizer": "adamw", "scheduler": "cosine"},
            "sizes": {"parameters": {"total": 1, "non_embedding": 1, "matmul": 1}, "flops_per_token": 2e6},
            "training": {"steps": steps, "compiled": False},
            "timings": {"seconds": 100.0, "tokens": steps * 4096, "tokens_per_second": 1e4},
        }
    )
