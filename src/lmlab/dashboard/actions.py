"""Actions of the dashboard: stop and retry runs and sweeps, and write a report of selected runs."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from lmlab.analysis.comparison import compare
from lmlab.analysis.records import read
from lmlab.analysis.report import folder as report
from lmlab.dashboard.index import Index
from lmlab.errors import UserError
from lmlab.processes.control import detached, start_again, tell_to_stop
from lmlab.sweeps.study import trials_of_all


class Actions:
    """Executes actions on the runs and sweeps of an index.

    Each action raises ``UserError`` if it cannot be carried out.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.reports: dict[str, Path] = {}
        """Reports written so far, by the name in their address."""

    def stop(self, run: str) -> str:
        tell_to_stop(self.index.run(run))
        return "is stopping; it writes its state first"

    def retry(self, run: str) -> str:
        start_again(self.index.run(run))
        return "is restarting, from its last checkpoint if it has one"

    def stop_sweep(self, sweep: str) -> str:
        self.index.sweep(sweep).tell_to_stop()
        return "is stopping; its runs write their state first"

    def retry_sweep(self, sweep: str) -> str:
        entry = self.index.sweep(sweep)
        if entry.status == "running":
            raise UserError(f"{sweep}: already running")
        entry.check_signed()
        quoted = sweep.replace("'", r"\'")
        command = [sys.executable, "-P", "-m", "lmlab", "sweep", "retry", f"name='{quoted}'"]
        outputs = str(self.index.outputs.absolute())
        detached(command, Path.cwd(), entry.path / "retry.log", LMLAB_OUTPUTS=outputs, COLUMNS="160")
        return "is restarting, failed jobs included"

    def compare(self, runs: list[str], metric: str | None) -> str:
        """Write a report of runs and return its name in the address.

        Args:
            metric: see :func:`lmlab.analysis.comparison.compare`.
        """
        if not runs:
            raise UserError("select the runs to compare first")
        records = read((self.index.run(key) for key in dict.fromkeys(runs)), self.index.cache)
        comparison = compare(records.readable, metric, trials=trials_of_all(self.index.outputs / "sweeps"))
        if not comparison.arms:
            raise UserError(f"none of the selected runs is finished and has {comparison.metric}")
        command = f"lmlab report 'runs=[{','.join(sorted(runs))}]' metric={comparison.metric}"
        name = hashlib.sha256(json.dumps([sorted(runs), comparison.metric]).encode()).hexdigest()[:12]
        folder = self.index.outputs / "reports" / f"dashboard-{name}"
        report.write(comparison, records.unreadable, folder, command)
        self.reports[name] = folder / report.PAGE
        return name

    def carry_out(self, action: str, request: dict[str, Any]) -> dict[str, str]:
        """Execute the action that the page requests.

        Raises:
            UserError: the action fails or does not exist.
        """
        subject = request.get("run") or request.get("sweep")
        if action == "compare":
            runs, metric = request.get("runs"), request.get("metric")
            if not isinstance(runs, list) or not all(isinstance(run, str) for run in [*runs, metric or ""]):
                raise UserError("runs: expected a list of names")
            return {"report": self.compare(runs, metric)}
        actions = {
            "stop": self.stop,
            "retry": self.retry,
            "stop_sweep": self.stop_sweep,
            "retry_sweep": self.retry_sweep,
        }
        if action not in actions or not isinstance(subject, str):
            raise UserError(f"{action}: unknown")
        return {"said": f"{subject} {actions[action](subject)}"}
