"""A fit chooses on validation samples and looks at the test samples once."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from study_models import model

from qmoe_fed.experiments.datasets import MOONS, Source, load
from qmoe_fed.experiments.measures import fits as module
from qmoe_fed.experiments.measures.fits import fits
from qmoe_fed.experiments.models import build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.statistics import first_epoch
from qmoe_fed.learning import evaluate

SOURCE, QUANTUM, RATES = Source(MOONS, 3), model("quantum"), (0.01, 0.1, 0.3)
PROTOCOL = Protocol(max_epochs=4)


@pytest.fixture(scope="module")
def measured():
    return fits(QUANTUM, SOURCE, RATES, (0.01, 0.3), PROTOCOL)


@pytest.fixture(scope="module")
def rows(measured):
    return pd.DataFrame(measured.rows)


def test_the_learning_rate_with_the_lowest_mean_validation_loss_is_chosen(rows):
    alone = [pd.DataFrame(fits(QUANTUM, SOURCE, (r,), (r,), PROTOCOL).rows) for r in RATES]
    best = int(np.argmin([own["validation_loss"].mean() for own in alone]))
    chosen = rows[rows["chosen"]]
    assert list(chosen["rate"]) == [RATES[best]] * 3
    assert list(zip(rows["rate"], rows["seed"], strict=True)) == [
        (rate, seed) for rate in RATES for seed in range(3)
    ]
    np.testing.assert_allclose(chosen["accuracy"], alone[best]["accuracy"], atol=0.006)
    np.testing.assert_allclose(chosen["validation_loss"], alone[best]["validation_loss"], rtol=1e-3)


def test_only_what_is_reported_or_chosen_is_tested(rows, measured):
    tested = rows[rows["accuracy"].notna()]
    assert set(tested["rate"]) == {0.01, 0.3, *rows[rows["chosen"]]["rate"]}
    assert rows["f1"].isna().equals(rows["accuracy"].isna())
    curves = {name for name in measured.arrays if name.startswith("train_loss/")}
    assert curves == {f"train_loss/{rate:g}" for rate in tested["rate"]}
    assert measured.arrays["validation_accuracy/0.01"].shape == (3, 4)


def test_what_is_reported_is_the_score_of_the_kept_parameters(rows, measured):
    prefix = "parameters/"
    kept = {n.removeprefix(prefix): v for n, v in measured.arrays.items() if n.startswith(prefix)}
    parameters = {name: torch.from_numpy(values)[None] for name, values in kept.items()}
    scores = evaluate(
        build(QUANTUM, 2, 2), parameters, load(SOURCE).test.first(200).select(slice(1))
    )
    first = rows[rows["chosen"] & (rows["seed"] == 0)]
    np.testing.assert_allclose(first["accuracy"], scores.accuracy)


def test_other_test_samples_change_nothing_but_the_test_scores(rows, measured, monkeypatch):
    data = load(SOURCE)
    test = data.test
    wrong = replace(test, x=test.x.flip(2), y=1 - test.y)
    other = replace(data, test=wrong)
    monkeypatch.setattr(module, "load", lambda source: other)
    blind = fits(QUANTUM, SOURCE, RATES, (0.01, 0.3), PROTOCOL)
    assert blind.arrays.keys() == measured.arrays.keys()
    for name, values in blind.arrays.items():
        np.testing.assert_array_equal(values, measured.arrays[name])
    found, scores = pd.DataFrame(blind.rows), ["accuracy", "f1"]
    pd.testing.assert_frame_equal(found.drop(columns=scores), rows.drop(columns=scores))
    tested = rows["accuracy"].notna()
    assert (found[tested]["accuracy"] != rows[tested]["accuracy"]).any()


def test_every_reported_learning_rate_is_tested_once(monkeypatch):
    seen = []
    original = module.apply
    monkeypatch.setattr(
        module, "apply", lambda *given: seen.append(given[2].shape) or original(*given)
    )
    fits(QUANTUM, SOURCE, RATES, (0.01,), PROTOCOL)
    assert len(seen) == 2  # it, and the one that validation chose
    assert set(seen) == {(3, 200, 2)}


def test_later_seeds_are_fitted_as_they_are_among_all(rows):
    later = fits(QUANTUM, Source(MOONS, 2, first_seed=1), RATES, (0.01, 0.3), PROTOCOL)
    own = pd.DataFrame(later.rows)
    assert list(own["seed"]) == [1, 2] * 3
    same = rows[rows["seed"] > 0]
    np.testing.assert_allclose(own["validation_loss"], same["validation_loss"], rtol=1e-3)


def test_first_epoch_counts_from_one_and_knows_never():
    nan = np.nan
    curves = np.array([[0.5, 0.9, 0.8, 0.95], [0.5, 0.6, nan, nan], [0.95, 0.1, 0.1, nan]])
    np.testing.assert_array_equal(first_epoch(curves, 0.9), [2, nan, 1])
