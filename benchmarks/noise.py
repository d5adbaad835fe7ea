"""The router under noise, forward and backward, against density matrices in PennyLane."""

import sys
from collections.abc import Iterable, Iterator

import torch
from references import default
from router import circuit_of, gradients
from timing import Result, compare, in_process, peak_megabytes

from qmoe_fed.circuits import Circuit, statevector, with_noise

STRENGTH = 0.01


def measure(
    cases: list[tuple[int, int]], seconds: float, ansatzes: Iterable[str] = ("RY-CZ",)
) -> Iterator[Result]:
    """Time one gradient with a depolarizing channel after every gate.

    Twice: the probabilities of the first two qubits, on which few others bear, and ⟨Z⟩ of all.

    Args:
        cases: Pairs of number of qubits and batch size.
        seconds: Time for each comparison.
        ansatzes: Names in ``router.ANSATZES``, of RY and CZ.
    """
    for ansatz in ansatzes:
        for readout in ("probs", "expval"):
            for qubits, batch in cases:
                circuit = noisy(ansatz, readout, qubits)
                others = {"default.mixed": default(circuit, "default.mixed")}
                result = compare(gradients(circuit, batch, others), seconds, most=20)
                case = {"ansatz": ansatz, "readout": readout, "qubits": qubits, "batch": batch}
                # of a process that computes one gradient, torch included
                megabytes = in_process(__file__, *case.values())
                yield {**case, **result, "megabytes": megabytes}


def noisy(ansatz: str, readout: str, qubits: int) -> Circuit:
    """Return the circuit to run."""
    return with_noise(circuit_of(ansatz, qubits, readout), "depolarizing", STRENGTH, "gate")


def _print_peak(ansatz: str, readout: str, qubits: int, batch: int) -> None:
    circuit = noisy(ansatz, readout, qubits)
    x, theta = torch.rand(batch, qubits), torch.rand(circuit.parameters).requires_grad_()
    torch.autograd.grad(statevector.run(circuit, x, theta).square().sum(), theta)
    print(peak_megabytes())


if __name__ == "__main__":
    torch.set_num_threads(1)
    _print_peak(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
