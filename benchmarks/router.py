"""The router, forward and backward, against simulators that its users could pick instead.

As a program, ``python router.py ANSATZ READOUT QUBITS BATCH``, it computes one noisy gradient and
prints the peak of its memory.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from references import Router, default, lightning, plain_torch
from timing import Result, compare, in_process, peak_megabytes

from qmoe_fed.circuits import Circuit, statevector, with_noise
from qmoe_fed.circuits.ansatz import layered

ANSATZES = {
    "RY-CZ": {},
    "re-uploading": {"reuploading": True},
    "StronglyEntanglingLayers": {"entangler": "strongly-entangling"},
}
LAYERS = 3
STRENGTH = 0.01

OTHERS: dict[str, Callable[[Circuit], Router]] = {
    "plain torch": plain_torch,
    "default.qubit": default,
    "lightning.qubit": lightning,
}


def circuit_of(ansatz: str, qubits: int, readout: str = "probs", noise: float = 0.0) -> Circuit:
    """Return an ansatz: the probabilities of the first two qubits, or ⟨Z⟩ of all.

    With noise, a depolarizing channel of that strength follows every gate.
    """
    measured = 2 if readout == "probs" else qubits
    circuit = layered(qubits, LAYERS, qubits, **ANSATZES[ansatz])
    circuit = replace(circuit, readout=readout, measured=measured)
    return with_noise(circuit, "depolarizing", noise, "gate") if noise else circuit


def measure(
    cases: list[tuple[int, int]], seconds: float, others: Iterable[str] = tuple(OTHERS)
) -> Iterator[Result]:
    """Time one gradient with respect to θ in all ansatzes.

    Args:
        cases: Pairs of number of qubits and batch size.
        seconds: Time for each comparison.
        others: Names of those to compare with.
    """
    for ansatz in ANSATZES:
        for qubits, batch in cases:
            circuit = circuit_of(ansatz, qubits)
            runs = {name: OTHERS[name](circuit) for name in others}
            result = compare(gradients(circuit, batch, runs), seconds)
            yield {"ansatz": ansatz, "qubits": qubits, "batch": batch, **result}


def under_noise(
    cases: list[tuple[int, int]], seconds: float, ansatzes: Iterable[str] = ("RY-CZ",)
) -> Iterator[Result]:
    """Time one noisy gradient against density matrices in PennyLane; arguments as ``measure``.

    Twice: the probabilities of the first two qubits, on which few others bear, and ⟨Z⟩ of all.
    Memory is that of a process of its own, torch included.
    """
    for ansatz in ansatzes:
        for readout in ("probs", "expval"):
            for qubits, batch in cases:
                circuit = circuit_of(ansatz, qubits, readout, STRENGTH)
                others = {"default.mixed": default(circuit, "default.mixed")}
                result = compare(gradients(circuit, batch, others), seconds, most=20)
                case = {"ansatz": ansatz, "readout": readout, "qubits": qubits, "batch": batch}
                alone = in_process(__file__, *case.values())
                yield {**case, **result, "megabytes": alone["megabytes"]}


def gradients(
    circuit: Circuit, batch: int, others: dict[str, Router]
) -> dict[str, Callable[[], torch.Tensor]]:
    """Return functions that compute dloss/dθ, ours first, after checking that they agree.

    Raises:
        RuntimeError: A contender computes something else.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, circuit.qubits, generator=generator) * torch.pi
    theta = torch.randn(circuit.parameters, generator=generator).requires_grad_()
    weights = torch.rand(batch, circuit.outputs, generator=generator)

    def gradient(run: Router) -> torch.Tensor:
        return torch.autograd.grad((run(x, theta) * weights).sum(), theta)[0]

    def ours(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return statevector.run(circuit, x, theta)

    expected = gradient(ours)
    for name, run in others.items():
        if not torch.allclose(gradient(run).float(), expected, atol=1e-4 * batch):
            raise RuntimeError(f"{name} does not agree on {circuit}")
    runs = {"qmoe_fed": ours, **others}
    return {name: lambda run=run: gradient(run) for name, run in runs.items()}


def _alone(ansatz: str, readout: str, qubits: str, batch: str) -> Result:
    circuit = circuit_of(ansatz, int(qubits), readout, STRENGTH)
    gradients(circuit, int(batch), {})["qmoe_fed"]()
    return {"megabytes": peak_megabytes()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_alone(*sys.argv[1:])))
