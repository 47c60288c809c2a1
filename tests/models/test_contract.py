"""The checks that every run makes, on networks that keep the contract and on some that do not."""

import pytest
import torch

from lmlab.models import contract
from lmlab.models.contract import check, variations
from lmlab.models.state import Output


def test_every_architecture_passes_and_no_random_draw_is_disturbed(make_model, architecture):
    model = make_model(architecture, "model.dropout=0.5").train()
    before = torch.get_rng_state()
    found = check(model, 24)
    assert found.causal and found.stepwise_agrees and found.stepwise < 1e-5
    assert model.training and torch.equal(torch.get_rng_state(), before)


def test_rounding_of_narrow_types_is_no_disagreement(make_model, shipped):
    found = check(make_model(shipped, dtype=torch.bfloat16), 24)
    assert found.causal and found.stepwise_agrees and found.dtype == "bfloat16"


def test_every_row_differs_from_the_first_in_all_tokens_from_its_number_on():
    for length, vocabulary in ((16, 2), (16, 50_000), (3, 7), (1, 5)):
        rows = variations(length, vocabulary)
        assert rows.shape == (length, length) and rows.min() >= 0 and rows.max() < vocabulary
        for number, row in enumerate(rows.tolist()):
            same = [token == other for token, other in zip(row, rows[0].tolist(), strict=True)]
            assert same == [position < number or number == 0 for position in range(length)]


class Spoiled(torch.nn.Module):
    """A network whose hidden vectors are changed on their way."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change, self.head = model, change, model.head

    def forward(self, tokens, state):
        hidden, after, _ = self.model(tokens, state)
        return Output(self.change(hidden), after)


@pytest.mark.parametrize("ahead", [1, 7, 15])
def test_a_look_ahead_of_any_length_is_found(make_model, ahead):
    def leaks(hidden):
        later = torch.nn.functional.pad(hidden[:, ahead:], (0, 0, 0, ahead))
        return hidden + 0.05 * later[:, : hidden.shape[1]]

    assert not check(Spoiled(make_model("model=lstm"), leaks), 24).causal


def test_a_step_that_is_not_that_of_the_parallel_form_is_found(make_model):
    scaled = lambda hidden: hidden * (1.05 if hidden.shape[1] == 1 else 1.0)  # noqa: E731
    found = check(Spoiled(make_model("model=lstm"), scaled), 24)
    assert found.causal and not found.stepwise_agrees and found.stepwise > contract.TOLERANCE[torch.float32]


def test_what_is_no_number_agrees_with_nothing(make_model):
    found = check(Spoiled(make_model("model=lstm"), lambda hidden: hidden * float("nan")), 24)
    assert (found.causal, found.stepwise, found.stepwise_agrees) == (False, None, False)


def test_a_context_of_one_token_has_no_future(make_model):
    assert check(make_model("model=gpt2", context=1), 1).causal
