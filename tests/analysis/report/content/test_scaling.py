import numpy as np
import pytest

from lmlab.analysis.report.content.scaling import points, scaling

E, A, B, ALPHA, BETA = 1.7, 400.0, 410.0, 0.34, 0.28


def law(parameters, tokens):
    return E + A / parameters**ALPHA + B / tokens**BETA


@pytest.fixture
def grid(arm):
    """An arm whose losses follow the law that Hoffmann et al. found, without noise."""

    def written(model, sizes, budgets):
        for size in sizes:
            for tokens in budgets:
                options = {"model.width": int(size // 1000), "budget.tokens": int(tokens)}
                timings = {"tokens": tokens, "seconds": 1.0, "flops": 6 * size * tokens}
                arm(model, {1: law(size, tokens)}, options=options, timings=timings, parameters=int(size), points=2)

    return written


def test_a_known_law_is_found_again(grid, compared, table, chart):
    sizes, budgets = [1e6, 4e6, 1.6e7, 6.4e7], [1e7, 1e8, 1e9]
    grid("transformer", sizes, budgets)
    section = scaling(compared())
    (row,) = table(section, "scaling")
    found = [row[name].value for name in ("E", "alpha", "beta")]
    assert found == pytest.approx([E, ALPHA, BETA], rel=1e-2) and row["points"] == 12
    # Equation 4: tokens and parameters of the best allocation for the largest run's operations
    product = 6.4e7 * 1e9
    balance = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    best = balance * product ** (BETA / (ALPHA + BETA))
    assert row["best tokens per parameter"] == pytest.approx(product / best**2, rel=0.05)
    drawn, curve = chart(section, "scaling-flops").series
    measured = sorted((6 * n * d, law(n, d)) for n in sizes for d in budgets)
    assert np.allclose(sorted(zip(drawn.x["flops"], drawn.y, strict=True)), measured)
    assert curve.kind == "dashes" and all(np.diff(curve.y) < 0)
    for flops, loss in zip(curve.x["flops"], curve.y, strict=True):
        split = np.geomspace(1e4, 1e10, 20_000)
        assert loss == pytest.approx(law(split, flops / 6 / split).min(), rel=1e-2)


def test_one_size_is_a_law_in_operations(grid, compared, table):
    grid("lstm", [1e6], [1e7, 3e7, 1e8, 3e8, 1e9, 3e9])
    (row,) = table(scaling(compared()), "power-law")
    assert row["b"].value == pytest.approx(BETA, rel=0.02)
    assert row["c"].value == pytest.approx(E + A / 1e6**ALPHA, rel=1e-2)


def test_of_each_size_and_budget_the_best_setting(arm, with_diverged):
    for rate, loss in ((1e-3, 1.6), (3e-3, 1.5), (1e-2, float("nan"))):
        arm("lstm", {1: loss, 2: loss + 0.02}, options={"optimizer.lr": rate})
    (one,) = with_diverged().arms
    (point,) = points(one, "validation/loss")
    assert point.loss == pytest.approx(1.51) and point.parameters == 1e6


def test_runs_too_much_alike_have_no_law(arm, compared, losses):
    arm("lstm", losses[0])
    assert scaling(compared()) is None
