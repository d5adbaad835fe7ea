"""Gradients against closed forms; ways to train against training from a common start."""

import math
from itertools import pairwise

import centralized_ablation
import numpy as np
import pandas as pd
import pytest
import torch
from study_models import model

from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.measures.fits import fits
from qmoe_fed.experiments.measures.gradients import (
    MARGINAL,
    SINGLE,
    decay_per_qubit,
    variances,
)
from qmoe_fed.experiments.measures.stages import grown, stages
from qmoe_fed.experiments.protocol import Protocol

WAYS = centralized_ablation.ways(2, 3)
USUAL, SMALL, LAYERWISE, RESTARTS = WAYS.values()


def test_one_layer_has_the_variances_of_the_closed_form():
    # P = Π cos²(aⱼ/2) with uniform angles aⱼ: Var[∂P/∂θ] = E[sin²a/4]·E[cos⁴(a/2)]^(n-1)
    for qubits in (1, 2, 3):
        closed = 1 / 8 * (3 / 8) ** (qubits - 1)
        (measured,) = variances([qubits], 1, SINGLE, math.pi, 20_000, 0).rows
        assert measured["variance"] == pytest.approx(closed, rel=0.06)
        # the marginal does not see the other qubits
        (measured,) = variances([qubits], 1, MARGINAL, math.pi, 20_000, 0).rows
        assert measured["variance"] == pytest.approx(1 / 8, rel=0.06)


def test_a_basis_state_has_a_barren_plateau_and_the_marginal_has_none():
    qubits = (2, 4, 6, 8)
    for readout, low, high in ((SINGLE, 0.2, 0.5), (MARGINAL, 0.9, 1.1)):
        found = pd.DataFrame(variances(qubits, 4, readout, math.pi, 200, 0).rows)
        assert [*found["qubits"]] == [*qubits]
        assert low < decay_per_qubit(qubits, found["variance"]) < high


def test_decay_per_qubit_is_the_base_of_a_power():
    assert decay_per_qubit([2, 3, 5], [3 * 0.4**n for n in (2, 3, 5)]) == pytest.approx(0.4)


def test_layer_by_layer_adds_a_layer_at_a_time_and_restarts_as_often():
    assert [stage["layers"] for stage in LAYERWISE] == [1, 2, 3]
    assert [stage["layers"] for stage in RESTARTS] == [3, 3, 3]
    assert [stage["init-angle"] for stage in SMALL] == [0.1]
    assert "init-angle" not in USUAL[0]  # the default
    assert [model("quantum")] == USUAL


def test_added_layers_are_zero_and_leave_the_others_as_they_are():
    parameters = {"router.theta": torch.rand(5, 2 * 3), "experts.weight": torch.rand(5, 2)}
    fresh = {"router.theta": torch.rand(5, 4 * 3), "experts.weight": torch.rand(5, 2)}
    larger = grown(parameters, fresh)
    assert larger["router.theta"].shape == (5, 12)
    assert torch.equal(larger["router.theta"][:, :6], parameters["router.theta"])
    assert not larger["router.theta"][:, 6:].any()
    assert larger["experts.weight"] is parameters["experts.weight"]
    assert grown({}, fresh) == fresh


def test_the_usual_way_is_the_fit_of_model_b():
    source, protocol = Source(MOONS, 3), Protocol(max_epochs=4)
    usual = pd.DataFrame(stages(USUAL, source, (0.1,), protocol).rows)
    fitted = pd.DataFrame(fits(model("quantum"), source, (0.1,), (), protocol).rows)
    np.testing.assert_allclose(usual["accuracy"], fitted["accuracy"], atol=1e-6)
    np.testing.assert_array_equal(usual["epochs_to_90"], fitted["epochs_to_90"])


def test_all_ways_share_the_epochs_and_differ():
    source, protocol = Source(MOONS, 3), Protocol(max_epochs=6)
    found = [pd.DataFrame(stages(way, source, (0.03, 0.3), protocol).rows) for way in WAYS.values()]
    assert all([*rows["rate"]] == [0.03] * 3 + [0.3] * 3 for rows in found)
    assert all((a["accuracy"] != b["accuracy"]).any() for a, b in pairwise(found))
