"""Circuits as sums of waves, against the other forms."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, examples, lists, seeds, with_gradients

from qmoe_fed.circuits import Circuit, gate, parameter, statevector, with_noise
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.operations import CHANNELS
from qmoe_fed.circuits.series import MOST_WAVES, of_circuit, of_inputs


def others(circuit, x, theta):
    """Run a circuit for two θ that are equal: a series is of one."""
    return statevector.run(circuit, x, theta.expand(2, -1))[0]


@given(lists(st.integers(1, 3), unitaries=True, most=6), seeds, st.sampled_from([1, 20]))
@examples(10)
def test_values_and_gradients_equal_those_of_other_methods(circuit, seed, batch):
    series, inputs = of_circuit(circuit), angles(circuit, seed, batch)
    if series is not None:
        slow = with_gradients(lambda x, t: others(circuit, x, t), *inputs)
        assert_same(with_gradients(series, *inputs), slow, 1e-10)


@pytest.mark.parametrize(
    ("qubits", "reuploading", "waves"), [(2, False, 10), (2, True, 209), (4, True, 593)]
)
def test_few_of_all_waves_are_left(qubits, reuploading, waves):
    circuit = replace(layered(qubits, 3, qubits, reuploading=reuploading), measured=2)
    inputs, series = angles(circuit, seed=1, batch=3), of_circuit(circuit)
    assert series.waves == waves
    slow = with_gradients(lambda x, t: others(circuit, x, t), *inputs)
    assert_same(with_gradients(series, *inputs), slow, 1e-12)


@pytest.mark.parametrize("channel", CHANNELS)
def test_channels_are_part_of_it(channel):
    circuit = with_noise(layered(2, 2, 2), channel, 0.07, "gate")
    inputs = angles(circuit, seed=2, batch=3)
    slow = with_gradients(lambda x, t: others(circuit, x, t), *inputs)
    assert_same(with_gradients(of_circuit(circuit), *inputs), slow, 1e-12)


def test_it_is_of_one_theta_and_few_samples_only():
    circuit = layered(2, 3, 2, reuploading=True)
    x, theta = angles(circuit, seed=0, batch=MOST_WAVES // 209 + 1)
    assert of_inputs(circuit, x, theta) is None
    assert of_inputs(circuit, x[1:], theta).waves == 209
    assert of_inputs(circuit, x[1:], theta[None]) is None
    seen = []
    torch.func.vmap(lambda t: seen.append(of_inputs(circuit, x[1:], t)) or t)(theta[None])
    assert seen == [None]


@pytest.mark.parametrize("qubits", [1, 2])
def test_nothing_is_less_than_impossible(qubits):
    circuit = Circuit(qubits, tuple(gate("RY", j, parameter(0)) for j in range(qubits)))
    theta = torch.linspace(-0.3, 0.3, 301).float()
    for own in theta:
        p = statevector.run(circuit, torch.zeros(1, 0), own[None])
        assert p.min() >= 0
    # curved where it is 0: p = sin²(a/2)
    second = torch.autograd.functional.hessian(
        lambda t: of_circuit(circuit)(torch.zeros(1, 0), t)[0, -1], torch.zeros(1)
    )
    assert second.item() == pytest.approx(0.5 if qubits == 1 else 0, abs=1e-6)


def test_circuits_with_too_many_waves_or_no_parameters_are_no_series():
    assert of_circuit(layered(2, 3, 2, entangler="strongly-entangling")) is None
    assert of_circuit(layered(4, 3, 4)) is None
    assert of_circuit(Circuit(1, (gate("H", 0),))) is None
