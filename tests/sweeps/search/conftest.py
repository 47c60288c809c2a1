"""A loop that launches jobs which only pretend to train."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import BY_LOSS

from lmlab.runs.files import write_json
from lmlab.sweeps.search import Proposal, Search


def options(proposal: Proposal) -> dict[str, str]:
    """A job's options with their values, as text."""
    return dict(word.split("=", 1) for word in proposal.overrides)


@dataclass
class Job:
    """A job that pretends: validations on its way, then the metrics of its end, or None if it fails."""

    metrics: dict[str, float] | None
    losses: list[float] = field(default_factory=list)


@dataclass
class Record:
    """What became of a sweep's jobs, in the order in which they ended."""

    proposals: dict[int, Proposal] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    validations: dict[int, int] = field(default_factory=dict)
    totals: set[int] = field(default_factory=set)
    """How many jobs there were and would be, at each moment."""


@pytest.fixture
def recorded(tmp_path_factory) -> Path:
    """The directory of a run whose primary metric is the loss."""
    folder = tmp_path_factory.mktemp("run")
    write_json(folder / "run.json", {"measures": BY_LOSS.to_record()})
    return folder


@pytest.fixture
def simulate(recorded) -> Callable[..., Record]:
    """Launch what a search proposes, ``parallel`` jobs at once, one validation of each in turn.

    ``limit``: stop asking, as if killed, once so many jobs have ended.
    """

    def loop(
        search: Search, train: Callable[[dict[str, str]], Job], *, parallel: int = 1, limit: int | None = None
    ) -> Record:
        record = Record()
        under_way: list[tuple[Proposal, Job, Iterator[Any]]] = []
        while not search.done:
            if limit is not None and len(record.outcomes) >= limit:
                return record
            while len(under_way) < parallel and (proposal := search.ask()) is not None:
                assert proposal.number not in record.proposals, "a number is given once"
                record.proposals[proposal.number] = proposal
                record.totals.add(search.total)
                job = train(options(proposal))
                under_way.append((proposal, job, iter(enumerate(job.losses, 1))))
            assert under_way, "a search that is not done proposes something or waits for something"
            for entry in list(under_way):
                proposal, job, validations = entry
                row = next(validations, None)
                if row is not None:
                    index, loss = row
                    record.validations[proposal.number] = index
                    rows = [{"step": index, "tokens": 100 * index - 50, "train/loss": 9.0}]
                    rows.append({"step": index, "tokens": 100 * index, "validation/loss": loss})
                    if search.watch(proposal, rows) is None:
                        continue
                    search.tell(proposal, "pruned", {})
                    record.outcomes[proposal.number] = "pruned"
                elif job.metrics is None:
                    search.tell(proposal, "failed", {})
                    record.outcomes[proposal.number] = "failed"
                else:
                    search.tell(proposal, "finished", job.metrics, recorded)
                    record.outcomes[proposal.number] = "finished"
                under_way.remove(entry)
        assert search.ask() is None and search.to_come(record.proposals) == 0
        return record

    return loop


@pytest.fixture
def job() -> type[Job]:
    return Job
