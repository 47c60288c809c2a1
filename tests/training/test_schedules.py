import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lmlab.config.build import build
from lmlab.config.canonical import CONF
from lmlab.errors import UserError
from lmlab.training.schedules import (
    Constant,
    Cooldown,
    Cosine,
    InverseSquareRoot,
    Linear,
    Plateau,
    WarmupStableDecay,
    as_schedule,
)

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


@given(st.integers(0, 200), st.integers(1, 200), FLOOR)
def test_a_cooldown_after_a_constant_rate_is_the_end_of_warmup_stable_decay(before, steps, floor):
    whole = curve(WarmupStableDecay(0, steps, floor), before + steps)
    assert whole == curve(Constant(), before) + curve(Cooldown(floor), steps)


@given(
    st.lists(st.integers(0, 12).map(lambda loss: loss / 4), max_size=30),  # exact, and often equal
    st.floats(0.1, 0.9),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.25, 0.5]),
    FLOOR,
    st.integers(0, 30),
)
def test_plateau_reduces_as_torch_does_also_when_it_goes_on_from_a_checkpoint(
    losses, factor, patience, threshold, floor, killed_at
):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", factor, patience, threshold, "abs", min_lr=floor, eps=0.0
    )
    schedule = Plateau(factor, patience, threshold, floor)
    for place, loss in enumerate(losses):
        if place == killed_at:
            state = schedule.state_dict()
            schedule = Plateau(factor, patience, threshold, floor)
            schedule.load_state_dict(state)
        schedule.observe(loss)
        expected.step(loss)
        assert schedule(place, 100) == optimizer.param_groups[0]["lr"]


@given(st.integers(0, 5), st.integers(1, 400), st.integers(1, 40))
def test_plateau_refuses_runs_in_which_even_the_worst_losses_reduce_nothing(patience, steps, times):
    interval = math.ceil(steps / times)
    validations = len(range(interval, steps, interval))
    schedule = Plateau(patience=patience)
    for _ in range(validations):
        schedule.observe(1.0)
    if schedule(steps - 1, steps) == 1.0:
        with pytest.raises(UserError, match=rf"scheduler.patience={patience}, and this run has {validations} "):
            schedule.check(validations)
    else:
        schedule.check(validations)


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
        (lambda: Cooldown(floor=1.5), "scheduler.floor=1.5"),
        (lambda: Plateau(factor=1.0), "scheduler.factor=1.0"),
        (lambda: Plateau(factor=0), "scheduler.factor=0"),
        (lambda: Plateau(patience=-1), "scheduler.patience=-1"),
        (lambda: Plateau(threshold=math.nan), "scheduler.threshold=nan"),
        (lambda: Plateau(floor=2), "scheduler.floor=2"),
        (lambda: Plateau(warmup=11)(0, 10), "scheduler.warmup=11"),
    ],
)
def test_impossible_settings_are_named(schedule, named):
    with pytest.raises(UserError, match=named):
        schedule()


def test_any_function_is_a_schedule_and_keeps_its_methods():
    schedule = as_schedule(lambda step, total: step / total)
    schedule.check(validations=0)
    schedule.observe(1.0)
    assert schedule(1, 4) == 0.25 and not schedule.follows_validations and schedule.state_dict() == {}
    own = Plateau()
    assert as_schedule(own) is own

    class Observing:
        factor = 1.0

        def __call__(self, step, total):
            return self.factor

        def observe(self, loss):
            self.factor = loss

    schedule = as_schedule(Observing())
    schedule.observe(0.5)
    assert schedule(1, 4) == 0.5 and schedule.follows_validations
