"""Options whose values are texts, which are read exactly as typed."""

from typing import Any

Hint = Any

TEXTS: dict[str, Hint] = {
    **dict.fromkeys(
        (
            "callbacks.samples.prompt",
            "checkpoint",
            "device.name",
            "host",
            "accelerator",
            "logger.wandb.project",
            "prompt",
            "sort",
            "start.checkpoint",
            "sweep.pruner",
            "sweep.sampler",
            "trainer.precision",
        ),
        str,
    ),
    **dict.fromkeys(
        (
            "baseline",
            "device.reported",
            "direction",
            "execution.rendezvous",
            "hydra.launcher.account",
            "hydra.launcher.address",
            "hydra.launcher.constraint",
            "hydra.launcher.partition",
            "hydra.launcher.qos",
            "logger.wandb.entity",
            "logger.wandb.group",
            "logger.wandb.name",
            "logger.wandb.notes",
            "metric",
            "model.path",
            "name",
            "older",
            "output",
            "prompts",
            "paths.cache",
            "paths.corpora",
            "paths.outputs",
            "paths.runs",
            "run",
            "status",
            "study.direction",
            "study.metric",
            "study.question",
            "split",
            "start.run",
            "sweep.storage",
            "sweep.study",
            "tag",
            "token",
        ),
        str | None,
    ),
    **dict.fromkeys(("metrics", "study.equal", "tags"), list[str]),
    "model.pattern": list[str] | None,
    **dict.fromkeys(("arm", "stop"), str | list[str] | None),
    **dict.fromkeys((f"data.paths{split}" for split in ("", ".train", ".validation", ".test")), str | list[str] | None),
    **dict.fromkeys(("runs", "what"), str | list[str] | None),
    "formats": str | list[str],
}
"""Types of options whose values are texts. Listed here so that a command line is read without importing signatures."""

ONCE = frozenset(
    (
        *("arm", "formats", "logger.wandb.artifacts", "metrics", "runs", "study.equal", "tags"),
        *(f"data.paths{split}" for split in ("", ".train", ".validation", ".test")),
    )
)
"""Lists with the semantics of sets: adding an element that is present changes nothing."""


def kinds_of(option: str) -> tuple[Any, ...]:
    """Return the allowed types of an option of ``TEXTS``; empty for other options."""
    return kinds_in(TEXTS[option]) if option in TEXTS else ()


def kinds_in(hint: Hint) -> tuple[Any, ...]:
    """Return the types that a hint allows, without the types of list elements."""
    members = (hint,) if isinstance(hint, type) or hasattr(hint, "__origin__") else hint.__args__
    return tuple(getattr(member, "__origin__", member) for member in members)
