import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, circuits, examples, lists, seeds, with_gradients

from qmoe_fed.circuits import Slot, with_noise
from qmoe_fed.circuits.noise import pauli
from qmoe_fed.circuits.noise.density import parts
from qmoe_fed.circuits.noise.placement import PLACEMENTS
from qmoe_fed.circuits.operations import CHANNELS
from qmoe_fed.circuits.whole import Whole

few = st.integers(1, 3)


def whole(part, x, theta, strengths, phases):
    readout = np.eye(4 ** len(part.qubits))[:, list(part.strings)]
    made = Whole(part, "pauli", phases, readout)
    return made(x, theta, strengths)


def check_equal(circuit, slots, x, theta, strengths):
    """Compare matrices and phases with gates, with strengths fixed and given when it is run."""
    for pair in zip(parts(circuit), parts(slots), strict=True):
        for part in pair:
            methods = [lambda x, t, p=part: pauli.expectations(p, x, t, strengths)]
            for phases in (True, False) if len(part.qubits) < 3 else (True,):
                methods.append(lambda x, t, p=part, f=phases: whole(p, x, t, strengths, f))
            expected, *others = (
                with_gradients(lambda x, t, m=m: m(x, t).expand(*x.shape[:-1], -1), x, theta)
                for m in methods
            )
            for other in others:
                assert_same(other, expected, 1e-12)


@pytest.mark.parametrize("placement", PLACEMENTS[:2])
@pytest.mark.parametrize("name", CHANNELS)
@given(
    circuit=circuits(few, max_layers=3),
    seed=seeds,
    batch=st.sampled_from([1, 20]),
    strength=st.floats(0, 0.5),
)
@examples(12)
def test_phases_between_matrices_equal_gate_after_gate(
    name, placement, circuit, seed, batch, strength
):
    x, theta = angles(circuit, seed, batch)
    fixed, slots = (with_noise(circuit, name, s, placement) for s in (strength, Slot(0)))
    check_equal(fixed, slots, x, theta, torch.tensor([strength], dtype=x.dtype))


@given(lists(few, unitaries=True, noise=True), seeds, st.sampled_from([1, 20]))
@examples(12)
def test_they_are_equal_for_any_list(circuit, seed, batch):
    strengths = torch.tensor([0.2, 0.05], dtype=torch.float64)
    check_equal(circuit, circuit, *angles(circuit, seed, batch), strengths)


@given(circuits(st.just(4), max_layers=2), seeds, st.sampled_from([1, 20]))
@examples(6)
def test_they_are_equal_for_the_most_qubits(circuit, seed, batch):
    circuit = with_noise(circuit, "amplitude-damping", 0.1, "gate")
    strengths = torch.zeros(0, dtype=torch.float64)
    check_equal(circuit, circuit, *angles(circuit, seed, batch), strengths)
