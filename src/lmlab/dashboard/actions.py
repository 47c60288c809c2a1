"""What the page can have done: stop and retry runs and sweeps, and a report of chosen runs."""

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


class Actions:
    """Carries out what is asked for, on runs and sweeps that the index has found.

    Each raises ``UserError`` where it cannot.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.reports: dict[str, Path] = {}
        """Reports that were made, by the name in their address."""

    def stop(self, run: str) -> str:
        tell_to_stop(self.index.run(run))
        return "is being stopped; it writes its state first"

    def retry(self, run: str) -> str:
        start_again(self.index.run(run))
        return "is tried again, from its last checkpoint if there is one"

    def stop_sweep(self, sweep: str) -> str:
        self.index.sweep(sweep).tell_to_stop()
        return "is being stopped; its runs write their state first"

    def retry_sweep(self, sweep: str) -> str:
        found = self.index.sweep(sweep)
        if found.status == "running":
            raise UserError(f"{sweep}: is running")
        found.check_signed()
        quoted = sweep.replace("'", r"\'")
        command = [sys.executable, "-P", "-m", "lmlab", "sweep", "retry", f"name='{quoted}'"]
        outputs = str(self.index.outputs.absolute())
        detached(command, Path.cwd(), found.path / "retry.log", LMLAB_OUTPUTS=outputs, COLUMNS="160")
        return "goes on, also with what failed"

    def compare(self, runs: list[str], metric: str | None) -> str:
        """Write a report of runs and return the name in its address.

        Args:
            metric: see :func:`lmlab.analysis.comparison.compare`.
        """
        if not runs:
            raise UserError("choose the runs to compare first")
        records = read((self.index.run(key) for key in dict.fromkeys(runs)), self.index.cache)
        comparison = compare(records.found, metric)
        if not comparison.arms:
            raise UserError(f"none of the chosen runs is finished and has {comparison.metric}")
        command = f"lmlab report 'runs=[{','.join(sorted(runs))}]' metric={comparison.metric}"
        name = hashlib.sha256(json.dumps([sorted(runs), comparison.metric]).encode()).hexdigest()[:12]
        folder = self.index.outputs / "reports" / f"dashboard-{name}"
        report.write(comparison, records.unreadable, folder, command)
        self.reports[name] = folder / report.PAGE
        return name

    def carry_out(self, action: str, asked: dict[str, Any]) -> dict[str, str]:
        """Do what a request of the page asks for.

        Raises:
            UserError: it cannot be done, or nothing of that kind can be asked for.
        """
        subject = asked.get("run") or asked.get("sweep")
        if action == "compare":
            runs, metric = asked.get("runs"), asked.get("metric")
            if not isinstance(runs, list) or not all(isinstance(run, str) for run in [*runs, metric or ""]):
                raise UserError("runs: expected a list of names")
            return {"report": self.compare(runs, metric)}
        known = {"stop": self.stop, "retry": self.retry, "stop_sweep": self.stop_sweep, "retry_sweep": self.retry_sweep}
        if action not in known or not isinstance(subject, str):
            raise UserError(f"{action}: unknown")
        return {"said": f"{subject} {known[action](subject)}"}
