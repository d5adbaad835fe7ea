"""Gradients against closed forms; ways to start against training from a common start."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from qmoe_fed.studies.ablation import starts
from qmoe_fed.studies.ablation.gradients import (
    MARGINAL,
    SINGLE,
    decay_per_qubit,
    gradient_variance,
    grid,
)
from qmoe_fed.studies.ablation.starts import LAYERWISE, RESTARTS, SMALL, UNIFORM, Start
from qmoe_fed.studies.datasets import MOONS, Source
from qmoe_fed.studies.models import ablation_model
from qmoe_fed.studies.protocol import Protocol
from qmoe_fed.studies.trials import Trial, run


def test_one_layer_has_the_variances_of_the_closed_form():
    # P = Π cos²(aⱼ/2) with uniform angles aⱼ: Var[∂P/∂θ] = E[sin²a/4]·E[cos⁴(a/2)]^(n-1)
    for qubits in (1, 2, 3):
        closed = 1 / 8 * (3 / 8) ** (qubits - 1)
        measured = gradient_variance(qubits, 1, SINGLE, math.pi, 20_000, 0)
        assert measured == pytest.approx(closed, rel=0.06)
        # the marginal does not see the other qubits
        assert gradient_variance(qubits, 1, MARGINAL, math.pi, 20_000, 0) == pytest.approx(
            1 / 8, rel=0.06
        )


def test_a_basis_state_has_a_barren_plateau_and_the_marginal_has_none():
    qubits = (2, 4, 6, 8)
    for readout, low, high in ((SINGLE, 0.2, 0.5), (MARGINAL, 0.9, 1.1)):
        found = grid(qubits, (4,), readout, math.pi, 200, 0)
        assert [v.qubits for v in found] == [*qubits]
        assert low < decay_per_qubit(qubits, [v.value for v in found]) < high


def test_decay_per_qubit_is_the_base_of_a_power():
    assert decay_per_qubit([2, 3, 5], [3 * 0.4**n for n in (2, 3, 5)]) == pytest.approx(0.4)


def test_layer_by_layer_adds_a_layer_at_a_time_and_restarts_as_often():
    stages = Start(LAYERWISE, 2, 3).stages
    assert [stage.layers for stage in stages] == [1, 2, 3]
    assert [stage.layers for stage in Start(RESTARTS, 2, 3).stages] == [3, 3, 3]
    assert [stage.init_angle for stage in Start(SMALL, 2, 3).stages] == [0.1]
    assert Start(UNIFORM, 2, 3).stages[0].init_angle == math.pi


def test_added_layers_are_zero_and_leave_the_others_as_they_are():
    parameters = {"router.theta": torch.rand(5, 2, 3), "experts.weight": torch.rand(5, 2)}
    grown = starts._grown(parameters, 4)
    assert grown["router.theta"].shape == (5, 4, 3)
    assert torch.equal(grown["router.theta"][:, :2], parameters["router.theta"])
    assert not grown["router.theta"][:, 2:].any()
    assert grown["experts.weight"] is parameters["experts.weight"]


def test_the_usual_way_is_the_trial_of_model_b():
    source, protocol = Source(MOONS, 3, 0, 0.1, ""), Protocol(max_epochs=4)
    (usual,) = starts.run(Start(UNIFORM, 2, 3), source, (0.1,), protocol)
    trial = run(Trial(ablation_model("quantum"), source, (0.1,), (), protocol))
    np.testing.assert_allclose(usual.accuracy, trial.chosen.accuracy, atol=1e-6)
    np.testing.assert_array_equal(usual.epochs_to_target, trial.chosen.epochs_to_target)


def test_all_ways_share_the_epochs_and_differ():
    source, protocol = Source(MOONS, 3, 0, 0.1, ""), Protocol(max_epochs=6)
    ways = [
        starts.run(Start(name, 2, 3), source, (0.03, 0.3), protocol)
        for name in (UNIFORM, SMALL, LAYERWISE, RESTARTS)
    ]
    assert all([s.learning_rate for s in way] == [0.03, 0.3] for way in ways)
    accuracy = [np.concatenate([s.accuracy for s in way]) for way in ways]
    assert all((a != b).any() for a, b in pairwise(accuracy))
