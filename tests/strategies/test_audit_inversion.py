import pytest
import torch
from test_audit_views import config
from torch.func import functional_call

from qmoe_fed.federated.model import Model
from strategies.audits.inversion import errors, invert, matching, observe

ONE = {"train_samples": 1, "dirichlet_alpha": 1e6, "share": "all", "router": "linear"}


def test_a_gradient_is_what_autograd_says():
    run = config(**{**ONE, "train_samples": 3})
    truth, gradients = observe(run, 2)
    model = Model(run)
    start = {n: v.requires_grad_() for n, v in model.initial_shared().items()}
    scores = functional_call(model.module, start, truth.x[1])
    loss = torch.nn.functional.cross_entropy(scores, truth.y[1])
    wanted = torch.autograd.grad(loss, [start[name] for name in model.layout.names])
    expected = torch.cat([part.flatten() for part in wanted])
    torch.testing.assert_close(gradients[1], expected, rtol=1e-3, atol=1e-4)


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
