"""Federations scored by round: what is counted as a run of a circuit."""

import pytest

from qmoe_fed.experiments.measures.rounds import rounds

SMALL = {
    "num-clients": 3,
    "num-unseen-clients": 0,
    "train-samples": 8,
    "test-samples": 4,
    "local-epochs": 2,
    "layers": 1,
    "num-experts": 2,
    "expert-fit": "gradient",
}
EXTRAPOLATED = {"noise-channel": "depolarizing", "mitigation": "linear"}


def found(**settings):
    return rounds({**SMALL, **settings}, [1, 3]).rows


def test_rows_are_scores_after_the_rounds_that_are_asked_for():
    first, last = found(seed=4)
    assert (first["round"], last["round"], first["seed"]) == (1, 3, 4)
    assert 0 <= first["worst10"] <= first["accuracy"] <= 1
    assert found(seed=4)[1] == last
    assert first["executions"] is None


@pytest.mark.parametrize(
    ("settings", "circuits"),
    [
        ({"shot-gradients": "parameter-shift"}, 1 + 4),
        ({"shot-gradients": "spsa"}, 1 + 2),
        ({"shot-gradients": "spsa", "expert": "quantum"}, (1 + 2) * (1 + 2)),
        ({"shot-gradients": "spsa", **EXTRAPOLATED}, 3 * (1 + 2)),
    ],
)
def test_every_circuit_of_a_gradient_and_every_shot_is_counted(settings, circuits):
    row, _ = found(shots=5, **settings)
    assert row["executions"] == 2 * 8 * 5 * circuits


def test_exact_gradients_run_no_circuit():
    assert found(shots=5)[0]["executions"] is None
