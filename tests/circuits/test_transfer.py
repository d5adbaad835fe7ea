import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import examples, seeds

from qmoe_fed.circuits.transfer import controlled, evolve, fuse, rotation

PAIRS = [a + b for a in "IXYZ" for b in "IXYZ"]


@pytest.mark.parametrize(
    ("target", "before", "after", "sign"),
    [
        ("z", "XI", "XZ", 1),
        ("z", "ZI", "ZI", 1),
        ("z", "XX", "YY", 1),
        ("z", "XY", "YX", -1),
        ("x", "XI", "XX", 1),
        ("x", "IZ", "ZZ", 1),
        ("x", "XZ", "YY", -1),
    ],
)
def test_controlled_gates_permute_pauli_products(target, before, after, sign):
    column = controlled(target)[:, PAIRS.index(before)]
    np.testing.assert_allclose(column, sign * np.eye(16)[PAIRS.index(after)])


@pytest.mark.parametrize(
    ("axis", "turned"),
    [("x", [1, 2, -4, 3]), ("y", [1, 4, 3, -2]), ("z", [1, -3, 2, 4])],
)
def test_a_quarter_turn_takes_the_next_axis_to_the_one_after(axis, turned):
    state = torch.tensor([1.0, 2.0, 3.0, 4.0])
    actual = rotation(axis, torch.tensor(torch.pi / 2)) @ state
    torch.testing.assert_close(actual, torch.tensor(turned).float())


wires_on_four = st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True).map(tuple)


@given(st.lists(wires_on_four, min_size=1, max_size=12), st.sampled_from([2, 3]), seeds)
@examples(40)
def test_fused_gates_do_what_the_gates_do(wires, size, seed):
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    gates = [(w, torch.randn(3, 4 ** len(w), 4 ** len(w), **options) / 2) for w in wires]
    states = torch.randn(3, 2, 4**4, **options)
    blocks = fuse(gates, size)
    assert len(blocks) <= len(gates)
    assert all(len(block) <= size for block, _ in blocks)

    axes = "abcd"
    expected = states.unflatten(-1, (4,) * 4)
    for w, matrix in gates:
        inner = "".join(axes[j] for j in w)
        outer = axes
        for j, letter in zip(w, "yz", strict=False):
            outer = outer.replace(axes[j], letter)
        spread = matrix.unflatten(-1, (4,) * len(w)).unflatten(1, (4,) * len(w))
        expected = torch.einsum(f"s{'yz'[: len(w)]}{inner},sr{axes}->sr{outer}", spread, expected)
    for done in (evolve(states, gates), evolve(states, blocks)):
        torch.testing.assert_close(done, expected.flatten(-4), atol=1e-9, rtol=1e-9)
