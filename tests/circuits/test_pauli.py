"""Gates multiplied out into larger ones."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import examples, seeds

from qmoe_fed.circuits.general import evolve, fuse

wires_on_four = st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True).map(tuple)


@given(st.lists(wires_on_four, min_size=1, max_size=12), st.sampled_from([2, 3]), seeds)
@examples(40)
def test_fused_gates_do_what_the_gates_do(wires, size, seed):
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    gates = [(w, torch.randn(3, 4 ** len(w), 4 ** len(w), **options) / 2) for w in wires]
    states = torch.randn(3, 2, 4**4, **options)
    blocks = fuse(gates, size, 4)
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
    for done in (evolve(states, gates, 4), evolve(states, blocks, 4)):
        torch.testing.assert_close(done, expected.flatten(-4), atol=1e-9, rtol=1e-9)
