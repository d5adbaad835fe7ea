"""Routers: modules that give each input weights over N experts.

Each maps x ``(B, d)``, angles in [0, π], to weights ``(B, N)`` that are non-negative and sum to 1.
A module may name its parameters that are angles (``angles``), so that their averages are taken on
the circle, and the half-width of its parameters' uniform initialisation (``init_bounds``).
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from qmoe_fed.circuits import Circuit
from qmoe_fed.models.quantum import EXACT, QuantumModule, Running


class NoChoice(nn.Module):
    """The router before a single expert: it has no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, 1)``, all 1."""
        return torch.ones_like(x[:, :1])


class LinearRouter(nn.Module):
    """Softmax of a linear map: Model A of the paper (section III-A)."""

    def __init__(self, features: int, num_experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        return self.linear(x).softmax(-1)


class MlpRouter(nn.Module):
    """Softmax of one hidden layer of ReLUs: Model C of the paper (section IV-B)."""

    def __init__(self, features: int, num_experts: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.output = nn.Linear(width, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        return self.output(self.hidden(x).relu()).softmax(-1)


class TrigRouter(nn.Module):
    """Softmax of a linear map of all products of 1, cos xⱼ and sin xⱼ: 3^d features.

    These span every function that a circuit without re-uploading can output, so this is the
    classical gate with the quantum router's features and no quantum constraint.
    """

    def __init__(self, features: int, num_experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3**features, num_experts, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        return self.linear(trigonometric_features(x)).softmax(-1)


class QuantumRouter(QuantumModule):
    """Measurement probabilities of a parameterised circuit (paper, sections III-B and IV-C).

    With ``readout = "probs"`` the weights are the probabilities of the first ⌈log₂ N⌉ qubits,
    P(expert i | x) = |⟨i|U(θ)|ψ(x)⟩|² summed over the other qubits; when N is no power of two,
    basis state i counts for expert i mod N. With ``readout = "expval-adapter"`` they are the
    softmax of a linear map of every ⟨Zⱼ⟩, as in the authors' notebooks.

    θ is one vector ``(P,)``. With ``shots`` the weights are frequencies of so many measurements.

    Args:
        circuit: The circuit; its readout is set here.
        num_experts: Number of experts N.
        readout: ``probs`` or ``expval-adapter``.
        init_angle: θ is drawn uniformly from [-init_angle, init_angle], radians.
        parameters: P, if θ is longer than the circuit needs: it reads the first ones.
        running: How it is run.

    Raises:
        UserError: As ``QuantumModule``.
    """

    def __init__(
        self,
        circuit: Circuit,
        num_experts: int,
        readout: str = "probs",
        init_angle: float = math.pi,
        parameters: int = 0,
        running: Running = EXACT,
    ) -> None:
        probs = readout == "probs"
        measured = math.ceil(math.log2(num_experts)) if probs else circuit.qubits
        circuit = replace(circuit, readout="probs" if probs else "expval", measured=measured)
        shape = (max(parameters, circuit.parameters),)
        super().__init__(circuit, shape, init_angle, running)
        self.num_experts = num_experts
        self.adapter = None if probs else nn.Linear(circuit.qubits, num_experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        outputs = self.measure(x)
        if self.adapter is not None:
            return self.adapter(outputs).softmax(-1)
        return fold(outputs, self.num_experts)


def trigonometric_features(x: Tensor) -> Tensor:
    """Return all products of 1, cos xⱼ and sin xⱼ: ``(B, d)`` → ``(B, 3^d)``."""
    factors = torch.stack([torch.ones_like(x), x.cos(), x.sin()], -1)
    product, *rest = factors.unbind(-2)
    for factor in rest:
        product = (product.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
    return product


def fold(probabilities: Tensor, num_experts: int) -> Tensor:
    """Add up basis states with the same number mod N: ``(..., 2^k)`` → ``(..., N)``."""
    first, *rest = probabilities.split(num_experts, -1)
    for part in rest:
        first = first + nn.functional.pad(part, (0, num_experts - part.shape[-1]))
    return first
