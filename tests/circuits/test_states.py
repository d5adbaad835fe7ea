"""Whole states, and what is said of ensembles of them: exact values."""

import math

import pytest
import torch
from hypothesis import given
from random_circuits import angles, examples, lists

from qmoe_fed.circuits import Circuit, channel, gate, statevector
from qmoe_fed.circuits.compose import inverse
from qmoe_fed.circuits.states import BINS, entanglement, expressibility, fidelities, states
from qmoe_fed.errors import UserError

NONE = torch.zeros(1, 0).double(), torch.zeros(0).double()


OTHER = {
    n: [
        *(gate("Rot", j, 0.3, 1 + j, 0.2) for j in range(n)),
        *(gate("CNOT", (j, j + 1)) for j in range(n - 1)),
    ]
    for n in range(1, 5)
}


def psi(*operations, qubits=2):
    return states(Circuit(qubits, operations), *NONE)


@given(lists(unitaries=True))
@examples(6)
def test_fidelities_are_what_is_read_when_one_is_undone(circuit):
    whole = Circuit(circuit.qubits, circuit.operations)
    x, theta = angles(whole, 0, batch=2)
    turned = Circuit(circuit.qubits, (*circuit.operations, *OTHER[circuit.qubits]))
    first = states(whole, x, theta)
    second = states(
        Circuit(circuit.qubits, [inverse(o) for o in reversed(OTHER[circuit.qubits])]), x, NONE[1]
    )
    expected = statevector.run(turned, x, theta)[..., 0]
    torch.testing.assert_close(fidelities(first, second), expected)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (psi(gate("H", 0), gate("RY", 1, 0.7)), 0),
        (psi(gate("H", 0), gate("CNOT", (0, 1))), 1),
        (psi(gate("H", 0), gate("CNOT", (0, 1)), gate("CNOT", (1, 2)), qubits=3), 1),
        (psi(gate("H", 0), gate("CNOT", (0, 1)), gate("RX", 2, 0.3), qubits=3), 2 / 3),
        (psi(gate("RY", 0, 0.8), gate("CNOT", (0, 1))), math.sin(0.8) ** 2),
    ],
    ids=["product", "Bell", "GHZ", "Bell and one apart", "partly"],
)
def test_entanglement_of_known_states(state, expected):
    assert float(entanglement(state)) == pytest.approx(expected)


@pytest.mark.parametrize("real", [False, True])
def test_random_states_are_as_expressible_as_can_be(real):
    numbers = torch.randn(2, 50_000, 4, 2, generator=torch.Generator().manual_seed(0))
    drawn = torch.nn.functional.normalize(
        numbers[..., 0].double() if real else torch.view_as_complex(numbers.double()), dim=-1
    )
    found = fidelities(*drawn)
    assert expressibility(found, 4, real) == pytest.approx(0, abs=2e-3)
    assert expressibility(found, 4, not real) > 0.1


def test_one_state_is_not_expressible_at_all():
    # Sim et al.: the idle circuit of n qubits has (2^n - 1) ln 75
    for qubits in (1, 2, 3):
        found = expressibility(torch.ones(10), 2**qubits)
        assert found == pytest.approx((2**qubits - 1) * math.log(BINS))


def test_noise_has_no_state():
    with pytest.raises(UserError, match="no state vector"):
        psi(channel("bit-flip", 0, 0.1))


def test_states_on_a_circle_have_a_known_expressibility():
    # H, then RZ(θ): F = cos²(Δ/2), whose distribution is the arcsine law; Sim et al. print 0.22
    turns = torch.arange(0.5, 200_000).double() * math.pi / 200_000
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    share = (edges.sqrt().asin() * 2 / math.pi).diff()
    expected = float((share * (share * BINS).log()).sum())
    assert expressibility((turns / 2).cos() ** 2, 2) == pytest.approx(expected, abs=1e-4)
    assert 0.19 < expected < math.log(4 / math.pi)  # the limit of many bins
