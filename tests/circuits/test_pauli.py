"""Gates gathered in blocks, and matrices applied to some of the wires."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import examples, lists, seeds

from qmoe_fed.circuits.general import evolve
from qmoe_fed.circuits.schedule import gather, primitives

wires_on_four = st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True).map(tuple)


@given(
    st.lists(wires_on_four, min_size=1, max_size=12), st.sampled_from([2, 4]), st.booleans(), seeds
)
@examples(40)
def test_matrices_are_applied_to_their_wires_in_order(wires, base, per_state, seed):
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    lead = (3, 2) if per_state else (3, 1)  # a matrix for each of two states, or one for both
    gates = [
        (w, torch.randn(*lead, base ** len(w), base ** len(w), **options) / 2, per_state)
        for w in wires
    ]
    states = torch.randn(3, 2, base**4, **options)
    axes = "abcd"
    expected = states.unflatten(-1, (base,) * 4)
    for w, matrix, _ in gates:
        inner = "".join(axes[j] for j in w)
        outer = axes
        for j, letter in zip(w, "yz", strict=False):
            outer = outer.replace(axes[j], letter)
        spread = matrix.unflatten(-1, (base,) * len(w)).unflatten(2, (base,) * len(w))
        spread = spread.expand(3, 2, *spread.shape[2:])
        expected = torch.einsum(f"sr{'yz'[: len(w)]}{inner},sr{axes}->sr{outer}", spread, expected)
    if per_state:
        gates = [(w, matrix, True) for w, matrix, _ in gates]
    else:
        gates = [(w, matrix.squeeze(1), False) for w, matrix, _ in gates]
    torch.testing.assert_close(
        evolve(states, gates, base), expected.flatten(-4), atol=1e-9, rtol=1e-9
    )


@given(
    lists(st.integers(1, 4), unitaries=True, noise=True, most=16),
    st.integers(2, 4),
    st.integers(1, 4),
)
@examples(40)
def test_blocks_hold_all_operations_in_the_order_in_which_each_wire_sees_them(circuit, most, turns):
    operations = primitives(circuit)
    widest = max((len(operation.wires) for operation in operations), default=1)
    blocks = gather(operations, max(most, widest), turns)
    assert all(len(block.wires) <= max(most, widest) for block in blocks)
    assert all(len(block.angles) <= turns for block in blocks)
    assert all(len({bool(a.features) for a in block.angles}) < 2 for block in blocks)

    before = [(o, o.wires) for o in operations]
    after = [
        (o, tuple(block.wires[w] for w in o.wires)) for block in blocks for o in block.operations
    ]
    for wire in range(circuit.qubits):
        seen = [(o.name, getattr(o, "angles", ()), wires) for o, wires in after if wire in wires]
        assert seen == [
            (o.name, getattr(o, "angles", ()), wires) for o, wires in before if wire in wires
        ]
