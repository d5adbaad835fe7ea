"""The router, forward and backward, against simulators that its users could pick instead."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from references import Router, default, lightning, plain_torch
from timing import Result, compare

from qmoe_fed.circuits import Circuit, statevector
from qmoe_fed.circuits.ansatz import layered

ANSATZES = {
    "RY-CZ": {},
    "re-uploading": {"reuploading": True},
    "StronglyEntanglingLayers": {"entangler": "strongly-entangling"},
}
LAYERS = 3

OTHERS: dict[str, Callable[[Circuit], Router]] = {
    "plain torch": plain_torch,
    "default.qubit": default,
    "lightning.qubit": lightning,
}


def circuit_of(ansatz: str, qubits: int, readout: str = "probs") -> Circuit:
    """Return an ansatz: the probabilities of the first two qubits, or ⟨Z⟩ of all."""
    measured = 2 if readout == "probs" else qubits
    circuit = layered(qubits, LAYERS, qubits, **ANSATZES[ansatz])
    return replace(circuit, readout=readout, measured=measured)


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


def gradients(
    circuit: Circuit, batch: int, others: dict[str, Router], tolerance: float = 1e-4
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

    runs: dict[str, Router] = {"qmoe_fed": lambda x, t: statevector.run(circuit, x, t), **others}
    expected = gradient(runs["qmoe_fed"])
    for name, run in runs.items():
        if not torch.allclose(gradient(run).float(), expected, atol=tolerance * batch):
            raise RuntimeError(f"{name} does not agree on {circuit}")
    return {name: lambda run=run: gradient(run) for name, run in runs.items()}
