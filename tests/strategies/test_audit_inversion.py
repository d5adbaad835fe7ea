import pytest
import torch
from test_audit_views import config
from torch.nn.functional import one_hot

from qmoe_fed.federated.model import Model
from strategies.audits.inversion import errors, invert, matching, observe, plain_descent, told

ONE = {"train_samples": 1, "dirichlet_alpha": 1e6, "share": "all", "router": "linear"}


@pytest.mark.parametrize("local_steps", [1, 4])
@pytest.mark.parametrize(
    "way",
    [
        {"share": "all"},
        {"router": "linear"},
        {"expert_fit": "solve"},
        {"expert_fit": "solve", "share": "prior", "router": "mlp"},
    ],
)
def test_the_attacker_makes_of_the_true_samples_what_clients_send(way, local_steps):
    run = config(**way, train_samples=6, dirichlet_alpha=1e6, learning_rate=0.3)
    truth, seen = observe(run, 2, local_steps)
    model = Model(plain_descent(run, local_steps))
    own, labels = model.initial(model.local, range(2)), one_hot(truth.y, 2).float()
    found = told(model, own, truth.x, labels, [0, 1])
    torch.testing.assert_close(found.detach(), seen, rtol=1e-3, atol=1e-5)
    assert seen.abs().max() > 0.05


def test_solved_experts_tell_a_single_sample_by_their_prior_only():
    run = {**ONE, "expert_fit": "solve", "router": "quantum"}
    _, silent = observe(config(**{**run, "share": "router"}), 4)
    assert silent.abs().max() == 0  # nothing is left to be solved on
    prior = config(**{**run, "share": "prior"})
    truth, seen = observe(prior, 5)
    found = invert(prior, seen, truth, starts=3, steps=100)
    assert float(errors(truth.x, found.x).median()) < 0.15
    assert (truth.y == found.y).all()
    others = invert(prior, seen.roll(1, 0), truth, starts=1, steps=40)
    mean = truth.x.mean((0, 1)).expand_as(truth.x)
    assert errors(truth.x, others.x).mean() > 0.8 * errors(truth.x, mean).mean()


def test_matching_takes_the_nearest_in_sum():
    true = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert matching(true, true[[2, 0, 1]] + 0.1).tolist() == [1, 2, 0]
    assert float(errors(true[None], true[None] + 1)) == pytest.approx(2**0.5)


def test_one_sample_is_recovered_from_all_parameters():
    run = config(**ONE)
    truth, gradients = observe(run, 6)
    found = invert(run, gradients, truth, starts=8, steps=250)
    distance = errors(truth.x, found.x)
    assert float(distance.median()) < 0.1
    assert (truth.y == found.y).double().mean() >= 0.8
    assert found.x.shape == truth.x.shape


def test_nothing_is_recovered_from_the_gradients_of_others_or_from_noise():
    run = config(**ONE)
    truth, gradients = observe(run, 12)
    shuffled = invert(run, gradients.roll(1, 0), truth, starts=4, steps=100)
    mean = truth.x.mean((0, 1)).expand_as(truth.x)
    assert errors(truth.x, shuffled.x).mean() > 0.8 * errors(truth.x, mean).mean()
    private = config(**ONE, mechanisms="local-dp", clip_norm=0.3, noise_multiplier=4.0)
    _, noisy = observe(private, 12)
    found = invert(private, noisy, truth, starts=4, steps=100)
    assert errors(truth.x, found.x).mean() > 0.8 * errors(truth.x, mean).mean()


def test_a_quantum_router_can_be_attacked_too():
    run = config(train_samples=1, dirichlet_alpha=1e6)
    truth, gradients = observe(run, 4)
    found = invert(run, gradients, truth, starts=4, steps=60)
    assert gradients.shape == (4, 6)
    assert found.residual.median() < 0.5
    again = invert(run, gradients, truth, starts=4, steps=60)
    assert again.x.equal(found.x)
