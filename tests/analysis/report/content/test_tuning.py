from dataclasses import replace

import numpy as np
import pytest

from lmlab.analysis.report.content.tuning import rounded, tuning


def losses_by_rate(arm, model, table):
    for rate, losses in table.items():
        arm(model, losses, options={"optimizer.lr": rate})


@pytest.fixture
def tuned(arm):
    losses_by_rate(arm, "lstm", {1e-3: {1: 1.6, 2: 1.7}, 3e-3: {1: 1.5, 2: 1.52}, 1e-2: {1: 1.58, 2: 1.56}})
    losses_by_rate(arm, "transformer", {1e-3: {1: 1.5}, 3e-3: {1: 1.45}, 1e-2: {1: 1.40}})


def test_the_best_value_its_edge_and_its_spread(tuned, compared, table, chart):
    section = tuning(compared())
    lstm, transformer = table(section, "tuning")
    assert (lstm["option"], lstm["values tried"], lstm["values"]) == ("optimizer.lr", "0.001, 0.003 and 0.01", 3)
    assert (lstm["chosen"], lstm["best at an edge"], lstm["spread"]) == ("0.003", "no", pytest.approx(0.14))
    assert (transformer["best at an edge"], transformer["spread"]) == ("yes", pytest.approx(0.1))
    assert section.parts[0].text.startswith("Best at the edge of what was tried: transformer: optimizer.lr=0.01 (try ")
    assert "(try optimizer.lr=0.03). A better" in section.parts[0].text
    found = chart(section, "sensitivity-optimizer-lr")
    assert found.x["optimizer.lr"].log
    first, second = found.series
    assert first.x["optimizer.lr"] == [1e-3, 3e-3, 1e-2]
    assert first.y == pytest.approx([1.65, 1.51, 1.57])
    assert (first.low[0], first.high[0]) == (1.6, 1.7)
    assert second.y == pytest.approx([1.5, 1.45, 1.40])


def test_values_are_rounded_as_far_as_they_remain_different():
    assert rounded([0.0012837465, 0.00348475, 2.0, 16, "cosine"]) == ["0.00128", "0.00348", "2", "16", "cosine"]
    assert rounded([0.0012831, 0.0012837]) == ["0.001283", "0.001284"]


def test_expected_best_against_every_draw(tuned, compared, chart):
    lstm, _ = chart(tuning(compared()), "expected-best").series
    assert lstm.x["trials"] == [1.0, 2.0, 3.0]
    scores = [1.65, 1.51, 1.57]
    two = np.mean([min(a, b) for a in scores for b in scores])  # every pair of draws with replacement
    three = np.mean([min(a, b, c) for a in scores for b in scores for c in scores])
    assert lstm.y == pytest.approx([np.mean(scores), two, three])


def test_an_option_with_names_for_values_and_one_of_two(arm, compared, table, chart):
    for schedule in ("cosine", "wsd"):
        for rate in (1e-3, 2e-3):
            loss = {"cosine": 1.5, "wsd": 1.4}[schedule] + rate
            target = f"lmlab.training.schedules.{schedule.title()}"
            arm("lstm", {1: loss}, options={"optimizer.lr": rate, "scheduler._target_": target})
    section = tuning(compared())
    rows = {row["option"]: row for row in table(section, "tuning")}
    assert rows["scheduler._target_"]["best at an edge"] == ""  # names have no order
    found = chart(section, "sensitivity-scheduler-target").series[0]
    assert found.x["scheduler._target_"] == ["lmlab.training.schedules.Cosine", "lmlab.training.schedules.Wsd"]
    assert found.y == pytest.approx([1.501, 1.401])  # each with the better rate
    assert not chart(section, "sensitivity-optimizer-lr").x["optimizer.lr"].log


def test_a_setting_that_diverged_is_tried_but_not_drawn(arm, with_diverged, table, chart):
    losses_by_rate(arm, "lstm", {1e-3: {1: 1.6}, 3e-3: {1: 1.5}, 1e-1: {1: float("nan")}})
    section = tuning(with_diverged())
    (row,) = table(section, "tuning")
    assert row["values tried"] == "0.001, 0.003 and 0.1" and row["best at an edge"] == "no"
    assert chart(section, "sensitivity-optimizer-lr").series[0].x["optimizer.lr"] == [1e-3, 3e-3]
    assert max(chart(section, "expected-best").series[0].y) < 1.6  # as bad as the worst that did not


def test_a_study_s_final_runs_are_no_trials(arm, compared, table, chart):
    losses_by_rate(arm, "lstm", {1e-3: {0: 1.6}, 3e-3: {0: 1.5}, 1e-2: {0: 1.55}})
    comparison = compared()
    (one,) = comparison.arms
    final = replace(one, settings=[*one.settings[:2], one.settings[2]], representative=one.settings[2])
    section = tuning(replace(comparison, arms=[final], study=object()))
    assert table(section, "tuning")[0]["values"] == 2


def test_nothing_varied_within_an_arm(arm, compared, losses):
    arm("lstm", losses[0])
    arm("transformer", losses[1])
    assert tuning(compared()) is None
