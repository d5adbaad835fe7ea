"""Routers that a user might write, most of which cannot be trained as they are."""

import numpy as np
import pennylane as qml
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self, features, num_experts):
        super().__init__()
        self.linear = nn.Linear(features, num_experts)

    def forward(self, x):
        return self.change(self.linear(x)).softmax(-1)

    def change(self, scores):
        return scores


class PennyLane(nn.Module):
    def __init__(self, features, num_experts):
        super().__init__()

        @qml.qnode(qml.device("default.qubit", wires=2))
        def circuit(inputs, theta):
            qml.AngleEmbedding(inputs, wires=range(2))
            qml.StronglyEntanglingLayers(theta, wires=range(2))
            return qml.probs(wires=range(2))

        self.layer = qml.qnn.TorchLayer(circuit, {"theta": (1, 2, 3)})

    def forward(self, x):
        return self.layer(x)


class Hidden(Linear):
    """Keeps what it uses where torch cannot replace it."""

    def __init__(self, features, num_experts):
        super().__init__(features, num_experts)
        self.used = [self.linear.weight]

    def forward(self, x):
        return (x @ self.used[0].T).softmax(-1)


class Numpy(Linear):
    """Draws its start with a generator that nobody seeds."""

    def __init__(self, features, num_experts):
        super().__init__(features, num_experts)
        start = np.random.default_rng().normal(size=num_experts)
        self.shift = nn.Parameter(torch.from_numpy(start).float())

    def change(self, scores):
        return scores + self.shift


class Frozen(Linear):
    """Has random numbers that are no parameters."""

    def __init__(self, features, num_experts):
        super().__init__(features, num_experts)
        self.register_buffer("frequencies", torch.randn(num_experts))

    def change(self, scores):
        return (scores * self.frequencies).cos()


class Drops(Linear):
    def change(self, scores):
        return nn.functional.dropout(scores, 0.5, self.training)


class Norm(Linear):
    def __init__(self, features, num_experts):
        super().__init__(features, num_experts)
        self.norm = nn.BatchNorm1d(num_experts)

    def change(self, scores):
        return self.norm(scores)


class Branch(Linear):
    def change(self, scores):
        return scores if scores.sum() > 0 else 2 * scores


class Breaks(Linear):
    def change(self, scores):
        if self.training:
            raise ArithmeticError("not today")
        return scores
