"""A trial chooses on validation samples and looks at the test samples once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qmoe_fed.studies import trials
from qmoe_fed.studies.datasets import MOONS, Source, load
from qmoe_fed.studies.models import ablation_model
from qmoe_fed.studies.protocol import Protocol
from qmoe_fed.studies.trials import CHOSEN, Trial, first_epoch, run

from qmoe_fed.learning import evaluate

SOURCE = Source(MOONS, 3, 0, 0.1, "")
TRIAL = Trial(
    ablation_model("quantum"), SOURCE, (0.01, 0.1, 0.3), (0.01, 0.3), Protocol(max_epochs=4)
)


@pytest.fixture(scope="module")
def outcome():
    return run(TRIAL)


def test_the_learning_rate_with_the_lowest_mean_validation_loss_is_chosen(outcome):
    alone = [run(replace(TRIAL, learning_rates=(r,), reported=(r,))) for r in (0.01, 0.1, 0.3)]
    losses = [np.nanmin(o.chosen.validation_loss, 1).mean() for o in alone]
    best = int(np.argmin(losses))
    assert outcome.chosen.learning_rate == (0.01, 0.1, 0.3)[best]
    assert list(outcome.columns) == ["0.01", "0.3", CHOSEN]
    np.testing.assert_allclose(outcome.chosen.accuracy, alone[best].chosen.accuracy, atol=0.006)
    np.testing.assert_allclose(
        outcome.chosen.validation_loss, alone[best].chosen.validation_loss, rtol=1e-3
    )


def test_what_is_reported_is_the_score_of_the_kept_parameters(outcome):
    model, test = TRIAL.model.build(2, 2), load(SOURCE).split.test
    for column in outcome.columns.values():
        parameters = {name: torch.from_numpy(v) for name, v in column.parameters.items()}
        scores = evaluate(model, parameters, test)
        np.testing.assert_allclose(column.accuracy, scores.accuracy)


def test_other_test_samples_change_nothing_but_the_test_scores(outcome, monkeypatch):
    data = load(SOURCE)
    test = data.split.test
    wrong = replace(test, x=test.x.flip(2), y=1 - test.y)
    other = replace(data, split=replace(data.split, test=wrong))
    monkeypatch.setattr(trials, "load", lambda source: other)
    blind = run(TRIAL)
    assert blind.columns.keys() == outcome.columns.keys()
    for setting, column in blind.columns.items():
        before = outcome.columns[setting]
        assert column.learning_rate == before.learning_rate
        for name, values in column.parameters.items():
            np.testing.assert_array_equal(values, before.parameters[name])
        np.testing.assert_array_equal(column.validation_loss, before.validation_loss)
        assert (column.accuracy != before.accuracy).any()


def test_every_reported_learning_rate_is_tested_once(monkeypatch):
    seen = []
    original = trials.apply
    monkeypatch.setattr(
        trials, "apply", lambda *given: seen.append(given[2].shape) or original(*given)
    )
    run(replace(TRIAL, reported=(0.01,)))
    assert len(seen) == 2  # it, and the one that validation chose
    assert set(seen) == {(3, 200, 2)}


def test_first_epoch_counts_from_one_and_knows_never():
    nan = np.nan
    curves = np.array([[0.5, 0.9, 0.8, 0.95], [0.5, 0.6, nan, nan], [0.95, 0.1, 0.1, nan]])
    np.testing.assert_array_equal(first_epoch(curves, 0.9), [2, nan, 1])
