"""Whole states of circuits, how far they spread over all states, and how entangled they are."""

from functools import cache

import torch
from scipy.special import betainc
from torch import Tensor

from qmoe_fed.circuits import general
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.schedule import Part, local, primitives
from qmoe_fed.circuits.statevector import check_inputs
from qmoe_fed.errors import UserError

BINS = 75  # of fidelities (Sim et al.)


def states(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state up to a phase, ``(..., B or 1, 2^n)``; B if x is in it.

    Arguments as of ``statevector.run``; UserError if they do not fit or there are channels.
    """
    if circuit.noisy:
        raise UserError("a circuit with channels has no state vector: expected one without noise")
    x, theta, _ = check_inputs(circuit, x, theta, None)
    return general.amplitudes(_whole(circuit), x, theta)


@cache
def _whole(circuit: Circuit) -> Part:
    return local(circuit, primitives(circuit), set(range(circuit.qubits)))


def fidelities(first: Tensor, second: Tensor) -> Tensor:
    """Return |⟨a|b⟩|² of states ``(..., D)``, shape ``(...)``."""
    return (first.conj() * second).sum(-1).abs() ** 2


def expressibility(found: Tensor, dimension: int, real: bool = False) -> float:
    """Return the divergence, in nats, of fidelities of pairs from those of random states.

    0 is as expressive as can be, up to about 37/S for S pairs (Sim, Johnson & Aspuru-Guzik,
    "Expressibility and entangling capability of parameterized quantum circuits", 2019).

    Args:
        found: Fidelities, ``(S,)``.
        dimension: Of the states, 2^n.
        real: Compare with random real states, which circuits of RY and CZ cannot leave.
    """
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    a, b = (0.5, (dimension - 1) / 2) if real else (1.0, dimension - 1.0)
    beyond = torch.from_numpy(betainc(b, a, 1 - edges.numpy()))  # precise where it is small
    expected = -beyond.diff()
    seen = torch.histc(found.double(), BINS, 0, 1) / len(found)
    return float(torch.special.xlogy(seen, seen / expected).sum())


def entanglement(psi: Tensor) -> Tensor:
    """Return Meyer and Wallach's Q = 2(1 - mean purity of a qubit) of states ``(..., 2^n)``.

    0 for products, 1 for Bell and GHZ states (2002; in the form of Brennen, 2003).
    """
    qubits = psi.shape[-1].bit_length() - 1
    purity = torch.zeros_like(psi[..., 0].abs())
    for j in range(qubits):
        rows = psi.unflatten(-1, (2**j, 2, -1)).movedim(-2, -3).flatten(-2)
        purity = purity + ((rows @ rows.mH).abs() ** 2).sum((-1, -2))
    return 2 * (1 - purity / qubits)
