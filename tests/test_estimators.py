"""The estimators keep scientific Python's contract, and are the federation they say they are."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_moons
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import qmoe_fed as q

TINY = {"num_server_rounds": 1, "local_epochs": 1, "num_experts": 2}
X, Y = make_moons(80, noise=0.1, random_state=0)
CLIENTS = np.array([f"site {i % 4}" for i in range(80)])


@pytest.mark.parametrize("kind", [q.MixtureClassifier, q.FederatedMixture])
def test_scikit_learns_own_checks(kind):
    results = check_estimator(kind(**TINY), on_skip=None)
    assert len(results) > 50
    assert [r["check_name"] for r in results if r["status"] != "passed"] == [
        "check_array_api_input"  # not claimed
    ]


def test_parameters_are_settings_with_their_defaults():
    usual = q.Config().to_flat()
    for kind in (q.MixtureClassifier, q.FederatedMixture):
        given = kind().get_params()
        assert given.pop("random_state") == 0
        assert given == {name: usual[name.replace("_", "-")] for name in given}
    assert {"share", "aggregator", "mechanisms"} <= given.keys()


def test_a_wrong_setting_is_refused_when_it_is_fitted():
    with pytest.raises(q.UserError, match=r"unknown router 'quntum'. Did you mean .quantum."):
        q.MixtureClassifier(router="quntum").fit(X, Y)
    with pytest.raises(q.UserError, match="y has one class only, 3"):
        q.MixtureClassifier().fit(X, np.full(80, 3))


DEPTHS = {"share": "prior", "layers": "1..3"}


@pytest.mark.parametrize("more", [{}, DEPTHS, {"share": "none", "expert_fit": "gradient"}])
def test_it_is_the_federation_of_a_run(more):
    settings = {"num_server_rounds": 2, "local_epochs": 2, **more}
    fitted = q.FederatedMixture(random_state=5, **settings).fit(X, Y, CLIENTS)
    low, high = X.min(0), X.max(0)
    angles = np.pi * (X - low) / (high - low)
    table = q.Table(angles, Y, np.arange(80) % 4, np.zeros(80, bool))
    own = {"num_clients": 4, "num_unseen_clients": 0, "angles": f"bounds(0, {np.pi})"}
    config = {"dataset": table.name, "seed": 5, "features": 2, **own, **settings}
    federation = q.Federation(
        q.Config.from_flat({k.replace("_", "-"): v for k, v in config.items()})
    )
    state = federation.init()
    for _ in range(2):
        state, _ = federation.round(state)
    for name, values in federation.mixtures(state).items():
        assert fitted.parameters_[name].numpy() == pytest.approx(values.numpy(), abs=1e-6)
    assert fitted.clients_.tolist() == ["site 0", "site 1", "site 2", "site 3"]


def test_each_client_has_a_mixture_of_its_own_and_nobody_the_mean_of_them():
    fitted = q.FederatedMixture(**TINY).fit(X, np.where(Y, "moon", "sun"), CLIENTS)
    each = np.stack([fitted.predict_proba(X, [site] * 80) for site in fitted.clients_])
    assert np.ptp(each, axis=0).max() > 0.01
    assert fitted.predict_proba(X) == pytest.approx(each.mean(0))
    assert fitted.predict_proba(X, CLIENTS) == pytest.approx(each[np.arange(80) % 4, np.arange(80)])
    assert fitted.predict(X, CLIENTS).dtype.kind == "U"
    assert fitted.classes_.tolist() == ["moon", "sun"]
    right = fitted.predict(X, CLIENTS) == np.where(Y, "moon", "sun")
    assert fitted.score(X, np.where(Y, "moon", "sun"), CLIENTS) == right.mean() > 0.7
    with pytest.raises(q.UserError, match="no client site 9"):
        fitted.predict(X, ["site 9"] * 80)


def test_one_client_alone_is_the_classifier():
    alone = q.MixtureClassifier(**TINY).fit(X, Y).predict_proba(X)
    assert (q.FederatedMixture(**TINY).fit(X, Y).predict_proba(X) == alone).all()
    assert (q.FederatedMixture(**TINY).fit(X, Y, [7] * 80).predict_proba(X) == alone).all()


def test_more_features_than_qubits_are_reduced():
    x, y = load_iris(return_X_y=True)
    fitted = q.MixtureClassifier(num_server_rounds=2, local_epochs=2).fit(x, y)
    assert fitted.config_.data.features == 2
    few = q.MixtureClassifier(**TINY, qubits=6).fit(np.tile(x[48:53], 2), y[48:53])
    assert few.config_.data.features == 5  # as many as there are samples
    assert fitted.score(x, y) > 0.85


def test_grid_search_over_a_pipeline_with_clients():
    pipeline = make_pipeline(StandardScaler(), q.FederatedMixture(**TINY))
    grid = {"federatedmixture__router": ["quantum", "linear"]}
    grid["federatedmixture__num_experts"] = np.array([1, 2])
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(X, Y, federatedmixture__clients=CLIENTS)
    assert len(search.best_estimator_[-1].clients_) == 4
    assert search.best_score_ > 0.7


def test_what_was_fitted_can_be_copied_and_the_seed_decides():
    fitted = q.FederatedMixture(top_k=1, **TINY).fit(X, Y, CLIENTS)
    copy = pickle.loads(pickle.dumps(fitted))
    assert (copy.predict_proba(X, CLIENTS) == fitted.predict_proba(X, CLIENTS)).all()
    seeds = [0, 1, None, np.random.RandomState(1)]
    found = [clone(fitted).set_params(random_state=s).fit(X, Y, CLIENTS) for s in seeds]
    same = [(f.predict_proba(X) == fitted.predict_proba(X)).all() for f in found]
    assert same == [True, False, False, False]


def test_privacy_is_accounted_round_by_round():
    private = q.FederatedMixture(mechanisms="central-dp", noise_source="seed", quorum=0.0, **TINY)
    (metrics,) = private.fit(X, Y, CLIENTS).metrics_
    assert metrics["epsilon"] > 0


def test_a_device_measures_while_it_learns_and_answers_are_exact():
    way = {"shots": 20, "shot_gradients": "spsa", "shot_source": "device"}
    way |= {"circuit_engine": "pennylane:default.qubit", "execution": "serial"}
    measured = q.MixtureClassifier(**TINY, **way)
    fitted = measured.fit(X[:16], Y[:16])
    assert (fitted.predict_proba(X) == fitted.predict_proba(X)).all()
