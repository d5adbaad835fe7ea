import pytest
import torch
from test_audit_views import config

from qmoe_fed.errors import UserError
from qmoe_fed.experiments.measures.sharing import Clients
from strategies.audits.utility import noise_for, router_distance, stated, utility, with_noise

CENTRAL = {"num_clients": 50, "mechanisms": "central-dp"}
LOCAL = {"mechanisms": "local-dp", "max_update_norm": 1e6}
RUN = {"expert_fit": "solve", "num_unseen_clients": 4, "unseen_samples": "4"}


@pytest.mark.parametrize(("settings", "epsilon"), [(CENTRAL, 1.0), (LOCAL, 8.0)])
def test_the_noise_for_an_epsilon_is_the_one_that_states_it(settings, epsilon):
    run = config(**settings)
    found = noise_for(run, 4, epsilon)
    assert stated(with_noise(run, found), 4) == pytest.approx(epsilon, rel=1e-3)
    assert stated(with_noise(run, 2 * found), 4) < epsilon


def test_local_noise_is_twice_the_central_noise():
    ratio = noise_for(config(**LOCAL), 4, 2.0) / noise_for(config(**CENTRAL), 4, 2.0)
    assert ratio == pytest.approx(2, rel=1e-3)


def test_what_cannot_be_reached_is_refused():
    with pytest.raises(UserError, match="noise-multiplier out of"):
        noise_for(config(**CENTRAL), 4, 1e4)
    with pytest.raises(UserError, match="state no ε"):
        noise_for(config(), 4, 1.0)


def test_distances_of_routers_by_hand():
    clients = Clients.of(config(router="linear"))
    shared = {n: torch.zeros_like(v) for n, v in clients.model.initial_shared().items()}
    one = next(name for name, v in shared.items() if v.shape == (4,))
    first = {**shared, one: torch.tensor([50.0, 0, 0, 0])}
    second = {**shared, one: torch.tensor([0, 50.0, 0, 0])}
    assert router_distance(clients, first, second) == pytest.approx(1)
    assert router_distance(clients, first, shared) == pytest.approx(0.75)
    assert router_distance(clients, first, first) == 0


def test_more_noise_costs_more_and_none_costs_nothing():
    plain = config(**RUN)
    free = utility(plain, plain, 2)
    assert free["distance"] == 0
    assert free["unseen"] > 0.5
    private = {**RUN, **LOCAL, "clip_norm": 1.0}
    loose, tight = (utility(config(**private), plain, 2, epsilon) for epsilon in (50.0, 0.5))
    assert loose["noise_multiplier"] < tight["noise_multiplier"]
    assert 0 < loose["distance"] < tight["distance"] < 1
    assert loose["distance"] < 0.3
    assert tight["accuracy"] <= free["accuracy"]
    still = utility(config(**RUN, server_learning_rate=1e-12), plain, 2)
    assert still["distance"] > 0
