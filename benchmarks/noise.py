"""The router under noise, forward and backward, against density matrices in PennyLane."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from references import Router, default_mixed
from router import ANSATZES, LAYERS, gradients
from timing import Result, compare, peak_megabytes

from qmoe_fed.circuits import Circuit, density
from qmoe_fed.circuits.channels import Noise

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
                circuit = circuit_of(ansatz, readout, qubits)
                runs = {
                    "qmoe_fed": ours(circuit),
                    "default.mixed": default_mixed(circuit, STRENGTH),
                }
                result = compare(gradients(circuit, batch, runs), seconds, most=20)
                case = {"ansatz": ansatz, "readout": readout, "qubits": qubits, "batch": batch}
                megabytes = peak_of(*map(str, case.values()))
                yield {**case, **result, "megabytes": megabytes}


def circuit_of(ansatz: str, readout: str, qubits: int) -> Circuit:
    """Return the circuit to run."""
    measured = 2 if readout == "probs" else qubits
    return Circuit(qubits, LAYERS, readout=readout, measured=measured, **ANSATZES[ansatz])


def ours(circuit: Circuit) -> Router:
    """Return the router under noise as this project runs it."""
    noise = Noise("depolarizing", STRENGTH)
    return lambda x, theta: density.run(circuit, x, theta, noise)


def peak_of(*case: str) -> float:
    """Return the peak memory of a process that computes a gradient, torch included, in MB."""
    command = [sys.executable, __file__, *case]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _print_peak(ansatz: str, readout: str, qubits: int, batch: int) -> None:
    circuit = circuit_of(ansatz, readout, qubits)
    x, theta = torch.rand(batch, qubits), torch.rand(circuit.parameter_shape).requires_grad_()
    torch.autograd.grad(ours(circuit)(x, theta).square().sum(), theta)
    print(peak_megabytes())


if __name__ == "__main__":
    torch.set_num_threads(1)
    _print_peak(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
