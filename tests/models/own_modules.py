"""A user's own router, expert and circuit, as they would write them in a file of theirs."""

import torch
from torch import nn

from qmoe_fed.circuits import Circuit, feature, gate, parameter


class CosineRouter(nn.Module):
    def __init__(self, features, num_experts, sharpness=1.0):
        super().__init__()
        self.sharpness = sharpness
        self.centres = nn.Parameter(torch.randn(num_experts, features))

    def forward(self, x):
        return (-self.sharpness * torch.cdist(x, self.centres)).softmax(-1)


class TinyNet(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 4), nn.Tanh(), nn.Linear(4, classes))

    def forward(self, x):
        return self.net(x)


def not_a_module(features, num_experts):
    return None


def ring(qubits, layers, features):
    operations = [gate("RX", j, feature(j % features)) for j in range(qubits)]
    for k in range(layers):
        operations += [gate("RY", j, parameter(k * qubits + j)) for j in range(qubits)]
        operations += [gate("CRZ", (j, (j + 1) % qubits), 0.5) for j in range(qubits)]
    return Circuit(qubits, tuple(operations))


def not_a_circuit(qubits, layers, features):
    return []
