"""Circuits, angles and gradients for the tests of the circuit engines."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

from qmoe_fed.circuits import Circuit


def examples(count):
    """Settings for a property that simulates: few examples, the same ones on every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


up_to_four = st.integers(1, 4)


@st.composite
def circuits(draw, qubits=up_to_four, max_layers=4):
    n = draw(qubits)
    return Circuit(
        qubits=n,
        layers=draw(st.integers(1, max_layers)),
        embedding=draw(st.sampled_from(["ry", "rx"])),
        entangler=draw(st.sampled_from(["cz", "none", "strongly-entangling"])),
        reuploading=draw(st.booleans()),
        readout=draw(st.sampled_from(["probs", "expval"])),
        measured=draw(st.integers(0, n)),
    )


seeds = st.integers(0, 2**31)


def angles(circuit, seed, batch=3, features=None, lead_x=(), lead_theta=(), dtype=torch.float64):
    """Return x ``(*lead_x, batch, features)`` and θ ``(*lead_theta, ...)`` of a few radians."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (*lead_x, batch, features or circuit.qubits),
        (*lead_theta, *circuit.parameter_shape),
    ]
    return [2 * torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def with_gradients(run, x, theta):
    """Return the outputs and the gradients of a fixed mixture of them with respect to x and θ."""
    x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
    outputs = run(x, theta)
    weights = torch.linspace(-1, 1, max(outputs.numel(), 1), dtype=outputs.dtype)
    loss = (outputs.flatten() * weights[: outputs.numel()]).sum() / x.shape[-2]
    return outputs.detach(), *torch.autograd.grad(loss, (x, theta))


def assert_same(actual, expected, tolerance):
    """Check tensors of the same shapes for equality up to an absolute tolerance."""
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), atol=tolerance, rtol=0)
