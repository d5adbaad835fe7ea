"""The chain of a round on plain tensors, without messages."""

import pytest
import torch

from qmoe_fed.errors import UserError
from qmoe_fed.federated import Cohort, Layout
from qmoe_fed.federated.rules import Rules, close_round, open_round
from strategies import Momentum, Plain, mean, median

LAYOUT = Layout({"theta": (2,), "bias": (1,)}, frozenset({"theta"}))
ROWS = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]], dtype=torch.float64)


def close(weights, rules, step=None, rows=ROWS):
    losses = torch.ones(len(rows), dtype=torch.float64)
    cohort = Cohort(tuple(range(len(rows))), rows, weights, losses)
    start = torch.tensor([3.0, 0.0, 1.0], dtype=torch.float64)
    return close_round(rules, 1, len(rows), cohort, (), LAYOUT, start, step)


def test_clients_that_train_only_some_parameters_count_only_there():
    weights = torch.tensor([[4.0, 0.0, 4.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    end = close(weights, Rules(2, mean, Plain(), weighting="examples"))
    moved = 3 + (4 * 0.1 + 2 * 0.3) / 6
    expected = torch.tensor([moved - 2 * torch.pi * (moved > torch.pi), 0.0, 1.3])
    torch.testing.assert_close(end.values, expected.double())
    uniform = close(weights, Rules(2, mean, Plain()))
    moved = 3 + 0.2 - 2 * torch.pi
    torch.testing.assert_close(uniform.values, torch.tensor([moved, 0.0, 1.3]).double())
    with pytest.raises(UserError, match="aggregator = 'median' needs clients that all train"):
        close(weights, Rules(2, median, Plain()))


def test_a_client_that_trained_nothing_is_left_out():
    weights = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 0.0]], dtype=torch.float64)
    end = close(weights, Rules(2, mean, Plain()))
    assert [(r.client, r.reason) for r in end.rejections] == [
        (0, "num-examples is 0, not in [1, 1e+06]")
    ]


def test_the_state_of_the_step_is_handed_in_and_out():
    ones = torch.ones(2, dtype=torch.float64)
    rules = Rules(2, mean, Momentum(1.0, 0.5))
    first = close(ones, rules)
    again = close(ones, rules, first.step)
    torch.testing.assert_close(again.step["momentum"], 1.5 * first.step["momentum"])
    torch.testing.assert_close(first.step["momentum"], ROWS.mean(0))
    nobody = close(torch.zeros(2).double(), rules, first.step)
    assert nobody.values is None
    assert nobody.step is first.step
    assert nobody.fault == "0 clients accepted, quorum is 1"


def test_who_trains_is_a_function_of_the_round():
    rules = Rules(40, mean, Plain(), seed=3, fraction_train=0.2)
    assert open_round(rules, 1) == open_round(rules, 1) != open_round(rules, 2)
    assert len(open_round(rules, 1)) == 8
