"""Gate after gate: any list of gates."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, examples, lists, seeds, with_gradients

from qmoe_fed.circuits import general, pennylane
from qmoe_fed.circuits.schedule import pure
from qmoe_fed.circuits.statevector import read_out


@given(
    lists(st.integers(1, 5), unitaries=True, embedding=True, most=16),
    st.sampled_from([1, 2, 20]),
    seeds,
)
@examples(30)
def test_any_list_equals_pennylane(circuit, batch, seed):
    x, theta = angles(circuit, seed, batch)
    actual = with_gradients(
        lambda x, t: read_out(circuit, general.amplitudes(pure(circuit), x, t), x), x, theta
    )
    expected = with_gradients(lambda x, t: pennylane.run(circuit, x, t), x, theta)
    assert_same(actual, expected, 1e-10)


@given(lists(st.integers(1, 4), unitaries=True, embedding=True), seeds)
@examples(10)
def test_states_have_norm_one(circuit, seed):
    psi = general.amplitudes(pure(circuit), *angles(circuit, seed))
    torch.testing.assert_close(psi.abs().square().sum(-1), torch.ones(psi.shape[:-1]).double())
