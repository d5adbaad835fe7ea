"""Experts solved in lanes equal those of the general way, and no replica sees another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmoe_fed.models import lanes
from qmoe_fed.models.lanes import fitted
from qmoe_fed.models.solve import CENTRE, targets

SHAPES = [(8, 4, 2, 3), (4, 2, 1, 2), (1, 1, 1, 2)]
"""Samples, experts, features, classes: fewer samples than unknowns, as many, and one."""


def problem(shape, prior, replicas=6, kind=torch.float64, seed=0):
    samples, experts, features, classes = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(replicas, *size, generator=generator, dtype=kind)

    mask = draw(samples) < 0.6
    mask[0] = False
    return [
        (3 * draw(samples, experts)).softmax(-1),
        (2 * draw(samples, features) - 1) * CENTRE,
        targets((draw(samples) * classes).long(), classes).to(kind),
        mask,
        draw() + 0.1,
        draw(experts, classes, features + 1) if prior else None,
    ]


def answers_and_gradients(arguments, general=False, learnt=(0, 4, 5)):
    """Return answers, and the gradients of a random sum of them for what is learnt."""
    values = [v if v is None else v.clone() for v in arguments]
    free = [values[i].requires_grad_() for i in learnt if values[i] is not None]
    with pytest.MonkeyPatch.context() as patch:
        if general:
            patch.setattr(lanes, "MOST_NUMBERS", 0)
        found = fitted(*values)
    weights = torch.linspace(-1, 1, found[0].numel(), dtype=found.dtype).view(found.shape[1:])
    return [found, *torch.autograd.grad((found * weights).sum(), free)]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(SHAPES), st.booleans(), st.integers(0, 99))
def test_lanes_give_what_the_general_way_gives(shape, prior, seed):
    arguments = problem(shape, prior, seed=seed)
    ways = answers_and_gradients(arguments), answers_and_gradients(arguments, True)
    for in_lanes, general in zip(*ways, strict=True):
        torch.testing.assert_close(in_lanes, general, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prior", [False, True])
def test_the_bits_of_a_replica_do_not_depend_on_those_beside_it(shape, prior):
    arguments = problem(shape, prior, 37, torch.float32)
    whole = answers_and_gradients(arguments)
    for rows in (slice(0, 1), slice(5, 7), slice(3, 20), slice(36, 37)):
        part = [v if v is None else v[rows] for v in arguments]
        for of_all, own in zip(whole, answers_and_gradients(part), strict=True):
            assert torch.equal(of_all[rows], own)


def test_inputs_can_be_differentiated_too():
    arguments = problem(SHAPES[0], True)
    ours, general = (answers_and_gradients(arguments, way, (1,)) for way in (False, True))
    assert torch.equal(ours[1], general[1])
