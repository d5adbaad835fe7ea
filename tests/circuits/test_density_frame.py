from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, circuits, examples, seeds, with_gradients

from qmoe_fed.circuits import density_frame, pauli
from qmoe_fed.circuits.channels import CHANNELS, PLACEMENTS, Noise
from qmoe_fed.circuits.program import parts


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("channel", CHANNELS)
@given(
    circuit=circuits(st.integers(1, 4), max_layers=3),
    seed=seeds,
    batch=st.sampled_from([1, 20]),
    strength=st.floats(0, 0.5),
)
@examples(12)
def test_phases_between_matrices_equal_gate_after_gate(
    channel, placement, circuit, seed, batch, strength
):
    x, theta = angles(circuit, seed, batch)
    fixed = Noise(channel, strength, placement)
    given_as_tensor = fixed.at(torch.tensor(strength, dtype=x.dtype), torch.zeros(()))
    if circuit.entangler == "strongly-entangling":
        theta = theta.mT.flatten(0, 1)
    for part in parts(circuit, placement):
        own = x[:, part.qubits], theta[:, part.qubits]
        noisy = partial(with_noise, circuit, part)
        expected = with_gradients(noisy(pauli, fixed), *own)
        assert_same(with_gradients(noisy(density_frame, fixed), *own), expected, 1e-12)
        assert_same(with_gradients(noisy(density_frame, given_as_tensor), *own), expected, 1e-12)


def with_noise(circuit, part, method, noise):
    return lambda x, theta: method.expectations(circuit, part, x, theta, noise)
