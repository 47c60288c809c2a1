"""A plan in words: as a name in a table, and as the command that starts the run as planned."""

import shlex
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig

from lmlab.overrides import option_of

OWN = ("device", "devices", "devices_per_node", "network", "efficiency", "price", "vocabulary", "format")
"""Options that ``lmlab train`` does not have."""

SHARED = ("trainer.devices", "trainer.nodes", "trainer.strategy", "trainer.accumulate", "trainer.accelerator")
"""Options that a plan decides."""


def name_of(plan: Any) -> str:
    """A strategy in a column: fsdp 4 x tp 2, checkpointed."""
    size = {
        "ddp": "ddp",
        "fsdp": "fsdp",
        "tp": f"tp {plan.group}",
        "fsdp x tp": f"fsdp {plan.shards} x tp {plan.group}",
    }
    name = size[plan.strategy]
    if plan.strategy == "tp" and plan.devices > plan.group:
        name = f"ddp {plan.devices // plan.group} x {name}"
    return name + (", checkpointed" if plan.checkpointing else "")


def described(plan: Any) -> str:
    """A plan in words."""
    return f"{name_of(plan)}, trainer.accumulate={plan.accumulate} (micro-batches of {plan.rows:,})"


def words_of(plan: Any, cluster: Any) -> list[str]:
    """Return the options of ``lmlab train`` for how a plan shares a run."""
    inside = min(plan.devices, cluster.per_node)
    words = [f"trainer.devices={inside}"] if plan.devices > 1 else []
    words += [f"trainer.nodes={plan.devices // inside}"] if plan.devices > inside else []
    words += ["trainer.strategy=fsdp"] if plan.strategy != "ddp" else []
    words += [f"trainer.tensor_parallel={plan.group}"] if plan.group > 1 else []
    words += ["trainer.activation_checkpointing=true"] if plan.checkpointing else []
    return [*words, f"trainer.accumulate={plan.accumulate}"] if plan.accumulate > 1 else words


def command(plan: Any, cluster: Any) -> str:
    """Return the line that starts the run as planned."""
    decided = SHARED if plan.strategy == "ddp" else (*SHARED, "trainer.compile")  # shards are not compiled
    asked = [word for word in HydraConfig.get().overrides.task if not _is(word, OWN) and not _is(word, decided)]
    accelerator = [] if cluster.device.name.startswith("this CPU") else ["trainer.accelerator=cuda"]
    flags = [word for word in sys.argv[1:] if word.startswith("--config-dir")]
    return shlex.join(["lmlab", "train", *flags, *asked, *accelerator, *words_of(plan, cluster)])


def _is(word: str, options: tuple[str, ...]) -> bool:
    key = option_of(word)
    return any(key == option or key.startswith(f"{option}.") for option in options)


def duration(seconds: float) -> str:
    """A time to three digits: 1.2 ms, 35 s, 4.1 h, 3.2 days."""
    for size, unit in ((86400 * 2, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / (86400 if unit == 'days' else size):.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"
