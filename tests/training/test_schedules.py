import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lmlab.config import CONF, build
from lmlab.errors import UserError
from lmlab.training.schedules import Constant, Cosine, InverseSquareRoot, Linear, WarmupStableDecay

TOTAL = st.integers(1, 300)
STEPS = st.integers(0, 300)
SHARE = st.floats(0, 0.99)
FLOOR = st.floats(0, 1)


def curve(schedule, total: int) -> list[float]:
    return [schedule(step, total) for step in range(total)]


@given(TOTAL, STEPS, FLOOR)
def test_cosine_equals_its_formula(total, warmup, floor):
    assume(warmup <= total)
    expected = [(step + 1) / (warmup + 1) for step in range(warmup)]
    way_down = total - warmup
    for place in range(way_down):
        angle = math.pi * place / (way_down - 1) if way_down > 1 else 0.0
        expected.append(floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(angle)))
    assert curve(Cosine(warmup, floor), total) == pytest.approx(expected)


@given(TOTAL, STEPS, STEPS, FLOOR)
def test_warmup_stable_decay_equals_its_three_parts(total, warmup, decay, floor):
    assume(warmup + decay <= total)
    rise = [(step + 1) / (warmup + 1) for step in range(warmup)]
    stable = [1.0] * (total - warmup - decay)
    fall = [1.0 + (floor - 1.0) * (place + 1) / decay for place in range(decay)]
    assert curve(WarmupStableDecay(warmup, decay, floor), total) == pytest.approx(rise + stable + fall)


@given(TOTAL, STEPS, FLOOR)
def test_linear_is_two_straight_lines(total, warmup, floor):
    assume(warmup <= total)
    rise = [(step + 1) / (warmup + 1) for step in range(warmup)]
    last = max(1, total - warmup - 1)
    fall = [(1.0 * (last - place) + floor * place) / last for place in range(total - warmup)]
    assert curve(Linear(warmup, floor), total) == pytest.approx(rise + fall)


@given(TOTAL, STEPS)
def test_inverse_square_root_equals_its_equation(total, warmup):
    assume(warmup <= total)
    peak = warmup + 1  # the paper counts steps from 1
    expected = [peak**0.5 * min(number**-0.5, number * peak**-1.5) for number in range(1, total + 1)]
    assert curve(InverseSquareRoot(warmup), total) == pytest.approx(expected)


@given(TOTAL, STEPS)
def test_constant_rises_and_stays(total, warmup):
    assume(warmup <= total)
    expected = [(step + 1) / (warmup + 1) for step in range(warmup)] + [1.0] * (total - warmup)
    assert curve(Constant(warmup), total) == pytest.approx(expected)


@given(st.integers(2, 300), SHARE, FLOOR)
def test_factors_rise_from_above_zero_then_never_rise_again(total, share, floor):
    three_parts = WarmupStableDecay(share / 2, share / 2, floor)
    for schedule in (
        Constant(share), Cosine(share, floor), Linear(share, floor), InverseSquareRoot(share), three_parts
    ):  # fmt: skip
        factors = curve(schedule, total)
        assert factors[0] > 0
        assert all(0 <= factor <= 1 for factor in factors)
        top = factors.index(max(factors))
        assert factors[: top + 1] == sorted(factors[: top + 1])
        assert factors[top:] == sorted(factors[top:], reverse=True)


@given(TOTAL, SHARE)
def test_a_share_means_so_many_steps(total, share):
    steps = round(share * total)
    assert curve(Constant(share), total) == curve(Constant(steps), total)
    assert curve(Cosine(share), total) == curve(Cosine(steps), total)
    assert curve(WarmupStableDecay(0, share), total) == curve(WarmupStableDecay(0, steps), total)


@given(st.integers(2, 300), FLOOR)
def test_the_floor_is_the_factor_of_the_last_step(total, floor):
    assert Cosine(0, floor)(total - 1, total) == pytest.approx(floor)
    assert Linear(0, floor)(total - 1, total) == pytest.approx(floor)
    assert WarmupStableDecay(0, 1, floor)(total - 1, total) == pytest.approx(floor)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml")))
def test_every_configured_schedule_can_be_asked_after_the_end(name, compose):
    # A learning-rate scheduler is advanced once more after the last step.
    schedule = build(compose(f"scheduler={name}")["scheduler"])
    assert schedule(100, 100) == schedule(99, 100)


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        (lambda: Constant(-1)(0, 10), "scheduler.warmup=-1"),
        (lambda: Constant(11)(0, 10), "scheduler.warmup=11"),
        (lambda: Cosine(floor=1.5), "scheduler.floor=1.5"),
        (lambda: Cosine(warmup=11)(0, 10), "scheduler.warmup=11"),
        (lambda: Linear(floor=-1), "scheduler.floor=-1"),
        (lambda: InverseSquareRoot(warmup=11)(0, 10), "scheduler.warmup=11"),
        (lambda: WarmupStableDecay(floor=-0.1), "scheduler.floor=-0.1"),
        (lambda: WarmupStableDecay(decay=-2)(0, 10), "scheduler.decay=-2"),
        (lambda: WarmupStableDecay(6, 6)(0, 10), "warmup=6 and decay=6"),
    ],
)
def test_impossible_settings_are_named(schedule, named):
    with pytest.raises(UserError, match=named):
        schedule()
