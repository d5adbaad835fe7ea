"""Products over groups of qubits against one group that holds all, and against single gates."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import (
    ONE_QUBIT_AND_SWAPS,
    angles,
    assert_same,
    circuits,
    examples,
    lists,
    seeds,
    with_gradients,
)

from qmoe_fed.circuits import general, kronecker
from qmoe_fed.circuits.schedule import pure


def grouped(circuit, group, x, theta):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kronecker, "GROUP", group)
        return with_gradients(
            lambda x, theta: torch.view_as_real(kronecker.amplitudes(pure(circuit), x, theta) + 0j),
            x,
            theta,
        )


@given(circuits(st.integers(2, 5)), st.integers(1, 3), st.sampled_from([3, 40]), seeds)
@examples(30)
def test_groups_of_qubits_change_nothing(circuit, group, batch, seed):
    """40 samples are more than 2^5 states: then the circuit is multiplied out first."""
    x, theta = angles(circuit, seed, batch=batch, lead_x=(2,), lead_theta=(2,))
    assert_same(grouped(circuit, group, x, theta), grouped(circuit, 5, x, theta), 1e-12)


def probabilities(method, circuit):
    """The methods may differ in signs and phases."""

    def run(x, theta):
        psi = method.amplitudes(pure(circuit), x, theta)
        return psi.abs().square().expand(*x.shape[:-1], -1)

    return run


@given(
    lists(st.integers(1, 5), gates=ONE_QUBIT_AND_SWAPS, most=16), st.sampled_from([1, 40]), seeds
)
@examples(25)
def test_lists_of_gates_on_one_qubit_and_permutations_equal_gate_after_gate(circuit, batch, seed):
    assert kronecker.fits(pure(circuit))
    x, theta = angles(circuit, seed, batch)
    slow, fast = (
        with_gradients(probabilities(method, circuit), x, theta) for method in (general, kronecker)
    )
    assert_same(fast, slow, 1e-10)
