import noise_study
import numpy as np
import pytest
import torch

from qmoe_fed.circuits import statevector, with_noise
from qmoe_fed.data import Samples
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.measures.noise import (
    MEASUREMENT,
    READOUT_ERROR,
    Noisy,
    accuracy_with_shots,
    noisy_fit,
)
from qmoe_fed.experiments.models import build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning import evaluate
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import initial_parameters

SEEDS = 3
STRENGTHS = (0.0, 0.1, 0.3)
CHANNELS = noise_study.MAIN, *noise_study.OTHERS
PLACEMENTS = noise_study.PLACES
MODELS = noise_study.MODELS


def replicas(name, noise):
    """Return the mixture without noise, its parameters, that under noise, and those under each."""
    model = build(MODELS[name], 2, 2)
    clean = initial_parameters(lambda: build(MODELS[name], 2, 2), 0, range(SEEDS))
    return model, clean, build(noise.on(MODELS[name]), 2, 2), noise.expose(clean, SEEDS)


def inputs(count=SEEDS, samples=40):
    return 3 * torch.rand(count, samples, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", ["quantum", "reuploading", "notebook"])
def test_without_noise_it_is_the_noiseless_model(name, placement):
    noise = Noisy("depolarizing", placement, (0.0,))
    clean, parameters, noisy, exposed = replicas(name, noise)
    assert exposed.keys() == noisy.state_dict().keys()
    expected = apply(clean, parameters, inputs())
    torch.testing.assert_close(apply(noisy, exposed, inputs()), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("channel", CHANNELS)
def test_every_replica_has_its_own_strength(channel, placement):
    model, parameters, noisy, exposed = replicas("quantum", Noisy(channel, placement, STRENGTHS))
    weights = routing_weights(noisy, exposed, inputs().repeat(len(STRENGTHS), 1, 1))
    for e, strength in enumerate(STRENGTHS):
        circuit = with_noise(model.router.circuit, channel, strength, placement)
        for s in range(SEEDS):
            theta = parameters["router.theta"][s]
            expected = statevector.run(circuit, inputs()[s], theta)
            torch.testing.assert_close(weights[e * SEEDS + s], expected, atol=1e-6, rtol=0)


def test_readout_error_flips_measured_bits():
    noise = Noisy(READOUT_ERROR, MEASUREMENT, STRENGTHS)
    model, parameters, noisy, exposed = replicas("quantum", noise)
    weights = routing_weights(noisy, exposed, inputs().repeat(len(STRENGTHS), 1, 1))
    exact = routing_weights(model, parameters, inputs())
    for strength, rows in zip(STRENGTHS, weights.split(SEEDS), strict=True):
        expected = (1 - strength) * exact + strength * exact.flip(-1)
        torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0)


def test_full_depolarization_routes_by_chance():
    clean, parameters, noisy, exposed = replicas("quantum", Noisy("depolarizing", "gate", (0.75,)))
    weights = routing_weights(noisy, exposed, inputs())
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5), atol=1e-6, rtol=0)
    spread = routing_weights(clean, parameters, inputs()).std()
    assert spread > 0.1  # without noise it did route


def test_unknown_noise_is_refused():
    with pytest.raises(UserError, match=r"noise-channel 'bitflip'\. Did you mean 'bit-flip'"):
        build(Noisy("bitflip", "gate", STRENGTHS).on(MODELS["quantum"]), 2, 2)
    with pytest.raises(UserError, match="noise-placement 'gates'"):
        build(Noisy("bit-flip", "gates", STRENGTHS).on(MODELS["quantum"]), 2, 2)


def test_parameters_that_were_fitted_under_each_strength_stay_with_it():
    noise = Noisy("depolarizing", "gate", STRENGTHS)
    fitted = {"router.theta": torch.rand(len(STRENGTHS) * SEEDS, 6)}
    exposed = noise.expose(fitted, SEEDS)
    assert torch.equal(exposed["router.theta"], fitted["router.theta"])
    expected = torch.tensor(STRENGTHS).repeat_interleave(SEEDS)
    assert torch.equal(exposed["router.strengths"][:, 0], expected)


def test_shots_converge_to_exact_weights():
    noise = Noisy("depolarizing", "gate", (0.0, 0.05))
    _, _, noisy, exposed = replicas("quantum", noise)
    x = inputs(2 * SEEDS, 400)
    with torch.no_grad():
        y = apply(noisy, exposed, x).argmax(-1)  # what exact weights say is right here
    samples = Samples(x, y, torch.full((2 * SEEDS,), 400))
    assert evaluate(noisy, exposed, samples).accuracy.min() == 1

    def wrong(shots, seed=0):
        return 1 - accuracy_with_shots(noisy, exposed, samples, shots, seed, range(SEEDS))

    # disagreement is rare events near the decision boundary, whose width falls as 1/√shots
    assert wrong(10).mean() > 2 * wrong(1000).mean() > 0
    assert wrong(1000).mean() > 2 * wrong(100_000).mean()
    assert wrong(10**9).max() <= 0.0025
    assert torch.equal(wrong(10), wrong(10))
    assert not torch.equal(wrong(10), wrong(10, seed=1))


@pytest.mark.parametrize("name", ["quantum", "reuploading"])
def test_training_under_no_noise_is_training_without(name):
    source, protocol = Source(MOONS, 2), Protocol(max_epochs=2)
    under = Noisy("depolarizing", "gate", (0.0, 0.2))
    clean = noisy_fit(MODELS[name], 0.1, source, protocol, None)
    noisy = noisy_fit(MODELS[name], 0.1, source, protocol, under)
    assert clean.keys() == noisy.keys()
    # the last rotation of the qubit that is not measured has no effect: its gradient is rounding
    for found in (clean, noisy):
        found["router.theta"] = found["router.theta"][:, :5]
    for key, values in clean.items():
        np.testing.assert_allclose(noisy[key][:2], values, atol=1e-3)
        assert not np.allclose(noisy[key][2:], values, atol=1e-2)
