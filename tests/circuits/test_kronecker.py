"""Products over groups of qubits against one group that holds all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, circuits, examples, seeds, with_gradients

from qmoe_fed.circuits import kronecker


def grouped(circuit, group, x, theta):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kronecker, "GROUP", group)
        return with_gradients(
            lambda x, theta: torch.view_as_real(kronecker.amplitudes(circuit, x, theta) + 0j),
            x,
            theta,
        )


@given(circuits(st.integers(2, 5)), st.integers(1, 3), st.sampled_from([3, 40]), seeds)
@examples(30)
def test_groups_of_qubits_change_nothing(circuit, group, batch, seed):
    """40 samples are more than 2^5 states: then the circuit is multiplied out first."""
    x, theta = angles(circuit, seed, batch=batch, lead_x=(2,), lead_theta=(2,))
    assert_same(grouped(circuit, group, x, theta), grouped(circuit, 5, x, theta), 1e-12)
