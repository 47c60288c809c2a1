"""The other sections, on runs that have what they show and on runs that lack it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.content.answers import samples
from lmlab.analysis.report.content.arms import differences
from lmlab.analysis.report.content.power import SHARES, power
from lmlab.analysis.report.content.provenance import commands, every_run, left_out, provenance
from lmlab.analysis.report.content.tradeoffs import POINTS, tradeoffs
from lmlab.analysis.report.document import Code, SideBySide, Text

EMPTY = Comparison("validation/loss", [])


def test_the_front_is_what_no_setting_beats_in_both(arm, compared, chart):
    points = {"lstm": [(1e9, 1.6), (2e9, 1.5), (4e9, 1.5)], "transformer": [(1.5e9, 1.7), (3e9, 1.4), (8e9, 1.45)]}
    for model, settings in points.items():
        for number, (flops, loss) in enumerate(settings):
            timings = {"tokens": 1e6, "seconds": 10.0, "flops": flops, "peak_memory_bytes": 1e6}
            generation = {"tokens_per_second": 1e10 / flops}
            arm(model, {1: loss}, options={"optimizer.lr": 1e-3 * (number + 1)}, timings=timings, generation=generation)
    section = tradeoffs(compared())
    found = chart(section, "flops-front")
    lstm, transformer, line = found.series
    assert sorted(zip(lstm.x["flops"], lstm.y, strict=True)) == [(1e9, 1.6), (2e9, 1.5), (4e9, 1.5)]
    assert len(transformer.y) == 3 and set(transformer.details) == {f"optimizer.lr={i / 1000:g}" for i in (1, 2, 3)}
    every = [point for settings in points.values() for point in settings]
    best = [p for p in every if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in every)]
    assert list(zip(line.x["flops"], line.y, strict=True)) == sorted(best)
    assert found.x["flops"].log and line.kind == "dashes"
    fast = chart(section, "generation-front").series[-1]
    assert list(zip(fast.x["generation"], fast.y, strict=True)) == sorted((1e10 / f, loss) for f, loss in best)
    assert not {"memory-front", "seconds-front"} & {part.name for part in section.parts}  # no setting differs in these


def test_no_front_where_nothing_differs(arm, compared, losses):
    arm("lstm", losses[0])
    arm("transformer", losses[1])
    assert tradeoffs(compared()) is None
    assert POINTS == 200


def test_seeds_needed_agree_with_the_noncentral_t_distribution(arm, compared, table, chart, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    section = power(compared())
    (row,) = table(section, "power")
    difference = np.array([transformer[seed] - lstm[seed] for seed in lstm])
    sd = difference.std(ddof=1)
    assert row["standard deviation of differences"] == pytest.approx(sd)
    assert chance(row["resolvable now"] / sd, 5) == pytest.approx(0.8, abs=1e-6)
    for share in SHARES:
        seeds = row[f"seeds for {share:.1%} of lstm"]
        effect = share * np.mean(list(lstm.values())) / sd
        assert chance(effect, seeds) >= 0.8 and (seeds == 2 or chance(effect, seeds - 1) < 0.8)
    series = chart(section, "resolvable-difference").series[0]
    for n, least in zip(series.x["seeds"], series.y, strict=True):
        assert chance(least / sd, int(n)) == pytest.approx(0.8, abs=1e-6)


def chance(effect, n):
    """Of a two-sided paired t test at 5 % to find an effect (in standard deviations)."""
    critical = stats.t.ppf(0.975, n - 1)
    shifted = stats.nct(n - 1, abs(effect) * np.sqrt(n))
    return float(
        shifted.sf(critical) + np.nan_to_num(shifted.cdf(-critical))
    )  # scipy has no name for so small a number


def test_one_seed_says_nothing_about_power(arm, compared):
    arm("lstm", {1: 1.5})
    arm("transformer", {1: 1.4})
    assert power(compared()) is None


def test_differences_that_rounding_alone_tells_apart_say_nothing_about_power(arm, compared):
    arm("lstm", {1: 0.1, 2: 0.3, 3: 0.2})
    arm("transformer", {1: 0.2, 2: 0.4, 3: 0.3})
    assert power(compared()) is None


def test_the_newest_sample_of_each_arm(arm, compared):
    for run in arm("lstm", {1: 1.5, 2: 1.5}):
        rows = [{"step": 1, "tokens": 1, "text": "old"}, {"step": 2, "tokens": 2, "text": f"new\x1b[31m {run.id}"}]
        run.samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for run in arm("transformer", {1: 1.5}):
        run.samples.unlink()
    comparison = compared()
    _, shown = samples(comparison).parts
    first = comparison.arms[0].runs[0]
    assert shown == SideBySide({f"lstm (seed 1, {first.label})": f"new\N{REPLACEMENT CHARACTER}[31m {first.id}"})
    assert samples(replace(comparison, arms=comparison.arms[1:])) is None


def test_what_differs_and_what_does_not(arm, compared, table, losses):
    arm("lstm", losses[0])
    assert differences(compared()) is None  # one arm differs from nothing
    arm("transformer", losses[1], options={"optimizer.lr": 3e-3})
    section = differences(compared())
    rows = {row["option"]: row for row in table(section, "differences")}
    assert (rows["optimizer.lr"]["lstm"], rows["optimizer.lr"]["transformer"]) == ("0.001", "0.003")
    assert rows["model.channel._target_"]["lstm"] == "—"
    assert not {"seed", "name"} & rows.keys()
    assert {row["property"] for row in table(section, "equal")} >= {"data", "context"}


def test_every_run_of_every_setting(arm, compared, table):
    arm("lstm", {1: 1.5, 2: 1.6})
    arm("lstm", {1: 1.7}, options={"optimizer.lr": 3e-3})
    arm("transformer", {1: 1.4})
    comparison = compared()
    rows = table(every_run(comparison), "runs")
    expected = {("lstm", 1, "yes"), ("lstm", 2, "yes"), ("lstm", 1, "no"), ("transformer", 1, "yes")}
    assert {(row["arm"], row["seed"], row["in the conclusion"]) for row in rows} == expected and len(rows) == 4
    assert sorted(row["validation loss (nats/token)"] for row in rows) == [1.4, 1.5, 1.6, 1.7]
    assert {row["optimizer.lr"] for row in rows} == {"0.001", "0.003"}
    assert every_run(EMPTY) is None


def test_what_is_left_out_and_why(arm, compared, table):
    arm("lstm", {1: 1.5})
    attempts = [{"status": "failed", "error": "out of disk"}]
    arm("transformer", {1: 1.5}, status="failed", attempts=attempts)
    comparison = compared()
    rows = table(left_out(comparison, {Path("runs/broken"): "runs/broken/run.json cannot be read"}), "left-out")
    assert [row["why"] for row in rows] == ["is failed: out of disk", "runs/broken/run.json cannot be read"]
    assert rows[0]["run"].startswith("transformer-stdlib ") and rows[0]["arm"] == "transformer"
    assert rows[1]["run"] == "broken" and rows[1]["arm"] is None
    assert left_out(EMPTY, {}) is None


def test_where_results_come_from_with_how_many_runs_agree(arm, compared, table):
    arm("lstm", {1: 1.5, 2: 1.5})
    version = {
        "code": "beef",
        "git": {"commit": "0123456789abcdef0123", "dirty": True},
        "packages": {"torch": "2.14.0"},
    }
    arm("transformer", {1: 1.4}, provenance=version)
    rows = table(provenance(compared()), "provenance")
    found = {(row["property"], row["value"]): row["runs"] for row in rows}
    assert found["code", "c0de"] == 2 and found["code", "beef"] == 1
    assert found["torch", "2.13.0"] == 2 and found["torch", "2.14.0"] == 1
    assert found["git commit", "0123456789abcdef"] == 1 and found["uncommitted changes", "yes"] == 1
    assert found["fingerprint of the data", "f" * 16] == 3
    assert provenance(EMPTY) is None


def test_the_commands_of_runs_and_of_sweeps(arm, compared, folder):
    arm("lstm", {1: 1.5, 2: 1.5})
    words = {"code": "c", "packages": {}, "command": ["lmlab", "model=gru", "callbacks.samples.prompt=a b"]}
    arm("gru", {1: 1.5}, provenance=words)
    sweep = folder.parent / "sweeps" / "2026-01-01"
    sweep.mkdir(parents=True)
    definition = {
        "version": 1,
        "command": ["-m", "model=transformer", "seed=1,2"],
        "directory": ".",
        "status": "finished",
    }
    (sweep / "sweep.json").write_text(json.dumps(definition))
    arm("transformer", {1: 1.4, 2: 1.4}, sweep="2026-01-01")
    arm("rnn", {1: 1.4}, sweep="deleted")
    comparison = compared()
    asked, afresh = (part.text.splitlines() for part in commands(comparison).parts if isinstance(part, Code))
    assert asked == [
        "lmlab train model=gru 'callbacks.samples.prompt=a b'",
        "lmlab train model=lstm",
        "lmlab train model=rnn",
        "lmlab train -m model=transformer seed=1,2",
    ]
    assert afresh == [f"lmlab reproduce run={one.runs[0].id}" for one in comparison.arms]
    assert commands(EMPTY) is None


def test_a_page_of_commands_is_cut(arm, compared):
    for number in range(45):
        arm("lstm", {number: 1.5}, provenance={"packages": {}, "command": ["lmlab", f"seed={number}"]})
    parts = commands(compared()).parts
    assert len(parts[1].text.splitlines()) == 40
    assert Text("And 5 more, each recorded in the run.json of its runs.") in parts
