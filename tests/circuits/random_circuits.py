"""Circuits, inputs and gradients for the tests of the circuit engines."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from scipy.stats import ortho_group, unitary_group

from qmoe_fed.circuits import (
    Circuit,
    Slot,
    amplitude_embedding,
    channel,
    feature,
    gate,
    parameter,
    unitary,
    with_noise,
)
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.operations import CHANNELS, GATES


def examples(count):
    """Settings for a property that simulates: few examples, the same ones on every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


up_to_four = st.integers(1, 4)
seeds = st.integers(0, 2**31)


def ansatz(qubits, layers, readout="probs", measured=-1, features=0, **kind):
    """Return a layered circuit; 0 features are as many as there are qubits."""
    circuit = layered(qubits, layers, features or qubits, **kind)
    return replace(circuit, readout=readout, measured=measured)


@st.composite
def ansatz_settings(draw, qubits=up_to_four, max_layers=4):
    """Draw the arguments of ``ansatz``."""
    n = draw(qubits)
    return {
        "qubits": n,
        "layers": draw(st.integers(1, max_layers)),
        "embedding": draw(st.sampled_from(["ry", "rx"])),
        "entangler": draw(st.sampled_from(["cz", "none", "strongly-entangling"])),
        "reuploading": draw(st.booleans()),
        "readout": draw(st.sampled_from(["probs", "expval"])),
        "measured": draw(st.integers(0, n)),
        "features": draw(st.integers(1, n)),
    }


def circuits(qubits=up_to_four, max_layers=4):
    """Draw layered circuits."""
    return ansatz_settings(qubits, max_layers).map(lambda kind: ansatz(**kind))


FEATURES, PARAMETERS, SLOTS = 3, 4, 2
"""What random lists read at most; all of it is read, so that gradients exist."""

REAL = ("RY", "CZ")
ONE_QUBIT_AND_SWAPS = ("RX", "RY", "RZ", "Rot", "H", "CZ", "CNOT", "SWAP")

coefficients = st.sampled_from([1.0, -1.0, 0.5, -2.0])
terms = st.one_of(
    st.builds(lambda j, c: c * feature(j), st.integers(0, FEATURES - 1), coefficients),
    st.builds(lambda k, c: c * parameter(k), st.integers(0, PARAMETERS - 1), coefficients),
)
angle_values = st.builds(
    lambda constant, parts: sum(parts, constant),
    st.sampled_from([0.0, 0.3, -1.2]),
    st.lists(terms, max_size=3),
)


@st.composite
def operations(draw, qubits, gates=tuple(GATES), unitaries=False, noise=False, most=10):
    """Draw gates on few qubits, then one more for each parameter and feature."""
    drawn = []
    kinds = [name for name in gates if GATES[name][0] <= qubits] + ["unitary"] * unitaries
    wires = st.permutations(range(qubits))
    for name in draw(st.lists(st.sampled_from(kinds), max_size=most)):
        if name == "unitary":
            on = tuple(draw(wires)[: draw(st.integers(1, min(2, qubits)))])
            kind = draw(st.sampled_from([unitary_group, ortho_group]))
            drawn.append(unitary(random_matrix(kind, 2 ** len(on), draw(seeds)), *on))
        else:
            size, turns = GATES[name]
            angles = [draw(angle_values) for _ in range(turns)]
            drawn.append(gate(name, tuple(draw(wires)[:size]), *angles))
        if noise and draw(st.booleans()):
            drawn.append(draw(channels(qubits)))
    wire = st.integers(0, qubits - 1)
    turn = next(name for name in gates if GATES[name] == (1, 1))
    drawn += [gate(turn, draw(wire), parameter(k)) for k in range(PARAMETERS)]
    drawn += [gate(turn, draw(wire), feature(j)) for j in range(FEATURES)]
    if noise:
        drawn += [channel("bit-flip", draw(wire), Slot(number)) for number in range(SLOTS)]
    return drawn


@st.composite
def channels(draw, qubits):
    """Draw a channel."""
    strength = draw(st.sampled_from([0.0, 0.15, 0.4, *map(Slot, range(SLOTS))]))
    return channel(draw(st.sampled_from(CHANNELS)), draw(st.integers(0, qubits - 1)), strength)


@st.composite
def lists(draw, qubits=up_to_four, embedding=False, **kinds):
    """Draw circuits of any operations; ``embedding`` may put amplitudes first."""
    n = draw(qubits)
    drawn = draw(operations(n, **kinds))
    if embedding and draw(st.booleans()):
        wires = tuple(draw(st.permutations(range(n)))[: draw(st.integers(1, min(2, n)))])
        amplitudes = [feature(0) + 1.5, 0.5 * feature(1), 2 + parameter(1), -0.3]
        size = draw(st.integers(1, 2 ** len(wires)))
        drawn.insert(0, amplitude_embedding(*amplitudes[:size], wires=wires))
    readout, measured = draw(st.sampled_from(["probs", "expval"])), draw(st.integers(0, n))
    return Circuit(n, tuple(drawn), readout, measured)


def random_matrix(kind, size, seed):
    """Return a random unitary, or an orthogonal matrix."""
    return kind.rvs(size, random_state=np.random.default_rng(seed))


def angles(circuit, seed, batch=3, lead_x=(), lead_theta=(), dtype=torch.float64):
    """Return x ``(*lead_x, batch, features)`` and θ ``(*lead_theta, P)`` of a few radians."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (*lead_x, batch, circuit.features), (*lead_theta, circuit.parameters)
    return [2 * torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def with_gradients(run, x, theta):
    """Return the outputs and the gradients of a fixed mixture of them with respect to x and θ."""
    x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
    outputs = run(x, theta)
    weights = torch.linspace(-1, 1, max(outputs.numel(), 1), dtype=outputs.dtype)
    loss = (outputs.flatten() * weights[: outputs.numel()]).sum() / x.shape[-2]
    loss = loss + 0 * (x.sum() + theta.sum())  # a list may leave both without effect
    return outputs.detach(), *torch.autograd.grad(loss, (x, theta))


def assert_same(actual, expected, tolerance):
    """Check tensors of the same shapes for equality up to an absolute tolerance."""
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), atol=tolerance, rtol=0)


def noisy(circuit, name, strength, placement="gate", readout_error=0.0):
    """Return the circuit with noise, then with bit flips when it is read."""
    circuit = with_noise(circuit, name, strength, placement)
    return with_noise(circuit, "bit-flip", readout_error, "readout")
