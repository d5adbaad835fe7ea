import pytest
import torch
from qmoe_fed.circuits.channels import CHANNELS, PLACEMENTS, Noise
from qmoe_fed.studies.noise.fits import model_config
from qmoe_fed.studies.noise.router import MEASUREMENT, READOUT_ERROR, expose, noisy_model
from qmoe_fed.studies.noise.shots import accuracy_with_shots

from qmoe_fed.circuits import density
from qmoe_fed.data import Samples
from qmoe_fed.errors import UserError
from qmoe_fed.learning import evaluate
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import build_model, initial_parameters

SEEDS = 3
STRENGTHS = [0.0, 0.1, 0.3]


def replicas(model, strengths, channel="depolarizing"):
    """Return the mixture without noise, its parameters, and those under each strength."""
    config = model_config(model)
    clean = initial_parameters(lambda: build_model(config, 2, 2), 0, range(SEEDS))
    return build_model(config, 2, 2), clean, expose(clean, channel, strengths)


def inputs(count=SEEDS, samples=40):
    return 3 * torch.rand(count, samples, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("model", ["quantum", "reuploading", "notebook"])
def test_without_noise_it_is_the_noiseless_model(model, placement):
    clean, parameters, exposed = replicas(model, [0.0])
    noisy = noisy_model(model_config(model), "depolarizing", placement, 2, 2)
    assert exposed.keys() == dict(noisy.named_parameters()).keys()
    expected = apply(clean, parameters, inputs())
    torch.testing.assert_close(apply(noisy, exposed, inputs()), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("channel", CHANNELS)
def test_every_replica_has_its_own_strength(channel, placement):
    model, parameters, exposed = replicas("quantum", STRENGTHS, channel)
    noisy = noisy_model(model_config("quantum"), channel, placement, 2, 2)
    weights = routing_weights(noisy, exposed, inputs().repeat(len(STRENGTHS), 1, 1))
    for e, strength in enumerate(STRENGTHS):
        noise = Noise(channel, strength, placement)
        for s in range(SEEDS):
            theta = parameters["router.theta"][s]
            expected = density.run(model.router.circuit, inputs()[s], theta, noise)
            torch.testing.assert_close(weights[e * SEEDS + s], expected, atol=1e-6, rtol=0)


def test_readout_error_flips_measured_bits():
    model, parameters, exposed = replicas("quantum", STRENGTHS, READOUT_ERROR)
    noisy = noisy_model(model_config("quantum"), READOUT_ERROR, MEASUREMENT, 2, 2)
    weights = routing_weights(noisy, exposed, inputs().repeat(len(STRENGTHS), 1, 1))
    exact = routing_weights(model, parameters, inputs())
    for strength, rows in zip(STRENGTHS, weights.split(SEEDS), strict=True):
        expected = (1 - strength) * exact + strength * exact.flip(-1)
        torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0)


def test_full_depolarization_routes_by_chance():
    clean, parameters, exposed = replicas("quantum", [0.75])
    noisy = noisy_model(model_config("quantum"), "depolarizing", "gate", 2, 2)
    weights = routing_weights(noisy, exposed, inputs())
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5), atol=1e-6, rtol=0)
    spread = routing_weights(clean, parameters, inputs()).std()
    assert spread > 0.1  # without noise it did route


def test_unknown_noise_is_refused():
    with pytest.raises(UserError, match=r"noise channel 'bitflip'.*Did you mean 'bit-flip'"):
        noisy_model(model_config("quantum"), "bitflip", "gate", 2, 2)
    with pytest.raises(UserError, match="noise placement 'gates'"):
        noisy_model(model_config("quantum"), "bit-flip", "gates", 2, 2)


def test_shots_converge_to_exact_weights():
    _, _, exposed = replicas("quantum", [0.0, 0.05])
    noisy = noisy_model(model_config("quantum"), "depolarizing", "gate", 2, 2)
    x = inputs(2 * SEEDS, 400)
    with torch.no_grad():
        y = apply(noisy, exposed, x).argmax(-1)  # what exact weights say is right here
    samples = Samples(x, y, torch.full((2 * SEEDS,), 400))
    assert evaluate(noisy, exposed, samples).accuracy.min() == 1

    def wrong(shots, seed=0):
        return 1 - accuracy_with_shots(noisy, exposed, samples, shots, seed, SEEDS)

    # disagreement is rare events near the decision boundary, whose width falls as 1/√shots
    assert wrong(10).mean() > 2 * wrong(1000).mean() > 0
    assert wrong(1000).mean() > 2 * wrong(100_000).mean()
    assert wrong(10**9).max() <= 0.0025
    assert torch.equal(wrong(10), wrong(10))
    assert not torch.equal(wrong(10), wrong(10, seed=1))
