"""Check of the options of a sweep's jobs before any of them is computed."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands import tables
from lmlab.commands.composing import changed, compose, computes_elsewhere
from lmlab.commands.hints import explain
from lmlab.commands.train import check_job
from lmlab.config import canonical
from lmlab.errors import UserError
from lmlab.overrides import is_addition
from lmlab.runs.average import check_averaged
from lmlab.sweeps.search import Space


def check_jobs(launcher: Any, space: Space) -> None:
    """Refuse a sweep of runs if an option of a job is wrong, which might otherwise show only after hours.

    The values are checked with every combination of the options of the varied groups, without the data. Each
    combination is composed only once, because composing takes longest.

    Raises:
        UserError: the message names the job.
    """
    if launcher.config.hydra.job.config_name != "train":
        return
    here, objectives = not computes_elsewhere(launcher), OmegaConf.select(launcher.config, "sweep.objectives") or {}
    before = HydraConfig.instance().cfg
    try:
        with tables.progress_console.status("Checking the jobs"):
            for jobs in space.samples():
                composed = None
                for words in jobs:
                    own = " ".join(word for word in words if word not in space.fixed)
                    try:
                        other = [word for word in words if word not in jobs[0]]
                        if composed is None or any(map(is_addition, other)):
                            composed, other = compose(launcher, words), []
                        config = canonical(changed(composed, other))
                        for objective in map(str, objectives):
                            check_averaged(f"sweep.objectives.{objective}", objective, config["callbacks"])
                        check_job(config, words, here)
                    except (UserError, HydraException, OmegaConfBaseException) as error:
                        why = str(error) if isinstance(error, UserError) else explain(error, "train", words)
                        named = why.startswith(f"{own}:") or not own
                        raise UserError(why if named else f"{why} (in the job {own})") from error
    finally:
        HydraConfig.instance().cfg = before
