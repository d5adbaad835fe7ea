"""Measures of expressivity: exact values where they are known."""

import math

import pennylane as qml
import pytest
import torch
from expressivity_study import GRID as STUDY
from expressivity_study import cells

from qmoe_fed.circuits import Circuit, feature, gate, parameter
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.fitted import Settings
from qmoe_fed.experiments.measures.expressivity import (
    OWN,
    WIDE,
    alignment,
    effective_dimension,
    expressivity,
    fisher,
    kernel,
    spectrum,
)
from qmoe_fed.models import LinearRouter, QuantumRouter

X = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double() * math.pi


def theta(router, draws=7):
    generator = torch.Generator().manual_seed(1)
    return {"theta": torch.randn(draws, router.circuit.parameters, generator=generator).double()}


def router(*operations, qubits=1, experts=2):
    return QuantumRouter(Circuit(qubits, operations), experts)


def test_a_turn_about_y_has_fisher_information_one():
    turn = router(gate("RY", 0, feature(0) + parameter(0)))
    found = fisher(turn, theta(turn), X)
    torch.testing.assert_close(found, torch.ones(7, 1, 1).double())
    kappa = 100 / (2 * math.pi * math.log(100))
    expected = math.log(1 + kappa) / math.log(kappa)
    assert effective_dimension(found, 100) == pytest.approx(expected)


def test_qubits_apart_have_dimensions_that_add_up():
    turns = [gate("RY", j, feature(j) + parameter(j)) for j in (0, 1)]
    both = router(*turns, qubits=2, experts=4)
    found = fisher(both, theta(both), X)
    torch.testing.assert_close(found, torch.eye(2).double().expand(7, 2, 2))
    kappa = 1000 / (2 * math.pi * math.log(1000))
    expected = 2 * math.log(1 + kappa) / math.log(kappa)
    assert effective_dimension(found, 1000) == pytest.approx(expected)


def test_a_frozen_circuit_has_dimension_zero():
    frozen = router(gate("RY", 0, feature(0)), gate("RZ", 0, parameter(0)))
    found = fisher(frozen, theta(frozen), X)
    assert found.abs().max() < 1e-30
    assert effective_dimension(found, 100) == 0


def test_fisher_information_of_a_softmax_is_its_covariance():
    linear = LinearRouter(2, 2)
    own = {name: torch.zeros(1, *p.shape).double() for name, p in linear.named_parameters()}
    found = fisher(linear, own, X)[0]
    inputs = torch.cat([X, torch.ones(len(X), 1).double()], 1)
    weights = torch.tensor([[1.0, -1], [-1, 1]]).double() / 4  # p(1 - p) at p = 1/2
    order = [0, 1, 4, 2, 3, 5]  # weights of one expert, its bias, those of the other
    expected = torch.kron(weights, inputs.T @ inputs / len(X))
    torch.testing.assert_close(found[order][:, order], expected)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="κ"):
        effective_dimension(torch.ones(1, 1, 1), 10)


@pytest.mark.parametrize("uploads", [1, 2, 4])
def test_frequencies_are_as_many_as_uploads(uploads):
    circuit = layered(2, uploads, 2, reuploading=True)
    own = QuantumRouter(circuit, 4)
    power = spectrum(own, theta(own), 2)
    assert power[uploads] > 1e-6
    assert power[uploads + 1 :].max() < 1e-20


def test_the_spectrum_of_a_turn():
    turn = router(gate("RY", 0, feature(0)), gate("RZ", 0, parameter(0)))
    power = spectrum(turn, theta(turn), 1)  # (1 + cos x) / 2
    assert power[:3].tolist() == pytest.approx([1 / 4, 1 / 8, 0])


def test_the_kernel_of_angles_is_a_product_of_cosines_whatever_the_parameters():
    own = QuantumRouter(layered(2, 3, 2), 2)
    expected = ((X[:, None] - X[None]) / 2).cos().square().prod(-1)
    torch.testing.assert_close(kernel(own, theta(own), X), expected.expand(7, -1, -1))


def centred(y):
    own = y - y.mean()
    return float((own @ y) ** 2 / (own @ own) / len(y))


def test_alignment_is_pennylanes():
    y = torch.where(X[:, 0] > 1, 1.0, -1.0).double()
    values = kernel(LinearRouter(2, 2), {}, X)
    expected = qml.kernels.target_alignment(
        X.numpy(), y.numpy(), lambda a, b: a @ b + 1, rescale_class_labels=False
    )
    assert float(alignment(values, y)) == pytest.approx(float(expected))
    best = torch.outer(y, y)
    assert float(alignment(best, y)) == pytest.approx(1)
    assert float(alignment(best + 3, y, centred=True)) == pytest.approx(centred(y))


@pytest.mark.parametrize("name", STUDY["models"])
def test_rows_of_the_study(name):
    start = OWN if name.startswith("RY") else WIDE
    model = {**STUDY["models"][name], "num-experts": 2}
    first, second = expressivity(model, start, Source(MOONS, 2), 40, 4, 50, (600,)).rows
    assert (first["seed"], second["seed"]) == (0, 1)
    assert 0 < first["normalised_600"] < 1.3
    assert first["dimension_600"] == pytest.approx(first["normalised_600"] * first["parameters"])
    assert 1 <= first["directions"] <= first["rank"] <= first["parameters"]
    assert ("entanglement" in first) == (model["router"] == "quantum")


def test_no_angle_of_the_papers_circuit_is_without_effect_on_four_experts():
    model = {**STUDY["models"]["RY-CZ, 3 layers"], "num-experts": 4}
    (row,) = expressivity(model, OWN, Source(MOONS, 1), 40, 4, 50, (600,)).rows
    assert row["rank"] == row["parameters"] == 6


def test_features_that_are_all_alike_are_aligned_with_nothing():
    assert float(alignment(torch.ones(3, 3), torch.ones(3), centred=True)) == 0


def test_every_cell_is_there_once():
    grid = [*cells(Settings())]
    assert len({cell.key for cell in grid}) == len(grid)
