"""What gates and channels do to one qubit or two, read off what the density engine returns."""

from functools import reduce
from itertools import product

import numpy as np
import pennylane as qml
import pytest
import torch

from qmoe_fed.circuits import Circuit, Slot, channel, gate, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.noise.placement import (
    PLACEMENTS,
    depolarizing_from_qiskit,
    depolarizing_to_qiskit,
    with_noise,
)
from qmoe_fed.circuits.operations import CHANNELS
from qmoe_fed.errors import UserError

KRAUS = {
    "depolarizing": qml.DepolarizingChannel,
    "amplitude-damping": qml.AmplitudeDamping,
    "phase-damping": qml.PhaseDamping,
    "bit-flip": qml.BitFlip,
}
ONE = "IXYZ"
PAULIS = dict(
    zip(ONE, [np.eye(2), *(qml.matrix(p(0)) for p in (qml.X, qml.Y, qml.Z))], strict=True)
)
QUARTER = {"I": [], "X": [("RY", torch.pi / 2)], "Y": [("RX", -torch.pi / 2)], "Z": []}
"""Rotations that take the eigenstates of Z to those of each Pauli matrix."""


def transfer(operations, wires=1, strengths=None, given=None):
    """Return the Pauli transfer matrix of operations, ``(..., 4^w, 4^w)``, or ``given`` columns.

    Products of eigenstates are prepared, the operations done, products of Pauli matrices measured.
    """
    x, theta = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    labels = list(product(ONE, repeat=wires))
    signs = torch.tensor(list(product((1.0, -1.0), repeat=wires)), dtype=torch.float64)

    def measured(before, flips, after):
        """Return ⟨all products of I and Z⟩, turned by ``after``."""
        turns = [gate("RX", j, torch.pi) for j in range(wires) if flips[j] < 0]
        turns += [gate(n, j, a) for j in range(wires) for n, a in QUARTER[before[j]]]
        turns += operations
        turns += [gate(n, j, -a) for j in range(wires) for n, a in QUARTER[after[j]]]
        noise = [channel("bit-flip", j, 0.0) for j in range(wires)]  # so that densities are run
        circuit = Circuit(
            wires, (*turns, *noise, *(gate("H", j) for j in range(wires) for _ in "12"))
        )
        outcomes = statevector.run(circuit, x, theta, strengths)[..., 0, :]
        kept = [signs[:, j] for j in range(wires) if after[j] != "I"]
        return outcomes @ reduce(torch.mul, kept, torch.ones(2**wires, dtype=x.dtype))

    columns = []
    for before in given or labels:
        # an eigenstate with sign s is (I + sP)/2, so ±-sums over eigenstates single out products
        kept = [j for j in range(wires) if before[j] != "I"]
        column = []
        for after in labels:
            values = [measured(before, s, after) * s[kept].prod() for s in signs]
            column.append(sum(values) / 2**wires)
        columns.append(torch.stack(column, -1))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.75, 0.99])
@pytest.mark.parametrize("name", CHANNELS)
def test_channels_follow_from_kraus_operators(name, strength):
    def kraus(rho):
        operators = KRAUS[name](strength, wires=0).kraus_matrices()
        return sum(k @ rho @ np.conj(k).T for k in operators)

    ps = PAULIS.values()
    expected = [[np.trace(p @ kraus(q)).real / 2 for q in ps] for p in ps]
    actual = transfer([channel(name, 0, strength)])
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CHANNELS)
def test_many_strengths_are_one_call(name):
    strengths = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)).double()
    matrices = transfer([channel(name, 0, Slot(0))], strengths=strengths[..., None])
    assert matrices.shape == (2, 3, 4, 4)
    alone = transfer([channel(name, 0, strengths[1, 2].item())])
    torch.testing.assert_close(matrices[1, 2], alone)


def test_depolarizing_shrinks_as_its_two_conventions_say():
    matrix = transfer([channel("depolarizing", 0, 0.3)])
    assert matrix[3, 3].item() == pytest.approx(1 - 4 * 0.3 / 3)
    matrix = transfer([channel("depolarizing", 0, depolarizing_from_qiskit(0.3))])
    assert matrix[3, 3].item() == pytest.approx(1 - 0.3)
    assert depolarizing_to_qiskit(depolarizing_from_qiskit(0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("CZ", [("XI", "XZ", 1), ("ZI", "ZI", 1), ("XX", "YY", 1), ("XY", "YX", -1)]),
        ("CNOT", [("XI", "XX", 1), ("IZ", "ZZ", 1), ("XZ", "YY", -1)]),
        ("SWAP", [("XY", "YX", 1), ("IZ", "ZI", 1)]),
    ],
)
def test_gates_on_two_qubits_permute_pauli_products(name, rules):
    pairs = [a + b for a in ONE for b in ONE]
    matrix = transfer([gate(name, (0, 1))], 2, given=[before for before, _, _ in rules])
    for column, (_, after, sign) in zip(matrix.T, rules, strict=True):
        np.testing.assert_allclose(column, sign * np.eye(16)[pairs.index(after)], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "turned"),
    [("RX", [1, 2, -4, 3]), ("RY", [1, 4, 3, -2]), ("RZ", [1, -3, 2, 4])],
)
def test_a_quarter_turn_takes_the_next_axis_to_the_one_after(name, turned):
    state = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    actual = transfer([gate(name, 0, torch.pi / 2)]) @ state
    torch.testing.assert_close(actual, torch.tensor(turned).double())


@pytest.mark.parametrize(
    ("name", "strength", "placement", "message"),
    [
        ("depolarising", 0.1, "gate", "Did you mean 'depolarizing'"),
        ("bit-flip", 0.1, "gates", "Did you mean 'gate'"),
        ("bit-flip", 1.1, "gate", r"strength = 1\.1: must be in \[0, 1\]"),
        ("bit-flip", -0.1, "gate", "strength = -0.1: must be"),
        ("bit-flip", float("nan"), "gate", "strength = nan: must be"),
        ("bit-flip", 2, "readout", "strength = 2: must"),
    ],
)
def test_bad_noise_is_refused(name, strength, placement, message):
    for circuit in (layered(2, 1, 2), Circuit(1, (), measured=0)):
        with pytest.raises(UserError, match=message):
            with_noise(circuit, name, strength, placement)


def test_where_noise_acts():
    turn, pair = gate("Rot", 1, 1, 2, 3), gate("CZ", (0, 1))
    circuit = Circuit(3, (turn, pair), measured=2)
    a, b, c = (channel("phase-damping", wire, 0.1) for wire in range(3))
    expected = {
        "gate": (turn, b, pair, a, b),
        "notebook": (turn, pair, a, b, c),
        "readout": (turn, pair, a, b),
    }
    assert set(expected) == set(PLACEMENTS)
    for placement, operations in expected.items():
        noisy = with_noise(circuit, "phase-damping", 0.1, placement)
        assert noisy.operations == operations
        assert (noisy.qubits, noisy.readout, noisy.measured) == (3, "probs", 2)


def test_notebook_noise_comes_once_after_each_embedding_and_once_at_the_end():
    circuit = with_noise(layered(2, 2, 2, reuploading=True), "bit-flip", 0.1, "notebook")
    names = [operation.name for operation in circuit.operations]
    flips = ["bit-flip"] * 2
    layer = ["RY", "RY", *flips, "RY", "RY", "CZ"]
    assert names == [*layer, *layer, *flips]


def test_noise_adds_to_noise():
    once = with_noise(Circuit(1, (gate("H", 0),)), "bit-flip", 0.1, "gate")
    twice = with_noise(once, "phase-damping", Slot(once.strengths), "gate")
    assert [operation.name for operation in twice.operations] == ["H", "phase-damping", "bit-flip"]
    assert twice.strengths == 1
