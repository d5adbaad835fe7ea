import numpy as np
import pennylane as qml
import pytest
import torch

from qmoe_fed.circuits.channels import CHANNELS, Noise, depolarizing_from_qiskit
from qmoe_fed.errors import UserError

KRAUS = {
    "depolarizing": qml.DepolarizingChannel,
    "amplitude-damping": qml.AmplitudeDamping,
    "phase-damping": qml.PhaseDamping,
    "bit-flip": qml.BitFlip,
}
PAULIS = [np.eye(2), qml.matrix(qml.X(0)), qml.matrix(qml.Y(0)), qml.matrix(qml.Z(0))]


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.75, 0.99])
@pytest.mark.parametrize("name", CHANNELS)
def test_transfer_matrices_follow_from_kraus_operators(name, strength):
    def channel(rho):
        kraus = KRAUS[name](strength, wires=0).kraus_matrices()
        return sum(k @ rho @ np.conj(k).T for k in kraus)

    expected = [[np.trace(p @ channel(q)).real / 2 for q in PAULIS] for p in PAULIS]
    actual = CHANNELS[name](torch.tensor(strength, dtype=torch.float64))
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CHANNELS)
def test_many_strengths_are_one_call(name):
    strengths = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    matrices = Noise(name, strengths).matrix(like=torch.zeros(1, dtype=torch.float64))
    assert matrices.shape == (2, 3, 4, 4)
    torch.testing.assert_close(matrices[1, 2], CHANNELS[name](strengths[1, 2].double()))


def test_depolarizing_shrinks_as_its_two_conventions_say():
    matrix = CHANNELS["depolarizing"](torch.tensor(0.3))
    assert matrix[3, 3].item() == pytest.approx(1 - 4 * 0.3 / 3)
    matrix = CHANNELS["depolarizing"](torch.tensor(depolarizing_from_qiskit(0.3)))
    assert matrix[3, 3].item() == pytest.approx(1 - 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel": "depolarising", "strength": 0.1}, "Did you mean 'depolarizing'"),
        ({"channel": "bit-flip", "strength": 0.1, "placement": "gates"}, "Did you mean 'gate'"),
        ({"channel": "bit-flip", "strength": 1.1}, r"strength = 1\.1: must be in \[0, 1\]"),
        ({"channel": "bit-flip", "strength": torch.tensor([0.1, -0.1])}, "strength = .*must be"),
        ({"channel": "bit-flip", "strength": float("nan")}, "strength = nan: must be"),
        ({"channel": "bit-flip", "strength": 0, "readout_error": 2}, "readout_error = 2: must"),
    ],
)
def test_bad_noise_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Noise(**arguments)
