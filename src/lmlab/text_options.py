"""Options whose values are texts: whatever is typed is taken as it is."""

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
"""Options whose values are texts, with their types; reading a command line imports none of their signatures."""

ONCE = frozenset(
    (
        *("arm", "formats", "logger.wandb.artifacts", "metrics", "runs", "study.equal", "tags"),
        *(f"data.paths{split}" for split in ("", ".train", ".validation", ".test")),
    )
)
"""Lists that are sets: adding what is there already changes nothing."""


def kinds_of(option: str) -> tuple[Any, ...]:
    """The types that an option of ``TEXTS`` may have; none for others."""
    return kinds_in(TEXTS[option]) if option in TEXTS else ()


def kinds_in(hint: Hint) -> tuple[Any, ...]:
    """The types that a hint allows, without what is in lists."""
    members = (hint,) if isinstance(hint, type) or hasattr(hint, "__origin__") else hint.__args__
    return tuple(getattr(member, "__origin__", member) for member in members)
