import numpy as np
import pytest
import torch

from qmoe_fed.config import StrategyConfig
from qmoe_fed.federated.build import make_server_step
from strategies import Adam, Momentum, Plain

AGGREGATES = np.random.Generator(np.random.Philox(0)).normal(size=(6, 3))


def moved(step, aggregates=AGGREGATES):
    """Return where the parameters are after each aggregate, from zero."""
    state, place, path = step.init(3), torch.zeros(3, dtype=torch.float64), []
    for aggregate in torch.from_numpy(aggregates):
        change, state = step.apply(state, aggregate)
        place = place + change
        path.append(place.numpy())
    return np.array(path)


def test_plain_adds_up():
    np.testing.assert_allclose(moved(Plain(0.5)), 0.5 * AGGREGATES.cumsum(0), atol=1e-12)


def test_momentum_is_a_geometric_sum():
    beta, lr = 0.7, 0.3
    steps = [
        sum(beta ** (t - s) * AGGREGATES[s] for s in range(t + 1)) for t in range(len(AGGREGATES))
    ]
    np.testing.assert_allclose(moved(Momentum(lr, beta)), lr * np.cumsum(steps, axis=0), atol=1e-12)
    np.testing.assert_array_equal(moved(Momentum(lr, 0.0)), moved(Plain(lr)))


def test_adam_is_algorithm_2_of_reddi_et_al():
    lr, beta1, beta2, tau = 0.2, 0.8, 0.95, 0.01
    x, m, v, path = np.zeros(3), np.zeros(3), np.full(3, tau**2), []
    for delta in AGGREGATES:
        m = beta1 * m + (1 - beta1) * delta
        v = beta2 * v + (1 - beta2) * delta**2
        x = x + lr * m / (np.sqrt(v) + tau)
        path.append(x)
    np.testing.assert_allclose(moved(Adam(lr, (beta1, beta2), tau)), path, atol=1e-12)


@pytest.mark.parametrize("step", [Plain(), Momentum(), Adam()])
def test_a_step_leaves_the_state_it_was_given(step):
    state = step.init(3)
    before = {name: values.clone() for name, values in state.items()}
    step.apply(state, torch.ones(3, dtype=torch.float64))
    assert all(state[name].equal(before[name]) for name in before)


def test_a_config_names_its_step():
    def built(name):
        return make_server_step(
            StrategyConfig(server_step=name, server_learning_rate=0.5, server_momentum=0.8)
        )

    assert built("plain") == Plain(0.5)
    assert built("momentum") == Momentum(0.5, 0.8)
    assert built("adam") == Adam(0.5, (0.8, 0.99), 1e-3)
